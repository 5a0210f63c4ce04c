"""Several recordings at once in the page: a job each, all results as one zip."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from conftest import EXAMPLE
from test_page_news import open_quiet, site  # noqa: F401

from asr_app import jobs
from asr_app.scoring import normalise

pytestmark = [pytest.mark.browser, pytest.mark.models]


@pytest.fixture
def page(server, open_page):
    return open_page(server)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Two recordings of one name, and a third."""
    paths = [tmp_path / "mon" / "call.flac", tmp_path / "tue" / "call.flac", tmp_path / "numbers.ogg"]
    for path, clip in zip(paths, ("english-home.flac", "mandarin-home.wav", "english-numbers.ogg"), strict=True):
        path.parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLE / clip, path)
    return paths


def choose(page, paths: list[Path]) -> None:
    page.set_input_files("#upload input[type=file]", paths)
    rows = "document.querySelectorAll('#upload .file-preview tr.file').length"
    page.wait_for_function(f"() => {rows} === {len(paths)}")


def names(page) -> list[str]:
    return page.locator("#jobs .open b").all_inner_texts()


def test_each_recording_is_a_job_and_all_results_come_as_one_zip(page, three, expected):
    choose(page, three)
    page.click("#transcribe")
    page.wait_for_function("() => document.querySelectorAll('#jobs .state.done').length === 3")
    assert names(page) == ["numbers.ogg", "call.flac", "call.flac"]
    assert "weather" in page.inner_text("#transcript")  # the first one is shown
    with page.expect_download() as download:
        page.click("#zip")
    assert download.value.suggested_filename == "transcripts.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(found) == {f"{n}.{f}" for n in ("numbers", "call", "call-2") for f in ("txt", "srt", "vtt", "json")}
    said = [normalise(json.loads(found[f"{n}.json"])["text"]) for n in ("call", "call-2")]
    assert said == [normalise(expected[clip]["text"]) for clip in ("english-home.flac", "mandarin-home.wav")]
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('#jobs .state.done').length === 3")
    assert names(page) == ["numbers.ogg", "call.flac", "call.flac"]
    assert page.is_visible("#zip")
    for left in (2, 1):
        remove = page.locator("#jobs .remove").first
        remove.click()
        remove.click()
        page.wait_for_function(f"() => document.querySelectorAll('#jobs li').length === {left}")
    assert page.is_hidden("#zip")  # one result has its own downloads
    assert not page.console_errors, page.console_errors


def test_a_second_click_at_once_makes_no_second_jobs(site, open_quiet, three, monkeypatch):
    monkeypatch.setattr(jobs, "_DOUBLE_CLICK_S", 60.0)  # so that a slow machine's page is fast enough
    page = open_quiet(site.address)
    choose(page, three)
    page.click("#transcribe")
    page.wait_for_function("() => document.querySelectorAll('#jobs li').length === 3")
    page.click("#transcribe")
    page.wait_for_timeout(1500)
    assert names(page) == ["numbers.ogg", "call.flac", "call.flac"]


def test_more_than_twenty_are_refused_before_any_is_begun(page, tmp_path):
    paths = [tmp_path / f"{number}.ogg" for number in range(21)]
    for path in paths:
        shutil.copy(EXAMPLE / "english-numbers.ogg", path)
    choose(page, paths)
    page.click("#transcribe")
    page.wait_for_selector("#refusal .notice.bad")
    assert "at most 20" in page.inner_text("#refusal")
    assert page.is_hidden("#jobs")


def test_an_example_and_a_single_recording_still_make_one_job(page, three):
    choose(page, three[2:])
    page.click("#transcribe")
    page.wait_for_selector(".card")
    page.click("#examples button >> nth=0")
    page.wait_for_function("() => !document.querySelector('#upload').innerText.includes('numbers')")
    page.click("#transcribe")
    page.wait_for_function("() => document.querySelectorAll('#jobs .state.done').length === 2")
    assert len(names(page)) == 2


@pytest.mark.parametrize(
    ("body", "code"), [({"jobs": []}, 404), ({"jobs": ["unknown"]}, 404), ({"jobs": ["x"] * 101}, 422)]
)
def test_a_zip_of_nothing_and_of_too_much_is_refused(server, body, code):
    request = urllib.request.Request(
        f"{server}transcript/zip", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == code

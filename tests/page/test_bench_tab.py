"""The Benchmark tab in a browser: a demo model on a tiny dataset, reloaded, cancelled, killed; the report opens offline."""

from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EXAMPLE, serving, wait_until_ready

pytestmark = pytest.mark.browser


CLIPS = ("mandarin-home.wav", "english-home.flac")


def dataset(path: Path, expected: dict, copies: int = 1) -> Path:
    """A zip of a folder with `copies` of both clips, an entry without audio, a broken line and a lone recording."""
    rows = ["gone.wav\ten\tnobody said it", "broken line"]
    with zipfile.ZipFile(path, "w") as made:
        for name in CLIPS:
            for n in range(copies):
                made.write(EXAMPLE / name, f"set/{n}-{name}")
                rows.append(f"{n}-{name}\t{expected[name]['language']}\t{expected[name]['text']}")
        made.write(EXAMPLE / "english-home.flac", "set/alone.flac")
        made.writestr("set/cover.jpg", b"no sound")
        made.writestr("set/refs.tsv", "".join(f"{row}\n" for row in rows))
    return path


def open_tab(page) -> None:
    page.get_by_role("tab", name="Benchmark").click()
    page.wait_for_selector("#bench-upload")


def give(page, path: Path) -> None:
    open_tab(page)
    page.set_input_files("#bench-upload input[type=file]", path)
    page.wait_for_selector("#bench-found .notice")


def quick(page) -> None:
    """One round and one user, which is enough for a test."""
    page.get_by_role("button", name="Limits, rounds and users").click()
    page.fill("#bench-rounds input[type=number]", "1")
    for users in (2, 4, 8):
        page.locator("#bench-users").get_by_label(str(users)).uncheck()


@pytest.mark.models
def test_a_benchmark_from_a_zip_to_a_report_that_opens_offline(server, open_page, expected, tmp_path):
    page = open_page(server)
    open_tab(page)
    page.click("#bench-start")
    page.wait_for_selector("#bench-refusal .notice.bad")
    assert "no recordings yet" in page.inner_text("#bench-refusal")
    give(page, dataset(tmp_path / "my set.zip", expected))
    found = page.inner_text("#bench-found")
    assert "2 recordings with references (refs.tsv; zh 1, en 1)" in found
    assert "Left out: 4" in found
    assert "line 1 of refs.tsv" in found
    assert "line 2 of refs.tsv" in found
    assert "alone.flac" in found
    quick(page)
    page.click("#bench-start")
    page.wait_for_selector("#bench-progress .progress")
    page.reload()  # in the middle
    wait_until_ready(page)
    open_tab(page)
    page.wait_for_selector("#bench-progress .stop")
    page.wait_for_selector("#bench-result .report .advice", timeout=180_000)
    page.wait_for_selector("#bench-progress .stop", state="detached", timeout=500_000)
    said = page.inner_text("#bench-result .advice")
    assert "On this machine, for these 2 clips" in said
    for title in (
        "Error against RTF",
        "Memory by precision",
        "Latency by length",
        "Time by stage",
        "Error by language",
    ):
        assert page.get_by_role("heading", name=title).count() == 1, title
    assert page.locator("#bench-result .plots svg[role=img]").count() == 4
    with page.expect_download() as download:
        page.get_by_role("link", name="results.json").click()
    made = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert [arm["arm"] for arm in made["models"][0]["arms"]] == ["fp32", "int8"]
    assert made["models"][0]["arms"][1]["speed"]["users"] == [made["models"][0]["arms"][1]["speed"]["users"][0]]
    assert str(tmp_path) not in json.dumps(made["request"])
    assert made["request"]["data"] == "my set.zip"
    with page.expect_download() as download:
        page.get_by_role("link", name="report.html").click()
    report = tmp_path / "report.html"
    report.write_bytes(Path(download.value.path()).read_bytes())
    page.get_by_label("中文").check()
    page.wait_for_function("() => document.querySelector('#bench-result .advice')?.textContent.includes('在本机上')")
    assert page.inner_text("#benchmarks h3") == "以往的评测"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1200, "height": 844})
    page.click("#benchmarks .remove")
    page.click("#benchmarks .remove.sure")
    page.wait_for_selector("#bench-result .empty")
    page.wait_for_selector("#benchmarks", state="hidden")
    assert not page.console_errors
    page.context.set_offline(True)
    page.goto(report.as_uri())
    assert page.locator(".plots svg[role=img]").count() == 4
    assert page.locator(".advice").inner_text()


@pytest.mark.slow  # tests/bench/test_runner.py has the same without a browser
@pytest.mark.models
def test_a_benchmark_is_stopped_and_goes_on_and_a_transcription_goes_first(tmp_path, open_page, expected):
    offered = tmp_path / "offered"
    with zipfile.ZipFile(dataset(tmp_path / "set.zip", expected, 20)) as made:
        made.extractall(offered)
    with serving(tmp_path / "home", "--bench-data", str(offered / "set")) as (address, _):
        page = open_page(address)
        open_tab(page)
        page.get_by_role("button", name="the app's examples").click()
        page.wait_for_function("() => document.querySelector('#bench-found').textContent.includes('the chosen models')")
        page.get_by_role("button", name="set", exact=True).click()
        page.wait_for_function("() => document.querySelector('#bench-found').textContent.includes('refs.tsv')")
        quick(page)
        page.click("#bench-start")
        recognising = "() => document.querySelector('#bench-progress').textContent.includes('recognising')"
        page.wait_for_function(recognising, timeout=180_000)
        page.click("#bench-progress .stop")
        page.wait_for_selector("#bench-progress .go-on")
        assert "it can go on where it was" in page.inner_text("#bench-progress")
        page.click("#bench-progress .go-on")
        page.wait_for_function(recognising, timeout=180_000)
        page.get_by_role("tab", name="Transcribe").click()
        page.set_input_files("#upload input[type=file]", EXAMPLE / "english-home.flac")
        page.wait_for_selector("#upload .file-preview")
        page.click("#transcribe")
        page.wait_for_selector("#result .card", timeout=60_000)
        page.get_by_role("tab", name="Benchmark").click()
        page.wait_for_function(
            "() => document.querySelector('#bench-progress').textContent.includes('Transcriptions went first 1 times')"
        )
        page.wait_for_function(recognising, timeout=180_000)
        page.click("#bench-progress .stop")
        page.wait_for_selector("#bench-progress .go-on")
        assert not page.console_errors


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_server_that_is_killed_ends_with_the_same_results(tmp_path, open_page, expected):
    given = dataset(tmp_path / "set.zip", expected, 12)

    def run(home: Path, *, kill: bool) -> list:
        with serving(home) as (address, process):
            page = open_page(address)
            give(page, given)
            quick(page)
            page.click("#bench-start")
            page.wait_for_selector("#bench-progress .stop")
            folder = next(
                path for path in home.glob("benchmarks/*") if b'"asked": {' in (path / "benchmark.json").read_bytes()
            )
            wait_until(lambda: stored(folder) > 0)
            if kill:
                port = int(address.rstrip("/").rpartition(":")[2])
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        if kill:
            assert 0 < stored(folder) < 2 * 12 * len(CLIPS)
            with serving(home, port=port):
                wait_for(folder)
                page.reload()
                wait_until_ready(page)
                open_tab(page)
                page.wait_for_selector("#bench-result .advice")
        else:
            with serving(home):
                wait_for(folder)
        made = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return [
            (arm["arm"], arm["problem"], arm["languages"], [(t["clip"], t["text"], t["nats"]) for t in arm["texts"]])
            for model in made["models"]
            for arm in model["arms"]
        ]

    assert run(tmp_path / "killed", kill=True) == run(tmp_path / "whole", kill=False)


def stored(folder: Path) -> int:
    """The number of finished clips of all arms."""
    return sum('"clip"' in line for file in folder.glob("clips/*.jsonl") for line in file.read_text().splitlines())


def wait_for(folder: Path) -> None:
    """Waits until the benchmark is done."""
    wait_until(lambda: json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))["state"] == "done")


def wait_until(happened: Callable[[], bool], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.3)

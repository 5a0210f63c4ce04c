"""The page as a person uses it: the real server, a real browser, a real (fake-device) microphone."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLE, serving

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.devices import usable_cores
from asr_app.engines import Engines
from asr_app.precision import Precision
from asr_app.scoring import normalise, score

pytestmark = [pytest.mark.browser, pytest.mark.models]
CLIP = "english-home.flac"
ROUNDS = 40  # of a long recording: ten minutes


def transcript(page) -> str:
    return " ".join(page.locator(".segment .words").all_inner_texts())


def upload(page, path: Path) -> None:
    page.set_input_files("#upload input[type=file]", str(path))
    # While the file is on its way its name is shown, too.
    page.wait_for_selector(f"#upload .file-preview >> text={path.stem[:8]}", timeout=30_000)


def clear(page) -> None:
    page.locator("#upload button[aria-label='Clear']").first.click()
    page.wait_for_selector("#upload input[type=file]", state="attached")


def run(page, path: Path) -> None:
    upload(page, path)
    page.click("#transcribe")


@pytest.fixture
def page(server, open_page):
    return open_page(server)


ONCE = (CLIP, "english-numbers.ogg")


def long_recording(folder: Path, rounds: int) -> Path:
    """The clips of ONCE again and again, 15 s a round, as one WAV."""
    one = np.concatenate([soundfile.read(EXAMPLE / name)[0] for name in ONCE])
    path = folder / "long.wav"
    soundfile.write(path, np.tile(one, rounds), 16000)
    return path


def undisturbed(path: Path) -> str:
    """The text of the recording in one go, without a page, a reload or a kill."""
    engines = Engines("cpu", usable_cores(), hub.HUBS[0])
    with engines.use(catalog.find(catalog.FALLBACK), Precision.FP32) as loaded:
        return pipeline.transcribe(path, loaded, Options(), Limits()).text


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory) -> tuple[Path, str]:
    """A recording, and its text undisturbed."""
    path = long_recording(tmp_path_factory.mktemp("long"), ROUNDS)
    return path, undisturbed(path)


def test_an_upload_becomes_punctuated_text_with_figures_and_downloads(page, expected):
    run(page, EXAMPLE / CLIP)
    page.wait_for_selector(".card")
    text = transcript(page)
    assert score([(expected[CLIP]["text"], text)]).errors == 0, text
    assert text.rstrip()[-1] in ".?"
    assert "?" in text
    card = page.inner_text(".card")
    for label in ("Audio", "Real-time factor", "First text after", "Effective precision", "Weights", "Peak memory"):
        assert label in card
    for kind in ("txt", "srt", "vtt", "json"):
        with page.expect_download() as download:
            page.click(f"#download-{kind}")
        assert download.value.suggested_filename == f"english-home.{kind}"
        body = Path(download.value.path()).read_text(encoding="utf-8")
        if kind == "json":
            found = json.loads(body)
            assert found["precision"]["requested"] == "fp32"
            assert normalise(found["text"]) == normalise(expected[CLIP]["text"])
            assert found["times"]["asr_s"] > 0
        else:
            assert "weather" in body
    for kind, name in (("vtt-words", "words.vtt"), ("lrc", "lrc"), ("docx", "docx")):
        with page.expect_download() as download:
            page.click(f"#download-{kind}")
        assert download.value.suggested_filename == f"english-home.{name}"
        body = Path(download.value.path()).read_bytes()
        assert body.startswith({"vtt-words": b"WEBVTT", "lrc": b"[00:", "docx": b"PK"}[kind])


def test_the_page_says_what_the_switch_does_here_before_anyone_used_it(page):
    """A measurement beside other programs does not count, and is said not to; one that counts comes with its spread."""
    said = r"Measured here: INT8 (.*times as fast|about as fast).*\d+ % smaller|machine was busy"
    page.wait_for_function(f"() => /{said}/.test(document.querySelector('#evidence').innerText)", timeout=150_000)


def test_the_lite_switch_changes_what_the_tensors_say(page):
    run(page, EXAMPLE / CLIP)
    page.wait_for_selector(".card")
    full = page.inner_text(".card")
    assert "INT8" not in full
    page.click("#lite input")
    page.click("#transcribe")
    page.wait_for_function("() => document.querySelector('.card')?.innerText.includes('INT8')")
    lite = page.inner_text(".card")
    weight = re.compile(r"Weights\s+([\d.]+) MB")
    assert float(weight.search(lite)[1]) < 0.6 * float(weight.search(full)[1])
    assert "INT8 (encoder, decoder" in lite
    # With both sides run, the evidence under the switch speaks of this recording; before, it spoke of the examples.
    page.wait_for_function("() => document.querySelector('#evidence').innerText.includes('median, recordings: 1')")


def test_the_microphone_is_transcribed_when_it_stops(server, open_page, expected, tmp_path):
    samples, rate = soundfile.read(EXAMPLE / CLIP)
    spoken = tmp_path / "spoken.wav"
    soundfile.write(spoken, np.concatenate([np.zeros(rate), samples, np.zeros(3 * rate)]), rate)
    page = open_page(server, microphone=spoken)
    page.get_by_role("tab", name="Microphone").click()
    page.click("#rec-main")
    page.wait_for_timeout(int((len(samples) / rate + 2.5) * 1000))
    page.click("#transcribe")  # as well as the recorder's own button
    page.wait_for_selector(".card", timeout=60_000)
    text = transcript(page)
    assert score([(expected[CLIP]["text"], text)]).rate <= 0.1, text
    assert "?" in text


def test_a_reload_in_the_middle_loses_nothing(page, ten_minutes):
    path, text = ten_minutes
    run(page, path)
    page.wait_for_function("() => document.querySelectorAll('.segment').length > 3")
    assert page.locator(".card").count() == 0  # it was really in the middle
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('.segment').length > 3")
    page.wait_for_selector(".card", timeout=240_000)
    assert normalise(transcript(page)) == normalise(text)


def test_cancel_keeps_the_text_so_far(page, tmp_path):
    run(page, long_recording(tmp_path, 2 * ROUNDS))
    page.wait_for_function("() => document.querySelectorAll('.segment').length > 3")
    page.click("#cancel")
    page.wait_for_function("() => document.querySelector('#progress').innerText.includes('Cancelled')")
    assert page.locator(".segment").count() > 3
    assert page.locator(".card").count() == 0


def test_pause_holds_a_job_over_a_reload_and_continue_goes_on(page, ten_minutes):
    run(page, ten_minutes[0])
    page.wait_for_function("() => document.querySelectorAll('.segment').length > 3")
    page.click("#hold")
    page.wait_for_function("() => document.querySelector('#progress').innerText.includes('paused')")
    page.reload()
    page.wait_for_selector("#hold:has-text('Continue')")
    before = page.locator(".segment").count()
    page.wait_for_timeout(2000)
    assert page.locator(".segment").count() == before
    page.click("#hold")
    page.wait_for_function("n => document.querySelectorAll('.segment').length > n", arg=before)
    page.click("#cancel")  # the whole text of a job that was paused is in tests/jobs
    page.wait_for_function("() => document.querySelector('#hold').hidden")


def test_a_killed_server_goes_on_where_it_was(open_page, tmp_path, ten_minutes):
    home = tmp_path / "home"
    path, text = ten_minutes
    with serving(home) as (address, process):
        page = open_page(address)
        run(page, path)
        page.wait_for_function("() => document.querySelectorAll('.segment').length > 3")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert page.locator(".card").count() == 0
    with serving(home, port=int(address.rsplit(":", 1)[1].strip("/"))):
        # The open page reloads itself when its server is another; a `goto` here would sometimes collide with that.
        page.wait_for_selector(".card", timeout=240_000)
        assert normalise(transcript(page)) == normalise(text)


def test_ten_bad_inputs_then_a_good_one(page, tmp_path, expected):
    good, rate = soundfile.read(EXAMPLE / CLIP)
    mp3 = (EXAMPLE / "mandarin-phone.mp3").read_bytes()
    bad = {
        "empty.wav": b"",
        "text.wav": "只是一段文字，不是音频".encode() * 50,
        "random.mp3": np.random.default_rng(0).bytes(5000),
        "header.wav": b"RIFF\x24\x00\x00\x00WAVEfmt ",
        "page.html.mp3": b"<html><script>alert(1)</script></html>",
        "short.wav": None,
        "nan.wav": None,
        "cut.m4a": mp3[:100],
        "zip.flac": b"PK\x03\x04" + bytes(300),
        "$(touch pwned) '; rm -rf ..;.ogg": b"OggS" + bytes(200),
    }
    for name, body in bad.items():
        path = tmp_path / name
        if body is not None:
            path.write_bytes(body)
        elif name == "short.wav":
            soundfile.write(path, good[:800], rate)
        else:
            soundfile.write(path, np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
        upload(page, path)
        page.click("#transcribe")
        # Gradio drops quotes and dollars from a name: what is left of it stands in the message.
        shown = "touch pwned" if "pwned" in name else name
        page.wait_for_function(
            "name => { const p = document.querySelector('#progress'); return p && p.innerText.includes('Failed')"
            " && p.innerText.includes(name); }",
            arg=shown,
        )
        assert "Traceback" not in page.inner_text("body")
        clear(page)
    assert not list(tmp_path.glob("**/pwned"))
    run(page, EXAMPLE / CLIP)
    page.wait_for_selector(".card")
    assert score([(expected[CLIP]["text"], transcript(page))]).errors == 0


def test_silence_gives_an_empty_transcript(page, tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16000 * 10), 16000)
    run(page, path)
    page.wait_for_selector(".card")
    assert "No speech was found" in page.inner_text("#transcript")
    assert page.locator(".segment").count() == 0


def test_two_people_at_once_each_get_their_own_text(server, open_page, expected):
    first, second = open_page(server), open_page(server)
    names = (CLIP, "mandarin-home.wav")
    for page, name in zip((first, second), names, strict=True):
        upload(page, EXAMPLE / name)
    first.click("#transcribe")
    second.click("#transcribe")
    for page, name in zip((first, second), names, strict=True):
        page.wait_for_selector(".card")
        assert score([(expected[name]["text"], transcript(page))]).rate <= 0.1


def test_a_segment_plays_its_stretch_and_copy_copies(page):
    run(page, EXAMPLE / CLIP)
    page.wait_for_selector(".card")
    last = page.locator(".segment").last
    last.locator(".play").click()
    page.wait_for_function("() => document.getElementById('player').currentTime > 1")
    start = float(last.get_attribute("data-start"))
    assert page.evaluate("document.getElementById('player').currentTime") >= start - 0.1
    page.click("#copy")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert normalise(copied) == normalise(transcript(page))


def test_both_languages_and_a_phone(server, open_page):
    page = open_page(server, locale="zh-CN", viewport={"width": 390, "height": 844})
    page.wait_for_function("() => document.body.innerText.includes('可切换精度的语音识别')")
    assert "开始转写" in page.inner_text("#transcribe")
    page.wait_for_function("() => document.body.innerText.includes('演示模型')")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_text("English", exact=True).click()
    page.wait_for_function("() => document.querySelector('#transcribe')?.innerText.includes('Transcribe')")
    page.reload()  # the choice is kept
    page.wait_for_function("() => document.querySelector('#transcribe')?.innerText.includes('Transcribe')")


def test_a_recording_over_the_limits_is_refused_and_the_page_goes_on(open_page, tmp_path):
    path = long_recording(tmp_path, 8)
    with serving(tmp_path / "home", "--max-hours", "0.02") as (address, _):
        page = open_page(address)
        run(page, path)
        page.wait_for_function("() => document.querySelector('#progress').innerText.includes('Failed')")
        assert "1.2 minutes" in page.inner_text("#progress")
        clear(page)
        run(page, EXAMPLE / CLIP)
        page.wait_for_selector(".card")


def test_an_unreachable_hub_is_said_in_seconds_and_the_demo_serves(open_page, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path / "home", "--model", "paraformer-large") as (address, _):
        page = open_page(address)
        page.click("#failure summary")
        page.wait_for_function("() => document.body.innerText.includes('cannot be reached')")
        page.wait_for_function("() => document.querySelector('.pill').innerText.includes('demo-paraformer')")
        assert "--model DIRECTORY" in page.inner_text("body")


def test_two_servers_never_share_a_journal(tmp_path):
    with (
        serving(tmp_path / "home"),
        pytest.raises(RuntimeError, match="Another server uses the same journal"),
        serving(tmp_path / "home"),
    ):
        pass


def test_hotwords_show_what_they_changed_and_what_they_did_not(page):
    """The demo model takes no hotwords: rules change its text, and the page says where."""
    page.click("button:has-text('Advanced')")
    page.fill("#hotwords textarea", "the light => the <b>Lyte</b>\nwhat time is it => What time is it\nWaitzkin\nxy")
    run(page, EXAMPLE / CLIP)
    page.wait_for_selector(".hotwords")
    assert "Turn on the <b>Lyte</b>." in transcript(page)
    (mark,) = page.locator(".transcript u.strike").all()
    assert (mark.inner_text(), mark.get_attribute("title")) == ("the <b>Lyte</b>", "without the hotword: the light")
    told = page.inner_text(".hotwords")
    assert "Hotwords: 1 place changed" in told
    assert "the light → the <b>Lyte</b>" in told
    assert "what time is it => What time is it: no effect (once in the text without its help)" in told
    assert "Waitzkin: no effect (not in the text)" in told
    assert "xy: no effect (too short or too common" in told
    page.click(".hotwords .seek")
    page.wait_for_function("() => document.querySelector('#player').currentTime > 0.5")
    page.click("#copy")
    assert page.evaluate("() => navigator.clipboard.readText()").startswith("What is the weather like today?")
    assert "Turn on the <b>Lyte</b>." in page.evaluate("() => navigator.clipboard.readText()")
    page.check("#language input[value='中文']")
    page.wait_for_selector(".hotwords >> text=改动 1 处")
    assert "Waitzkin：无效果（文本中没有）" in page.inner_text(".hotwords")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    with page.expect_download() as download:
        page.click("#download-json")
    effects = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["hotwords"]
    assert [(e["way"], [s["heard"] for s in e["strikes"]]) for e in effects] == [
        ("rule", ["the light"]), ("rule", []), ("spelling", []), ("none", []),
    ]  # fmt: skip


def test_no_file_of_the_server_is_served_but_recordings(server):
    import urllib.error
    import urllib.request

    for path in ("/etc/passwd", str(Path(shutil.__file__))):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{server}gradio_api/file={path}")
        assert error.value.code in (403, 404)


def test_a_model_shows_what_it_is_and_what_it_can_be_asked(page):
    page.wait_for_selector("#facts >> text=on this disk")
    page.click("button:has-text('Advanced')")
    page.wait_for_selector("#precision")
    assert not page.is_visible("#spoken")
    page.select_option("#model select", "sensevoice-small")
    page.wait_for_selector("#facts >> text=downloaded on first use")
    assert "emotion" in page.inner_text("#facts")
    page.wait_for_selector("#itn")
    page.click("#spoken input")
    page.click("[role=option]:has-text('Cantonese (yue)')")
    assert not page.is_visible("#prompt")
    page.select_option("#model select", "demo-paraformer")
    page.wait_for_selector("#itn", state="hidden")
    run(page, EXAMPLE / CLIP)  # what is out of sight does not count: Cantonese would be refused
    page.wait_for_selector(".card")

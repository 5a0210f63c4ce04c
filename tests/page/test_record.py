"""The Microphone tab with a fake microphone of real speech: what reaches the server, over cuts, reloads and kills."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from conftest import EXAMPLE, serving, wait_until_ready
from recording import of_job, rate, spoken, stretches

from asr_app.scoring import score

pytestmark = [pytest.mark.browser, pytest.mark.models]
CLIP = "english-home.flac"
MOST_LOST_S = 0.35  # of a page that goes away: its last piece


def recorder(page, phase: str, timeout: float = 30_000) -> None:
    page.wait_for_selector(f"#recorder[data-phase={phase}]", timeout=timeout)


def record(page) -> None:
    page.get_by_role("tab", name=re.compile("Microphone|麦克风")).click()
    page.click("#rec-main")
    recorder(page, "recording")


def seconds(page) -> float:
    return page.evaluate("window.asrOutbox.seconds()")


def until(page, wanted: float) -> None:
    page.wait_for_function("s => window.asrOutbox.seconds() >= s", arg=wanted)


def stopped(page, timeout: float = 120_000) -> None:
    page.click("#rec-stop")
    page.wait_for_selector(".card", timeout=timeout)


@pytest.fixture(scope="module")
def clip_s() -> float:
    samples, rate = soundfile.read(EXAMPLE / CLIP)
    return len(samples) / rate


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address of a server that other machines reach, and its folder."""
    home = tmp_path_factory.mktemp("home")
    with serving(home, "--host", "0.0.0.0", "--insecure") as (address, _):  # noqa: S104
        yield address, home


def test_captions_while_speaking_a_pause_and_every_sample_in_the_job(site, open_page, tmp_path, expected, clip_s):
    path = spoken(tmp_path, EXAMPLE / CLIP, lead_s=2.0)
    address, home = site
    page = open_page(address, microphone=path)
    record(page)
    page.wait_for_function("() => document.querySelector('#captions .final').innerText.includes('time')")
    said = page.inner_text("#captions .final").replace("\n", " ")
    assert page.evaluate("document.querySelector('#rec-level div').style.width") != ""
    until(page, 2.0 + clip_s + 0.5)
    page.focus("#rec-main")
    page.keyboard.press("Space")  # pauses
    recorder(page, "paused")
    before = seconds(page)
    page.wait_for_timeout(600)
    assert seconds(page) == before
    page.keyboard.press("Enter")  # goes on, with the same button
    recorder(page, "recording")
    until(page, before + 1.0)
    stopped(page)
    text = " ".join(page.locator(".segment .words").all_inner_texts())
    assert score([(expected[CLIP]["text"], text)]).rate <= 0.1, text
    assert score([(expected[CLIP]["text"], said)]).rate <= 0.3, said
    assert page.inner_text("#jobs .open b").startswith("Microphone 20")
    assert not page.is_visible("#interrupted")
    assert page.console_errors == []
    runs = runs_of(home, path)
    assert len(runs) == 2  # before and after the pause
    assert runs[0][0] < 2.0 * rate() < runs[0][1] - clip_s * rate()


def test_a_click_before_the_browser_has_looked_for_a_recording(site, open_page, tmp_path):
    page = open_page(site[0], microphone=spoken(tmp_path, EXAMPLE / CLIP))
    page.evaluate(
        """() => { const restore = window.asrOutbox.restore;
        window.asrOutbox.restore = () => { window.looks = true; return new Promise((r) => setTimeout(r, 1500)).then(restore); }; }"""
    )
    page.get_by_role("tab", name="Microphone").click()
    page.wait_for_function("window.looks")
    record(page)
    until(page, 2.0)
    recorder(page, "recording")
    page.click("#rec-main")
    page.click("#rec-discard")
    page.click("#rec-discard.sure")
    recorder(page, "idle")


def test_where_the_browser_gives_no_microphone_the_page_says_why(site, open_page):
    """By the machine's own address it is no secure context; on loopback there is none in this browser."""
    address, _ = site
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        own = probe.getsockname()[0]
    port = address.rsplit(":", 1)[1].strip("/")
    page = open_page(f"http://{own}:{port}/")
    page.get_by_role("tab", name="Microphone").click()
    page.wait_for_selector("#rec-problem >> text=plain http from another machine")
    assert page.inner_text("#rec-tunnel code") == f"ssh -L {port}:127.0.0.1:{port} user@{own}"
    page.check("#language input[value='中文']")
    page.wait_for_selector("#rec-problem >> text=浏览器不允许使用麦克风")
    page = open_page(address)
    page.get_by_role("tab", name="Microphone").click()
    page.click("#rec-main")
    page.wait_for_selector("#rec-problem >> text=No microphone was found")
    assert page.inner_text("#rec-tunnel code") == f"ssh -L {port}:127.0.0.1:{port} user@host"
    page.context.clear_permissions()
    page.context.grant_permissions([])
    page.reload()
    wait_until_ready(page)
    page.get_by_role("tab", name="Microphone").click()
    page.click("#rec-main")
    page.wait_for_selector("#rec-problem:not([hidden])")
    page.click("#transcribe")
    page.wait_for_selector("#refusal >> text=There is no recording yet")


def runs_of(home: Path, path: Path) -> list[tuple[int, int]]:
    """The stretches of the source that make up the newest job, sample for sample."""
    return stretches(of_job(home), soundfile.read(path, dtype="int16")[0])


@pytest.mark.slow
def test_a_reload_in_the_middle_offers_three_ways_on(open_page, tmp_path, clip_s):
    path = spoken(tmp_path, *[EXAMPLE / CLIP] * 4)
    home = tmp_path / "home"
    with serving(home) as (address, _):
        page = open_page(address, microphone=path)
        page.on("dialog", lambda dialog: dialog.accept())  # "Leave the page?"
        record(page)
        until(page, 6.0)
        recorded = seconds(page)
        page.reload()
        wait_until_ready(page)
        page.wait_for_selector("#interrupted >> text=was interrupted at")
        assert re.search(r"A recording of 0:0[5-7] was interrupted at \d\d:\d\d", page.inner_text("#interrupted p"))
        assert abs(seconds(page) - recorded) < MOST_LOST_S
        page.click("#interrupted .go_on")  # the fake microphone begins its file anew
        recorder(page, "recording")
        until(page, recorded + 4.0)
        stopped(page)
        first, second = runs_of(home, path)
        assert first[1] - first[0] > 5.0 * rate()
        assert second[1] - second[0] > 3.0 * rate()
        # Transcribed as it is, and discarded.
        for way in ("transcribe", "discard"):
            page.wait_for_selector("#recorder[data-phase=idle]")
            page.click("#rec-main")
            until(page, 2.0)
            page.reload()
            wait_until_ready(page)
            before = page.locator("#jobs li").count()
            page.click(f"#interrupted .{way}")
            if way == "transcribe":
                page.wait_for_function("n => document.querySelectorAll('#jobs li').length > n", arg=before)
            else:
                page.click("#interrupted .discard.sure")
            page.wait_for_selector("#interrupted", state="hidden")
        assert list((home / "captures").iterdir()) == []


@pytest.mark.slow
def test_a_server_that_stands_still_for_20_s_loses_nothing(open_page, tmp_path, clip_s):
    path = spoken(tmp_path, *[EXAMPLE / CLIP] * 6, tail_s=30)
    home = tmp_path / "home"
    with serving(home) as (address, process):
        page = open_page(address, microphone=path)
        record(page)
        until(page, 4.0)
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        page.wait_for_selector("#rec-unsent >> text=wait to be sent")
        page.wait_for_timeout(int(1000 * (20 - (time.monotonic() - began))))
        waiting = page.inner_text("#rec-unsent")
        assert int(re.search(r"(\d+) s wait", waiting)[1]) >= 17, waiting
        assert page.get_attribute("#recorder", "data-phase") == "recording"
        process.send_signal(signal.SIGCONT)
        page.wait_for_function("() => document.querySelector('#rec-unsent').innerText === ''")
        stopped(page)
    assert len(runs_of(home, path)) == 1


@pytest.mark.slow
def test_a_tunnel_that_is_cut_for_20_s_loses_nothing(open_page, tmp_path):
    path = spoken(tmp_path, *[EXAMPLE / CLIP] * 6, tail_s=30)
    home = tmp_path / "home"
    with serving(home) as (address, _):
        page = open_page(address, microphone=path)
        record(page)
        until(page, 3.0)
        page.context.set_offline(True)
        page.wait_for_timeout(20_000)
        assert "The server does not answer" in page.inner_text("#rec-unsent")
        until(page, 22.0)
        page.click("#rec-stop")  # also while it is away
        recorder(page, "ending")
        page.context.set_offline(False)
        page.wait_for_selector(".card", timeout=120_000)
    assert len(runs_of(home, path)) == 1
    assert len(of_job(home)) > 22 * rate()


@pytest.mark.slow
def test_a_killed_server_and_a_reload_before_it_is_back_lose_nothing(open_page, tmp_path):
    path = spoken(tmp_path, *[EXAMPLE / CLIP] * 6, tail_s=60)
    home = tmp_path / "home"
    with serving(home) as (address, process):
        page = open_page(address, microphone=path)
        page.on("dialog", lambda dialog: dialog.accept())
        record(page)
        until(page, 4.0)
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(page, 12.0)
    port = int(address.rsplit(":", 1)[1].strip("/"))
    with serving(home, port=port) as (address, process):
        page.wait_for_function("() => document.querySelector('#rec-unsent').innerText === ''", timeout=60_000)
        assert page.get_attribute("#recorder", "data-phase") == "recording"  # the page did not reload itself
        lines = page.locator("#captions .final p").count()
        page.wait_for_function("n => document.querySelectorAll('#captions .final p').length > n", arg=lines)
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(page, seconds(page) + 3.0)
        page.close(run_before_unload=False)
    with serving(home, port=port) as (address, _):
        page = open_and_continue(page.context, address)
        page.click("#interrupted .transcribe")
        page.wait_for_selector(".card", timeout=120_000)
    assert len(runs_of(home, path)) == 1


def open_and_continue(context, address: str):
    """Another tab of the same browser, as after one was closed."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    wait_until_ready(page)
    page.wait_for_selector("#interrupted >> text=was interrupted at")
    return page

"""The list of jobs, the choices after a reload, and the bytes of an update, in a browser. Tests write the journal."""

from __future__ import annotations

import json
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import EXAMPLE, wait_until_ready
from test_page import clear, upload

from asr_app import catalog, hub, served, server, web
from asr_app.audio import Limits
from asr_app.bench.benchmarks import Benchmarks
from asr_app.config import parse
from asr_app.datatypes import Segment, StageTimes, Transcript
from asr_app.door import Door
from asr_app.engines import Engines
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.live.desk import Desk
from asr_app.precision import PrecisionReport
from asr_app.recorder.captions import Captions
from asr_app.recorder.captures import Captures
from asr_app.rows import written_segment
from asr_app.startup import Preparer
from asr_app.ui import choices, news, options
from asr_app.ui.corrections import news as corrections
from asr_app.ui.page import build, offered

pytestmark = pytest.mark.browser
CHUNKS = 1000  # of five sentences each: four hours
CHUNK_S = 14.4
SAID = "and this is what they said about the weather that morning"


@dataclass
class Site:
    """A server without a worker: its jobs go on as the test writes them into the journal."""

    address: str
    journal: Journal

    def newest(self) -> str:
        with self.journal.transaction() as db:
            return db.execute("SELECT id FROM jobs ORDER BY created DESC").fetchone()["id"]

    def begin(self, job: str, chunks: int = 0) -> None:
        """The job runs, and `chunks` of it are done."""
        self.journal.length(job, CHUNKS * CHUNK_S)
        with self.journal.transaction() as db:
            db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job,))
            rows = ((job, round((n + 1) * CHUNK_S * 1000), json.dumps(_chunk(n, SAID))) for n in range(chunks))
            db.executemany("INSERT INTO segments VALUES (?, ?, ?)", rows)
        self.journal.stage(job, "recognising", chunks * 12.0, CHUNKS * 12.0)

    def write(self, job: str, n: int, text: str = SAID) -> None:
        segments = _segments(n, text)
        done_s, total_s = (n + 1) * 12.0, CHUNKS * 12.0
        self.journal.write_chunk(job, (n + 1) * CHUNK_S, segments, (), done_s, total_s, 300.0, StageTimes())

    def finish(self, job: str) -> None:
        parts = {"encoder": {"stored_bytes": {"float32": 1000}, "multiplied_weights": {"float32": 250}}}
        counted = PrecisionReport.from_dict("fp32", {"parts": parts})
        memory = {"weights": 1000, "peak_rss": 1000}
        self.journal.finish(job, Transcript((), "demo-paraformer", counted, "cpu", 100.0, StageTimes(), memory))

    def ask(self, path: str, origin: str | None = None, **body: object) -> dict:
        headers = {"Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "{}")


def _segments(n: int, text: str) -> list[Segment]:
    return [Segment(s, s + 2.5, f"{text} {n}") for s in (n * CHUNK_S + 2.8 * i for i in range(5))]


def _chunk(n: int, text: str) -> list[dict]:
    return [written_segment(s) for s in _segments(n, text)]


@contextmanager
def running(home: Path, *flags: str, port: int | None = None) -> Iterator[Site]:
    config = parse(["--no-token", *flags])
    card = catalog.find(config.model)
    engines = Engines("cpu", 1, "modelscope")
    jobs = Jobs(Journal(home), engines, Limits())
    preparer = Preparer(engines, card, card)
    captures = Captures(jobs.journal, Limits())
    captions = Captions(captures, Desk(engines))
    page = build(config, engines, jobs, captures, captions, preparer, Benchmarks(jobs.journal.storage, {}))
    routes = [
        *served.routes(jobs.journal), *news.routes(jobs, engines, preparer),
        *corrections.routes(jobs, engines, offered(config)),
    ]  # fmt: skip
    app = server._mounted(page, config, routes)
    web_server = web.Server(Door(app, config.host, (), None, scripts=[server._script()]))
    if port is None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
    web_server.start("127.0.0.1", port)
    try:
        yield Site(f"http://127.0.0.1:{port}/", jobs.journal)
    finally:
        web_server.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("home"), "--model", "demo-paraformer") as site:
        yield site


@pytest.fixture
def open_quiet(open_page) -> Iterator[Callable]:
    """Opens a page like `open_page`; the test fails if a page has written an error to its console."""
    pages = []

    def open_(address: str, **options):
        pages.append(open_page(address, **options))
        return pages[-1]

    yield open_
    assert [error for page in pages for error in page.console_errors] == []


def reload(page) -> None:
    """Reloads the page. Gradio writes an error for the answers that it was waiting for; it is no error of the page."""
    before = list(page.console_errors)
    page.reload()
    wait_until_ready(page)
    page.console_errors[:] = before


def submit(site: Site, page, name: str) -> str:
    """Uploads an example and submits it; returns the job's id."""
    upload(page, EXAMPLE / name)
    before = page.locator("#jobs li").count()
    page.click("#transcribe")
    page.wait_for_function("n => document.querySelectorAll('#jobs li').length > n", arg=before)
    return site.newest()


def entry(page, job: str):
    return page.locator(f"#jobs li[data-job='{job}']")


def test_what_is_refused_is_said_until_a_job_is_taken(site, open_page):
    page = open_page(site.address)
    page.click("#transcribe")
    page.wait_for_selector("#refusal >> text=There is no recording yet")
    page.check("#language input[value='中文']")
    page.wait_for_function("() => document.querySelector('#transcribe').innerText.includes('开始转写')")
    page.click("#transcribe")
    page.wait_for_selector("#refusal >> text=还没有录音")
    site.finish(submit(site, page, "english-home.flac"))
    page.wait_for_selector("#refusal .notice", state="detached")


def test_a_second_upload_leaves_the_first_in_the_list(site, open_quiet):
    page = open_quiet(site.address)
    first = submit(site, page, "english-home.flac")
    site.begin(first)
    site.write(first, 0, "of the first")
    page.wait_for_selector("#transcript >> text=of the first 0")
    clear(page)
    second = submit(site, page, "mandarin-home.wav")
    page.wait_for_function("() => document.querySelector('#progress').innerText.includes('1 before it')")
    assert page.locator("#jobs .open b").all_inner_texts() == ["mandarin-home.wav", "english-home.flac"]
    site.write(first, 1, "of the first")
    site.finish(first)
    entry(page, first).locator(".state.done").wait_for()  # though another one is shown
    assert "of the first" not in page.inner_text("#transcript")
    site.begin(second)
    site.write(second, 0, "of the second")
    site.finish(second)
    page.wait_for_selector(".card")
    assert "of the second 0" in page.inner_text("#transcript")
    entry(page, first).locator(".open").click()
    page.wait_for_selector("#transcript >> text=of the first 1")
    assert page.locator(".segment").count() == 10
    assert page.get_attribute("#download-txt", "href") == f"transcript/{first}.txt"
    assert entry(page, first).locator(".open").get_attribute("aria-current") == "true"
    reload(page)  # the one chosen from the list is the one that comes back, beside the list
    page.wait_for_selector("#transcript >> text=of the first 1")
    assert page.locator("#jobs li").count() == 2


def test_an_update_sends_what_is_new(site, open_quiet):
    page = open_quiet(site.address)
    job = submit(site, page, "english-home.flac")
    site.begin(job, CHUNKS - 20)
    last = f".segment >> text={SAID}"
    page.wait_for_function("n => document.querySelectorAll('.segment').length == n", arg=5 * (CHUNKS - 20))
    answered: list = []
    page.on("requestfinished", lambda request: answered.append(request))

    def paths(seconds: float) -> set[str]:
        answered.clear()
        page.wait_for_timeout(1000 * seconds)
        return {r.url.removeprefix(site.address) for r in answered}

    def most_bytes(seconds: float) -> int:
        assert paths(seconds) == {"news"}
        sizes = [r.sizes() for r in answered]
        return max(s["responseBodySize"] + s["responseHeadersSize"] + s["requestBodySize"] for s in sizes)

    while paths(1.0) != {"news"}:  # Gradio's components follow the job's new state, and are silent then
        pass
    without_news = most_bytes(2.0)
    site.write(job, CHUNKS - 20)
    with_a_chunk = most_bytes(1.5)
    assert page.locator(last).count() == 5 * (CHUNKS - 19)
    assert without_news < 2000
    assert without_news < with_a_chunk < 4000, (without_news, with_a_chunk)


def test_a_reload_keeps_the_choices(site, open_quiet):
    page = open_quiet(site.address)
    page.wait_for_selector("#facts >> text=on this disk")
    page.select_option("#model select", "sensevoice-small")
    page.click("#lite input")
    page.click("button:has-text('Advanced')")
    page.wait_for_selector("#itn")
    page.click("#spoken input")
    page.click("[role=option]:has-text('Cantonese (yue)')")
    page.click("#itn input")
    page.click("#precision >> text=INT8")
    page.click("#script input")
    page.click("[role=option]:has-text('traditional')")

    def shown() -> list:
        return [
            page.input_value("#model select"), page.is_checked("#lite input"), page.input_value("#spoken input"),
            page.is_checked("#itn input"), page.is_checked("#precision input[value=int8]"),
            page.input_value("#script input"),
        ]  # fmt: skip

    chosen = shown()
    assert chosen == ["sensevoice-small", True, "Cantonese (yue)", False, True, "traditional"]
    reload(page)
    page.wait_for_selector("#spoken")  # the fold is open, since something in it is chosen
    page.wait_for_function("() => document.querySelector('#spoken input')?.value.includes('yue')")
    page.wait_for_timeout(500)
    assert shown() == chosen
    page.select_option("#model select", "demo-fun-asr")  # it does not know Cantonese
    page.wait_for_selector("#hotwords")
    page.fill("#hotwords textarea", "Lyte\nKamera")
    page.wait_for_timeout(500)
    reload(page)
    page.wait_for_function("() => document.querySelector('#hotwords textarea')?.value == 'Lyte\\nKamera'")
    assert page.is_checked("#lite input")


def test_a_model_that_is_gone_leaves_the_default(tmp_path, open_page):
    folder = tmp_path / "mine"
    shutil.copytree(hub.BUNDLED / "demo-paraformer", folder)
    with running(tmp_path / "home", "--model", str(folder)) as site:
        page = open_page(site.address)
        page.wait_for_selector("#facts >> text=on this disk")
        page.select_option("#model select", "demo-whisper")
        page.select_option("#model select", str(folder))
        page.wait_for_timeout(500)
        port = int(site.address.rsplit(":", 1)[1].strip("/"))
    with running(tmp_path / "home", "--model", "demo-sensevoice", port=port):
        # The page notices that its server is another, and loads itself anew.
        page.wait_for_function("() => document.querySelector('#model select')?.value == 'demo-sensevoice'")
        page.wait_for_selector("#facts >> text=on this disk")
        assert page.locator(".toast-body").count() == 0


def test_choices_of_another_version_or_model_fall_back():
    cards = {"demo-paraformer": catalog.find("demo-paraformer")}
    assert choices.model({"model": "demo-paraformer"}, cards, "home") == "demo-paraformer"
    for gone in ("/gone", None, ["demo-paraformer"]):
        assert choices.model({"model": gone}, cards, "home") == "home"
    odd = {name: [{}] for name in ("precision", *options.NAMES)}
    card = catalog.find("demo-whisper")
    for kept in ({}, odd):
        of_model = [choices.precision(kept, card, "auto", "en"), *options.fitted(card, "en", kept)[:2]]
        assert [x["value"] for x in of_model] == ["auto", "auto", []]
    begin = ["auto", "full", True, False, "", "", False, "off"]
    assert [x["value"] for x in options.restored(odd)] == begin  # as the controls do
    assert all("value" not in x for x in options.restored({}))


def test_an_ended_job_is_removed_after_a_second_click(site, open_quiet):
    page = open_quiet(site.address)
    job = submit(site, page, "english-home.flac")
    site.begin(job)
    site.write(job, 0)
    entry(page, job).locator(".state.running").wait_for()
    assert entry(page, job).locator(".remove").count() == 0
    assert site.ask("remove", job=job) == {}
    assert site.journal.view(job).state == "running"
    site.finish(job)
    page.wait_for_selector(".card")
    recording = site.journal.view(job).recording
    entry(page, job).locator(".remove").click()
    assert page.inner_text(".remove.sure") == "Remove?"
    assert site.journal.view(job) is not None
    entry(page, job).locator(".remove").click()
    page.wait_for_selector("#transcript >> text=Upload a recording")
    assert (site.journal.view(job), recording.exists()) == (None, False)
    assert not page.is_visible("#jobs")
    assert page.locator(".card").count() == 0


def test_the_list_on_a_phone_in_chinese_is_of_this_browser_alone(site, open_quiet):
    phone = open_quiet(site.address, locale="zh-CN", viewport={"width": 390, "height": 844})
    job = submit(site, phone, "mandarin-home.wav")
    site.begin(job)
    entry(phone, job).locator("text=处理中").wait_for()
    assert phone.inner_text("#jobs h3") == "我的录音"
    assert "4:00:00" in phone.inner_text("#jobs")
    assert phone.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    phone.get_by_text("English", exact=True).click()
    entry(phone, job).locator("text=running").wait_for()
    assert phone.inner_text("#jobs h3") == "Your recordings"
    other = open_quiet(site.address)
    other.wait_for_timeout(1000)
    assert not other.is_visible("#jobs")


def test_only_this_page_and_only_known_ids_get_news(site):
    assert site.ask("news", language="en", job="x" * 24, jobs={"y": ""})["job"] is None
    assert site.ask("news", language="en", job="x" * 24, jobs={"y": ""})["jobs"] == {"y": None}
    for origin, body, status in (
        ("http://evil.example", {"language": "en"}, 403),
        (None, {"language": "xx"}, 422),
        (None, {"language": "en", "since": -1}, 422),
        (None, {"language": "en", "jobs": {str(n): "" for n in range(101)}}, 422),
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            site.ask("news", origin, **body)
        assert error.value.code == status


def test_no_event_of_the_page_goes_through_gradios_queue(tmp_path):
    config = parse(["--no-token", "--model", "demo-paraformer"])
    card = catalog.find(config.model)
    engines = Engines("cpu", 1, "modelscope")
    jobs = Jobs(Journal(tmp_path), engines, Limits())
    captures = Captures(jobs.journal, Limits())
    captions, preparer = Captions(captures, Desk(engines)), Preparer(engines, card, card)
    page = build(config, engines, jobs, captures, captions, preparer, Benchmarks(jobs.journal.storage, {}))
    # The queue's answers to two events that follow each other closely were lost in one page of twenty.
    assert [fn.name for fn in page.fns.values() if fn.fn is not None and fn.queue] == []

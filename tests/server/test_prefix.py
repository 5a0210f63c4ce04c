"""A sub-path behind a real nginx with the lines of the docs: page, login, upload, recording, API, server-sent events."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from conftest import EXAMPLE, ROOT, serving, wait_until_ready
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from asr_app import config
from asr_app.errors import UserError
from asr_app.prefix import Prefix

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
    server {{ listen 127.0.0.1:{port}; {location} }}
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


@pytest.fixture(scope="module", params=["kept", "taken off"])
def proxied(request, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """Address through nginx, which keeps the path or takes it off, and the query with the token."""
    if not Path(NGINX).exists():
        pytest.skip("nginx is needed: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    with serving(folder / "home", "--root-path", "/asr/", token=True, ASR_API_KEY=KEY) as (address, _):
        inner, _, token = address.partition("/asr/")
        location = documented("deployment.md").replace("http://127.0.0.1:6006", inner)
        if request.param == "taken off":
            location = location.replace(f"{inner};", f"{inner}/;")
        port = free_port()
        (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, port=port, location=location))
        nginx = subprocess.Popen(
            [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        )
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/asr/", token
        finally:
            nginx.terminate()
            nginx.wait(10)


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


@pytest.mark.models
def test_all_of_it_works_under_a_path(proxied, expected):
    address, token = proxied
    browser = requests.Session()
    assert browser.get(address).status_code == 401
    page = browser.get(address + token)
    assert page.status_code == 200
    assert {cookie.path for cookie in browser.cookies} == {"/asr/"}
    settings = json.loads(re.search(r"window\.gradio_config = (\{.*?\});</script>", page.text, re.DOTALL)[1])
    assert settings["root"] == address.rstrip("/")
    for url in re.findall(r"(?:src|href)=\"((?:\./|/)?(?:assets|static|theme)[^\"]*)\"", page.text)[:5]:
        assert browser.get(requests.compat.urljoin(address, url)).status_code == 200, url
    assert browser.post(address + "news", json={"language": "en"}).json()["busy"] in (True, False)
    clip = EXAMPLE / "mandarin-home.wav"
    with clip.open("rb") as file:
        (kept,) = browser.post(address + "gradio_api/upload", files={"files": file}).json()
    assert browser.get(f"{address}gradio_api/file={kept}").content == clip.read_bytes()
    key = {"Authorization": f"Bearer {KEY}"}
    with clip.open("rb") as file:
        answer = requests.post(address + "v1/jobs", headers=key, files={"file": file}, timeout=30)
    assert answer.headers["location"] == f"/asr/v1/jobs/{answer.json()['id']}"
    url = requests.compat.urljoin(address, answer.headers["location"])
    with requests.get(url + "/events", headers=key, stream=True, timeout=60) as events:
        last = [line for line in events.iter_lines() if line.startswith(b"data:")][-1]
    assert json.loads(last[5:])["status"] == "done"
    said = requests.get(url + "/transcript?format=txt", headers=key, timeout=30).content.decode()
    assert "".join(said.split()) == expected[clip.name]["text"]
    job = answer.json()["id"]
    assert browser.get(f"{address}recording/{job}", headers={"Range": "bytes=0-9"}).status_code == 206
    assert browser.get(address + "docs/api").status_code == 200
    assert browser.get(address + "openapi.json").json()["servers"] == [{"url": "/asr"}]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.models
def test_the_page_works_under_a_path(proxied, open_page):
    address, token = proxied
    page = open_page(address + token)
    page.set_input_files("#upload input[type=file]", EXAMPLE / "english-home.flac")
    page.wait_for_function("() => document.querySelectorAll('#upload .file-preview tr.file').length === 1")
    page.click("#transcribe")
    page.wait_for_function("() => document.querySelectorAll('#jobs .state.done').length === 1")
    assert "weather" in page.inner_text("#transcript")
    page.wait_for_function("() => document.querySelector('#player').readyState > 0")
    page.reload()
    wait_until_ready(page)
    page.wait_for_function("() => document.querySelector('#transcript').innerText.includes('weather')")
    assert not page.console_errors

"""The door in front of the page: by requests to the middleware alone, and by requests to the real server."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import EXAMPLE, ROOT, serving, wait_until_ready
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from asr_app.door import Door, audio_type

INLINE = "window.config = {'a': '<b>&amp;</b>'};\n"
PAGE = f"<!doctype html><script src='x.js'></script><script type='module'>{INLINE}</script><p>1 < 2</p>"


def house(folder: Path) -> Starlette:
    """An app behind the door: a page, files by their paths, an upload, and a stream."""

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(PAGE * 20)

    async def file(request: Request) -> FileResponse:
        return FileResponse(folder / Path(request.path_params["path"]).name, content_disposition_type="inline")

    async def upload(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    async def stream(_: Request) -> StreamingResponse:
        return StreamingResponse(iter(["one ", "two"]), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/gradio_api/file={path:path}", file),
            Route("/gradio_api/upload", upload, methods=["POST"]),
            Route("/gradio_api/heartbeat/x", stream),
            Route("/gradio_api/proxy={path:path}", page),
            Route("/gradio_api/vibe-edit", page, methods=["POST"]),
            Route("/assets/x.js", stream),
        ]
    )


def client(folder: Path, *allowed: str, host: str = "127.0.0.1", scripts: tuple[str, ...] = ()) -> TestClient:
    return TestClient(Door(house(folder), host, allowed, None, scripts), base_url="http://127.0.0.1:6006")


# --- Host


@pytest.mark.parametrize(
    "host", ["127.0.0.1:6006", "localhost", "LOCALHOST.:9", "[::1]:6006", "asr.example", "asr.example:8443"]
)
def test_names_of_loopback_and_allowed_names_are_answered(tmp_path, host):
    assert client(tmp_path, "ASR.example").get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:6006", "127.0.0.1.evil.example", "localhost@evil.example", "", "192.168.1.5:6006",
     "evil.example#localhost", "[::1].evil.example"],
)  # fmt: skip
def test_other_names_are_refused_with_one_line_of_log(tmp_path, host, caplog):
    response = client(tmp_path).get("/", headers={"Host": host})
    assert response.status_code == 400
    assert "--allow-host" in response.text
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "GET '/': Host" in record.getMessage()


def test_two_hosts_are_refused(tmp_path):
    headers = [("Host", "127.0.0.1:6006"), ("Host", "evil.example")]
    assert client(tmp_path).get("/", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("listening", "host", "status"),
    [
        ("0.0.0.0", "192.168.1.5:6006", 200),  # noqa: S104
        ("::", "[fd00::1]:6006", 200),
        ("0.0.0.0", "evil.example", 400),  # noqa: S104
        ("192.168.1.5", "192.168.1.5:6006", 200),
        ("192.168.1.5", "192.168.1.6:6006", 400),
        ("box.example", "box.example:6006", 200),
    ],
)
def test_on_all_addresses_any_address_is_a_name_of_the_server(tmp_path, listening, host, status):
    assert client(tmp_path, host=listening).get("/", headers={"Host": host}).status_code == status


# --- Origin


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:6006", "127.0.0.1:6006", 200),
        ("http://localhost:9999", "localhost:9999", 200),  # a tunnel on another port
        ("https://asr.example", "asr.example", 200),  # a proxy that ends TLS
        ("https://asr.example", "127.0.0.1:6006", 200),  # one that rewrites Host
        ("http://[::1]:6006", "[::1]:6006", 200),
        ("http://127.0.0.1:8888", "127.0.0.1:6006", 403),  # another port of this machine
        ("http://localhost:6006", "127.0.0.1:6006", 403),
        ("https://asr.example:8443", "127.0.0.1:6006", 403),
        ("https://asr.example:8443", "asr.example", 403),
        ("http://127.0.0.1", "127.0.0.1:6006", 403),
        ("https://evil.example", "127.0.0.1:6006", 403),
        ("https://evil.example", "asr.example", 403),
        ("null", "127.0.0.1:6006", 403),
        ("file://", "127.0.0.1:6006", 403),
        ("http://127.0.0.1:99999", "127.0.0.1:6006", 403),
        ("http://[", "127.0.0.1:6006", 403),
    ],
)
def test_only_the_page_itself_may_post(tmp_path, origin, host, status, caplog):
    response = client(tmp_path, "asr.example").post(
        "/gradio_api/upload", content=b"abc", headers={"Origin": origin, "Host": host}
    )
    assert response.status_code == status
    assert len(caplog.records) == (status != 200)
    if status == 403:
        assert "access-control-allow-origin" not in response.headers


def test_a_foreign_preflight_is_refused(tmp_path):
    headers = {"Origin": "http://localhost:8888", "Access-Control-Request-Method": "POST"}
    assert client(tmp_path).options("/gradio_api/upload", headers=headers).status_code == 403


# --- paths


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/proxy=https://x.hf.space/", "/gradio_api/vibe-edit", "/gradio_api/file=https://evil.example/x.wav",
     "/gradio_api/file=http:/evil.example", "/monitoring", "/docs", "/login", "/gradio_api/runs"],
)  # fmt: skip
def test_what_the_page_does_not_ask_for_is_not_there(tmp_path, path):
    assert client(tmp_path).get(path).status_code == 404
    assert client(tmp_path).post(path).status_code == 404


def test_a_websocket_is_refused(tmp_path):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client(tmp_path).websocket_connect("/"):
        pass


# --- headers and files


def test_the_page_allows_its_own_scripts_and_no_others(tmp_path):
    response = client(tmp_path, scripts=("own()",)).get("/")
    assert response.headers["content-encoding"] == "gzip"
    assert response.text == PAGE * 20
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    hashes = [f"'sha256-{b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in (INLINE, "own()")]
    assert policy["script-src"].split() == ["'self'", "'unsafe-eval'", *hashes]
    assert policy["frame-ancestors"] == "'none'"
    assert policy["default-src"] == "'none'"


@pytest.mark.parametrize("path", ["/", "/gradio_api/heartbeat/x", "/assets/x.js", "/nowhere"])
@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_response_has_the_headers(tmp_path, path, host):
    headers = client(tmp_path).get(path, headers={"Host": host}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers.get("cache-control") == (None if path.startswith("/assets/") else "no-store")


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.xhtml", "x.js", "x.HTM", "x", "x.pdf", "x.xml", "x.png"])
def test_an_upload_is_never_shown_by_a_browser(tmp_path, name):
    (tmp_path / name).write_text("<script>alert(1)</script>")
    response = client(tmp_path).get(f"/gradio_api/file=/tmp/{name}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == "attachment"


def test_a_recording_keeps_its_ranges(tmp_path):
    (tmp_path / "a.flac").write_bytes(bytes(range(100)))
    response = client(tmp_path).get("/gradio_api/file=/tmp/a.flac", headers={"Range": "bytes=10-19"})
    assert response.status_code == 206
    assert response.content == bytes(range(10, 20))
    assert response.headers["content-type"] == "audio/flac"


def test_a_stream_is_not_held_back(tmp_path):
    assert client(tmp_path).get("/gradio_api/heartbeat/x").text == "one two"


@pytest.mark.parametrize(
    ("name", "type"), [("a.mp4", "audio/mp4"), ("b.mp3", "audio/mpeg"), ("c.svg", "application/octet-stream")]
)
def test_files_are_audio_or_nothing(name, type):
    assert audio_type(name) == type


# --- the real server


@pytest.fixture(scope="module")
def locked(tmp_path_factory) -> Iterator[str]:
    """The address that a server with a token prints."""
    with serving(tmp_path_factory.mktemp("home"), token=True) as (address, _):
        yield address


def ask(url: str, data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case and body; the names of `headers` have _ for -."""
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        response = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()


def multipart(name: str, body: bytes) -> tuple[bytes, str]:
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + body + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


@pytest.mark.models
def test_the_token_opens_the_server_and_becomes_a_cookie(locked):
    address, token = locked.split("?token=")
    status, headers, body = ask(address)
    assert status == 401
    assert "terminal" in body.decode()
    assert "终端" in body.decode()
    assert "set-cookie" not in headers
    assert ask(address + "?token=" + token[:-1] + "x")[0] == 403
    assert ask(address + "gradio_api/heartbeat/x")[0] == 401
    assert ask(address + "assets/x.js")[0] == 401
    status, headers, body = ask(locked)
    assert status == 200
    assert token not in body.decode()
    cookie, *flags = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)
    assert token not in cookie
    assert ask(address, Cookie=cookie)[0] == 200
    assert ask(address, Cookie=cookie[:-1] + "x")[0] == 401


@pytest.mark.models
def test_foreign_names_and_pages_are_refused_whatever_they_know(locked):
    address = locked.split("?token=")[0]
    assert ask(locked, Host="evil.example")[0] == 400
    cookie = ask(locked)[1]["set-cookie"].split(";")[0]
    body, kind = multipart("x.wav", b"RIFF")
    for origin in ("https://evil.example", "http://localhost:8888", "null"):
        status, headers, _ = ask(address + "gradio_api/upload", body, Content_Type=kind, Origin=origin, Cookie=cookie)
        assert status == 403
        assert "access-control-allow-origin" not in headers


@pytest.mark.models
def test_an_uploaded_page_is_not_served_as_one(locked):
    address = locked.split("?token=")[0]
    cookie = ask(locked)[1]["set-cookie"].split(";")[0]
    for name in ("x.html", "x.svg"):
        body, kind = multipart(name, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
        status, _, body = ask(address + "gradio_api/upload", body, Content_Type=kind, Cookie=cookie)
        assert status == 200
        (path,) = json.loads(body)
        status, headers, _ = ask(f"{address}gradio_api/file={path}", Cookie=cookie)
        assert status == 200
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"] == "attachment"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        status, headers, _ = ask(f"{address}gradio_api/file={path}", Cookie=cookie, Range="bytes=0-1")
        assert status == 206
        assert headers["content-type"] == "application/octet-stream"
        assert "cookie" not in headers


@pytest.mark.models
def test_the_page_tells_no_path_of_the_server(locked):
    body = ask(locked)[2].decode()
    assert "gradio_config" in body
    for folder in (str(ROOT), str(Path.home()), "site-packages"):
        assert folder not in body


@pytest.mark.models
@pytest.mark.browser
def test_the_page_works_under_its_policy_without_a_console_error(locked, open_page, tmp_path, expected):
    """Everything that is seen on the console after the first load, from the address in the terminal to a download."""
    first = open_page(locked)
    assert "token" not in first.url
    page = first.context.new_page()
    first.close()
    seen = []
    page.on("console", lambda message: seen.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.goto(locked.split("?token=")[0])  # the cookie is enough now
    wait_until_ready(page)
    page.set_input_files("#upload input[type=file]", str(EXAMPLE / "english-home.flac"))
    page.wait_for_function("() => document.querySelector('#upload').innerText.includes('english-')")
    page.click("#transcribe")
    page.wait_for_selector(".card")
    page.locator(".segment .play").last.click()
    page.wait_for_function("() => document.getElementById('player').currentTime > 1")
    assert re.fullmatch(r"recording/[\w-]{24}", page.get_attribute("#player", "src"))
    with page.expect_download() as download:
        page.click("#download-srt")
    assert download.value.suggested_filename == "english-home.srt"
    page.locator("#examples button").first.click()
    page.get_by_role("tab", name="Microphone").click()
    page.locator("#language input").last.click()
    page.wait_for_timeout(2000)
    assert seen == []
    # An inline handler, as a transcript would carry it if its text were not escaped, does not run.
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x: onerror=\"window.ran = 1\">')")
    page.wait_for_timeout(500)
    assert page.evaluate("window.ran") is None
    assert seen


@pytest.mark.models
def test_what_is_written_is_private_and_sigterm_ends_the_server_in_order(tmp_path):
    home = tmp_path / "home"
    with serving(home) as (_, process):
        process.terminate()
        assert process.wait(20) == 0
    written = [path for path in [home, *home.rglob("*")] if path.name != "server.log"]
    assert {"journal.sqlite3", "recordings"} <= {path.name for path in written}
    assert [path.name for path in written if path.stat().st_mode & 0o077] == []
    log = (home / "server.log").read_text()
    assert "stopped" in log
    assert "Traceback" not in log

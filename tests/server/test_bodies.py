"""A request that is too long, breaks off or finds no room: one clear answer, nothing left on the disk, no traceback."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from conftest import EXAMPLE, serving, wait_until_ready
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from test_door import ask, multipart

from asr_app.bodies import Bodies
from asr_app.clients import Clients, client
from asr_app.storage import Storage

UPLOAD = "/gradio_api/upload"


def completed(work: Coroutine) -> None:
    """Runs it in a thread of its own: Playwright has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def answer(app, path: str, parts: list[bytes], stated: int | None = None, *, whole: bool = True) -> tuple[int, str]:
    """Status and text for a POST with its body in these parts; without `whole` the client goes away after them."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False} if whole else {"type": "http.disconnect"})
    headers = [(b"content-length", str(stated).encode())] if stated is not None else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    completed(app(scope, receive, send))
    if not sent:
        return 0, ""
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]).decode()


async def reads(scope, receive, send) -> None:
    """An application that reads the body and tells its length."""
    size = 0
    async for part in Request(scope, receive).stream():
        size += len(part)
    await PlainTextResponse(str(size))(scope, receive, send)


@pytest.fixture
def kept(tmp_path) -> Storage:
    return Storage(tmp_path)


MB = bytes(2**20)


@pytest.mark.parametrize(
    ("path", "most", "told"),
    [(UPLOAD, 3 * 2**20, "more than 3 MB"), ("/asr", 3 * 2**20, "more than 3 MB"), ("/news", 2**20, "more than 1 MB")],
)
def test_a_body_that_is_too_long_is_refused_stated_or_not(kept, path, most, told):
    app = Bodies(reads, kept, 3)
    assert answer(app, path, [MB] * (most // 2**20), most) == (200, str(most))
    assert answer(app, path, [MB] * (most // 2**20)) == (200, str(most))
    for parts, stated in (([], most + 2**20), ([MB] * 5, None), ([MB] * 5, 10)):
        status, text = answer(app, path, parts, stated)
        assert status == 413
        assert told in text
        assert "MB。" in text


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
def test_a_program_is_refused_in_its_own_form(kept, path, tmp_path):
    assert answer(Bodies(reads, kept, 3), path, [MB] * 3)[0] == 200  # as long as an upload may be
    status, text = answer(Bodies(reads, kept, 3), path, [MB] * 5)
    assert (status, json.loads(text)["error"]["type"]) == (413, "invalid_request_error")
    status, text = answer(Bodies(reads, Storage(tmp_path, 1000), 3), path, [bytes(1001)], 1001)
    assert status == 507
    assert "--max-disk-gb" in json.loads(text)["error"]["message"]


def test_what_is_over_the_limit_never_arrives(kept):
    seen = []

    async def counts(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            seen.append(len(message["body"]))

    answer(Bodies(counts, kept, 1), UPLOAD, [MB] * 5)
    assert sum(seen) == 2**20


def test_an_upload_without_room_is_refused_before_it_is_read(tmp_path):
    app = Bodies(reads, Storage(tmp_path, 1000), 3)
    assert answer(app, UPLOAD, [bytes(900)], 900)[0] == 200
    status, text = answer(app, UPLOAD, [bytes(1001)], 1001)
    assert status == 507
    assert "--max-disk-gb" in text
    assert answer(app, "/news", [bytes(1001)], 1001)[0] == 200


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_while_an_upload_arrives_is_named(kept, code):
    async def fails(scope, receive, send):
        await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)  # as Starlette does first
        raise OSError(code, "no")

    status, text = answer(Bodies(fails, kept, 3), UPLOAD, [b"x"], 1)
    assert status == 507
    assert "disk is full" in text
    assert "磁盘已满" in text


def test_other_errors_are_not_hidden(kept):
    async def fails(scope, receive, send):
        await PlainTextResponse("Internal Server Error", 500)(scope, receive, send)
        raise OSError(errno.EIO, "no")

    with pytest.raises(OSError, match="no"):
        answer(Bodies(fails, kept, 3), UPLOAD, [b"x"], 1)


def test_a_client_that_goes_away_is_no_error_and_leaves_nothing(kept):
    async def writes(scope, receive, send):
        (kept.uploads / "tmp123").write_bytes(b"x")
        await reads(scope, receive, send)

    assert answer(Bodies(writes, kept, 3), UPLOAD, [b"x"], 100, whole=False) == (0, "")
    assert list(kept.uploads.iterdir()) == []


# --- browsers


def test_each_browser_gets_its_cookie_once():
    async def page(scope, receive, send):
        await PlainTextResponse("x")(scope, receive, send)

    def cookies(path: str, *given: str) -> list[str]:
        sent = []

        async def send(message):
            sent.append(message)

        headers = [(b"cookie", value.encode()) for value in given]
        completed(Clients(page)({"type": "http", "path": path, "headers": headers}, None, send))
        return [v.decode() for k, v in sent[0]["headers"] if k == b"set-cookie"]

    (one,), (two,) = cookies("/"), cookies("/")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(one.split("; "))
    first, second = one.split(";")[0], two.split(";")[0]
    assert client(first, "127.0.0.1") != client(second, "127.0.0.1")
    assert client(f"other=1; {first}", "127.0.0.1") == client(first, "10.0.0.1")
    assert cookies("/", first) == cookies("/", "a=b", first) == cookies("/assets/x.js") == []
    assert cookies("/", "asr-browser=forged;")


def test_without_a_cookie_the_address_counts():
    assert client("", "10.0.0.1") != client("", "10.0.0.2")
    assert client("asr-browser=x", "10.0.0.1") == client("", "10.0.0.1")
    assert client("", "2001:db8::1") == client("", "2001:db8::2") != client("", "2001:db9::1")


# --- the real server


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    home = tmp_path_factory.mktemp("home")
    with serving(home, "--max-upload-mb", "2", "--max-disk-gb", "0.01") as (address, _):
        yield address, home


def uploads(home: Path) -> list[Path]:
    return [path for path in (home / "uploads").rglob("*") if path.is_file()]


def until_gone(home: Path, name: str = "tmp*") -> None:
    end = time.monotonic() + 10
    while list((home / "uploads").glob(name)):
        assert time.monotonic() < end, uploads(home)
        time.sleep(0.1)


@pytest.mark.models
def test_an_upload_that_breaks_off_leaves_nothing_and_no_traceback(served):
    """Through a tunnel that goes down: half of what was promised, then the connection ends."""
    address, home = served
    body, kind = multipart("speech.wav", bytes(1_000_000))
    port = int(re.findall(r":(\d+)/", address)[0])
    with socket.create_connection(("127.0.0.1", port)) as tunnel:
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        tunnel.sendall(head.encode() + body[:500_000])
        end = time.monotonic() + 10
        while not list((home / "uploads").glob("tmp*")):
            assert time.monotonic() < end
            time.sleep(0.05)
    until_gone(home)
    assert "Traceback" not in (home / "server.log").read_text()


@pytest.mark.models
def test_a_whole_upload_lies_under_home_and_a_long_one_is_told(served):
    address, home = served
    body, kind = multipart("speech.wav", b"RIFF" + bytes(100_000))
    status, _, answered = ask(f"{address}{UPLOAD[1:]}", body, Content_Type=kind)
    assert status == 200
    (path,) = map(Path, json.loads(answered))
    assert path.is_relative_to(home / "uploads")
    assert path.stat().st_mode & 0o077 == 0
    body, kind = multipart("long.wav", bytes(3 * 2**20))
    # The server does not wait for the end of the body; requests reads its answer all the same.
    refused = requests.post(f"{address}{UPLOAD[1:]}", data=body, headers={"Content-Type": kind}, timeout=20)
    assert (refused.status_code, refused.text[:31]) == (413, "The upload has more than 2 MB. ")
    refused = requests.post(address + "gradio_api/run/predict", json="x" * 2**20, timeout=20)
    assert refused.status_code == 413
    assert [p for p in uploads(home) if p.name != "speech.wav"] == []


@pytest.mark.models
@pytest.mark.browser
def test_the_page_tells_why_an_upload_is_refused_and_goes_on(served, open_page, tmp_path):
    address, home = served
    page = open_page(address)
    long, filler = tmp_path / "long.wav", home / "recordings" / "filler.wav"
    long.write_bytes(bytes(3 * 2**20))
    page.set_input_files("#upload input[type=file]", str(long))
    page.wait_for_selector("#upload [role=alert] >> text=this server takes")
    page.reload()
    wait_until_ready(page)
    filler.write_bytes(bytes(10_000_000))
    page.set_input_files("#upload input[type=file]", str(EXAMPLE / "english-home.flac"))
    page.wait_for_selector("#upload [role=alert] >> text=The server's disk is full")
    filler.unlink()
    page.reload()
    wait_until_ready(page)
    page.set_input_files("#upload input[type=file]", str(EXAMPLE / "english-home.flac"))
    page.wait_for_function("() => document.querySelector('#upload').innerText.includes('english-')")
    page.click("#transcribe")
    page.wait_for_selector(".card")
    (kept,) = (home / "recordings").iterdir()
    assert kept.stat().st_nlink == 2
    (node,) = {p.stat().st_ino for p in uploads(home) if p.name.startswith("english-")}
    assert kept.stat().st_ino == node

"""The tools for language models: the official client against the real server, and the functions without the package."""

from __future__ import annotations

import base64
import builtins
import functools
import importlib
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
import requests
from conftest import EXAMPLE, serving
from fakes import jobs, recording  # noqa: F401 (fixtures)
from fastapi import FastAPI
from starlette.testclient import TestClient

from asr_app import catalog, web
from asr_app.api import mcp_tools
from asr_app.api.intake import Intake
from asr_app.api.mcp_tools import Tools
from asr_app.api.models import Offered
from asr_app.api_errors import ApiError
from asr_app.bodies import Bodies
from asr_app.door import Door
from asr_app.errors import UserError
from asr_app.login import Login

KEY = "0123456789abcdef-key"
CLIP = EXAMPLE / "mandarin-home.wav"


@pytest.fixture
def tools(jobs):
    offered = Offered(jobs._worker._engines, catalog.find("demo-paraformer"), lite=False, picked=None)
    return Tools(jobs, offered, Intake(jobs, offered))


def run(function: Callable, *arguments):
    """Runs it in a thread: Playwright's loop may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, function, *arguments).result()


def transcribe(tools: Tools, **given) -> dict:
    return run(functools.partial(tools.transcribe, **given))


def test_a_recording_and_then_its_job_are_transcribed(tools, jobs, recording):
    jobs.start()
    done = transcribe(tools, recording=base64.b64encode(recording.read_bytes()).decode(), name="talk é.wav")
    assert (done["status"], done["file"]) == ("done", "talk é.wav")
    assert done["text"].startswith("w1.")
    again = transcribe(tools, job=done["id"], model="demo-paraformer@int8")
    assert again["id"] != done["id"]
    assert again["text"]
    assert tools.text(done["id"], "srt").startswith("1\n")
    assert tools.state(done["id"])["status"] == "done"


def test_a_long_recording_is_asked_for_later(tools, jobs, recording):
    now = transcribe(tools, recording=base64.b64encode(recording.read_bytes()).decode(), wait_s=0)
    assert now["status"] == "queued"
    with pytest.raises(ApiError, match="there is no text"):
        tools.text(now["id"])


@pytest.mark.parametrize("given", [
    {}, {"recording": "AAAA", "job": "x"}, {"recording": "/etc/passwd"}, {"recording": "http://example.com/a.wav"},
    {"job": "../../etc"}, {"recording": "A" * (mcp_tools.MOST_BYTES // 3 * 4 + 8)}, {"recording": "AAAA", "model": "../x"},
])  # fmt: skip
def test_neither_a_path_nor_a_url_nor_too_much_is_taken(tools, jobs, given):
    with pytest.raises(ApiError):
        transcribe(tools, **given)
    assert jobs.journal.idle()


def test_without_the_package_the_flag_says_what_to_install(tools, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **named):
        if name.startswith("mcp"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcp"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match="pip install"):
        mcp_tools.served(tools)


async def ask(address: str, recording: Path, says: Callable[[str], bool]) -> None:
    """Uses all tools by the official client."""
    http = importlib.import_module("mcp.client.streamable_http")
    session = importlib.import_module("httpx2").AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=90)
    Client = importlib.import_module("mcp.client").Client
    async with session, Client(http.streamable_http_client(address + "mcp", http_client=session)) as asking:
        listed = {tool.name: tool for tool in (await asking.list_tools()).tools}
        assert set(listed) == {"list_models", "transcribe", "job_state", "job_text"}
        assert "Base64" in listed["transcribe"].input_schema["properties"]["recording"]["description"]
        models = (await asking.call_tool("list_models", {})).structured_content["result"]
        assert "demo-paraformer@int8" in models
        sent = {"recording": base64.b64encode(recording.read_bytes()).decode(), "name": recording.name, "wait_s": 50}
        done = (await asking.call_tool("transcribe", sent)).structured_content
        assert says(done["text"])
        srt = await asking.call_tool("job_text", {"job": done["id"], "format": "srt"})
        assert srt.content[0].text.startswith("1\n00:00:0")
        wrong = await asking.call_tool("job_state", {"job": "nobody's"})
        assert wrong.is_error
        assert "no such job" in wrong.content[0].text


def refused(address: str) -> None:
    """Checks what the door and the bounds of bodies refuse."""
    key = {"Authorization": f"Bearer {KEY}"}
    assert requests.post(address + "mcp", json={}, timeout=10).status_code == 401
    foreign = requests.post(address + "mcp", json={}, headers=key | {"Origin": "http://evil.example"}, timeout=10)
    assert foreign.status_code == 403
    big = requests.post(address + "mcp", data=b"x" * (mcp_tools.MOST_BODY + 1), headers=key, timeout=30)
    assert big.status_code == 413


def test_the_official_client(tools, jobs, recording):
    routes, lifespan = mcp_tools.served(tools)
    app = Bodies(
        FastAPI(routes=routes, lifespan=lifespan), jobs.journal.storage, 1, {mcp_tools.PATH: mcp_tools.MOST_BODY}
    )
    door = Door(app, "127.0.0.1", (), Login(bytes(32), api_keys=[KEY]), paths=[mcp_tools.PATH])
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = web.Server(door)
    server.start("127.0.0.1", port)
    jobs.start()
    try:
        run(ask, f"http://127.0.0.1:{port}/", recording, lambda text: text.startswith("w1."))
        refused(f"http://127.0.0.1:{port}/")
    finally:
        server.close()


@pytest.mark.slow
@pytest.mark.models
def test_the_official_client_at_the_real_server(tmp_path, expected):
    said = expected[CLIP.name]["text"]
    with serving(tmp_path, "--mcp", token=True, ASR_API_KEY=KEY) as (address, _):
        address = address.split("?")[0]
        run(ask, address, CLIP, lambda text: "".join(text.split()) == said)
        refused(address)


def test_without_the_flag_there_is_no_such_path(tools):
    door = Door(FastAPI(), "127.0.0.1", (), Login(bytes(32), api_keys=[KEY]))
    client = TestClient(door, base_url="http://127.0.0.1:6006")
    assert client.post("/mcp", headers={"Authorization": f"Bearer {KEY}"}).status_code == 404

"""The tools for language models: the official client against the real server, and the functions without the package."""

from __future__ import annotations

import base64
import builtins
import sys

import pytest
import requests
from conftest import EXAMPLE, serving
from fakes import jobs, recording, wait  # noqa: F401 (fixtures)

from asr_app import catalog
from asr_app.api import mcp_tools
from asr_app.api.intake import Intake
from asr_app.api.mcp_tools import Tools
from asr_app.api.models import Offered
from asr_app.api_errors import ApiError
from asr_app.errors import UserError

KEY = "0123456789abcdef-key"
CLIP = EXAMPLE / "mandarin-home.wav"


@pytest.fixture
def tools(jobs):
    offered = Offered(jobs._engines, catalog.find("demo-paraformer"), lite=False, picked=None)
    return Tools(jobs, offered, Intake(jobs, offered))


def test_a_recording_and_then_its_job_are_transcribed(tools, jobs, recording):
    jobs.start()
    done = tools.transcribe(base64.b64encode(recording.read_bytes()).decode(), "talk é.wav")
    assert (done["status"], done["file"]) == ("done", "talk é.wav")
    assert done["text"].startswith("w1.")
    again = tools.transcribe(job=done["id"], model="demo-paraformer@int8")
    assert again["id"] != done["id"]
    assert again["text"]
    assert tools.text(done["id"], "srt").startswith("1\n")
    assert tools.state(done["id"])["status"] == "done"


def test_a_long_recording_is_asked_for_later(tools, jobs, recording):
    now = tools.transcribe(base64.b64encode(recording.read_bytes()).decode(), wait_s=0)
    assert now["status"] == "queued"
    with pytest.raises(ApiError, match="there is no text"):
        tools.text(now["id"])


@pytest.mark.parametrize("given", [
    {}, {"recording": "AAAA", "job": "x"}, {"recording": "/etc/passwd"}, {"recording": "http://example.com/a.wav"},
    {"job": "../../etc"}, {"recording": "A" * (mcp_tools.MOST_BYTES // 3 * 4 + 8)}, {"recording": "AAAA", "model": "../x"},
])  # fmt: skip
def test_neither_a_path_nor_a_url_nor_too_much_is_taken(tools, jobs, given):
    with pytest.raises(ApiError):
        tools.transcribe(**given)
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


@pytest.mark.models
def test_the_official_client(tmp_path, expected):
    anyio = pytest.importorskip("anyio")
    client = pytest.importorskip("mcp.client.client", reason="the package mcp is not installed")
    http = pytest.importorskip("mcp.client.streamable_http")
    httpx2 = pytest.importorskip("httpx2")

    async def ask(address: str) -> None:
        session = httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=90)
        async with session, client.Client(http.streamable_http_client(address + "mcp", http_client=session)) as asking:
            listed = {tool.name for tool in (await asking.list_tools()).tools}
            assert listed == {"list_models", "transcribe", "job_state", "job_text"}
            models = (await asking.call_tool("list_models", {})).structured_content["result"]
            assert "demo-paraformer@int8" in models
            sent = {"recording": base64.b64encode(CLIP.read_bytes()).decode(), "name": CLIP.name, "wait_s": 50}
            done = (await asking.call_tool("transcribe", sent)).structured_content
            assert "".join(done["text"].split()) == expected[CLIP.name]["text"]
            srt = await asking.call_tool("job_text", {"job": done["id"], "format": "srt"})
            assert srt.content[0].text.startswith("1\n00:00:0")
            wrong = await asking.call_tool("job_state", {"job": "nobody's"})
            assert wrong.is_error
            assert "no such job" in wrong.content[0].text

    with serving(tmp_path, "--mcp", token=True, ASR_API_KEY=KEY) as (address, _):
        address = address.split("?")[0]
        assert requests.post(address + "mcp", json={}, timeout=10).status_code == 401
        anyio.run(ask, address)
        big = requests.post(
            address + "mcp",
            data=b"x" * (mcp_tools.MOST_BODY + 1),
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=30,
        )
        assert big.status_code == 413

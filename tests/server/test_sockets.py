"""Websockets meet the same door as requests: path, Host, Origin, key or cookie."""

from __future__ import annotations

import logging

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_app import web
from asr_app.door import Door
from asr_app.login import Account, Login

AT = "http://127.0.0.1:6006"
PATH = "ws://127.0.0.1:6006/v1/realtime?intent=transcription"
OURS = {"Origin": AT, "Host": "127.0.0.1:6006"}


def behind(login: Login | None) -> TestClient:
    async def socket(found: WebSocket) -> None:
        await found.accept()
        await found.send_text(found.url.query)
        await found.close()

    async def page(_: Request) -> PlainTextResponse:
        return PlainTextResponse("page")

    app = Starlette(
        routes=[Route("/", page), WebSocketRoute("/v1/realtime", socket), WebSocketRoute("/{any:path}", socket)]
    )
    return TestClient(Door(app, "127.0.0.1", (), login), base_url=AT)


def refused(client: TestClient, path: str = PATH, **headers: str) -> int:
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(path, headers=headers):
        pass
    return denied.value.status_code


def entered(client: TestClient, path: str = PATH, **headers: str) -> str:
    with client.websocket_connect(path, headers=headers) as socket:
        return socket.receive_text()


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/realtime/", "/v1/realtime/x", "/gradio_api/queue/join"])
def test_other_paths_have_no_socket(path):
    with pytest.raises(WebSocketDisconnect) as closed, behind(None).websocket_connect(path):
        pass
    assert closed.value.code == 1008


def test_another_host_and_another_page_are_refused(caplog):
    client = behind(None)
    assert refused(client, Host="evil.example") == 400
    assert refused(client, Origin="https://evil.example") == 403
    assert refused(client, Origin="null") == 403
    assert "websocket '/v1/realtime'" in caplog.text
    assert entered(client, **OURS) == "intent=transcription"


def test_a_key_or_the_cookie_of_the_browser_lets_in():
    login = Login(bytes(32), (), ("a-key-of-16-characters",))
    client = behind(login)
    assert refused(client) == 401
    assert refused(client, Authorization="Bearer another-key-of-16") == 401
    assert refused(client, f"{PATH}&token={login.token}") == 401  # an address is kept in logs and histories
    for key in ("a-key-of-16-characters", login.token):
        assert entered(client, Authorization=f"Bearer {key}") == "intent=transcription"
    assert client.get(f"/?token={login.token}").status_code == 200
    assert entered(client, **OURS) == "intent=transcription"
    assert refused(client, Origin="http://127.0.0.1:8888") == 403


def test_with_a_password_it_is_the_same():
    client = behind(Login(bytes(32), [Account.of("ann", "secret")], ("a-key-of-16-characters",)))
    assert refused(client, **OURS) == 401
    client.post("/login", data={"name": "ann", "password": "secret"}, headers=OURS)
    assert entered(client, **OURS) == "intent=transcription"


def test_text_that_is_no_utf8_is_one_line_of_log():
    record = logging.makeLogRecord({"exc_info": (UnicodeDecodeError, None, None)})
    assert web._without_traceback(record)
    assert record.exc_info is None
    record = logging.makeLogRecord({"exc_info": (ValueError, None, None)})
    assert web._without_traceback(record)
    assert record.exc_info

"""The route `/v1/realtime`: who may have a session, and how many."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from typing import Any

import anyio.to_thread
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_app.api.models import Offered
from asr_app.api.realtime.connection import LATER, POLICY, Connection
from asr_app.api.realtime.items import new_id
from asr_app.api.realtime.session import Settings
from asr_app.api_errors import ApiError, error_object
from asr_app.clients import client
from asr_app.live.desk import Desk

MOST_OF_A_CLIENT = 8  # sessions at once; all who come through a tunnel are one client


def routes(desk: Desk, offered: Offered) -> list[BaseRoute]:
    """`/v1/realtime?intent=transcription`, which the door lets through."""
    open_by: Counter[str] = Counter()

    async def realtime(socket: WebSocket) -> None:
        who = client(socket.headers.get("cookie", ""), socket.client.host if socket.client else "")
        # A browser closes a socket whose subprotocols the server passes over.
        await socket.accept("realtime" if "realtime" in socket.scope["subprotocols"] else None)
        try:
            settings = await anyio.to_thread.run_sync(_begun, socket, offered)
            if open_by[who] >= MOST_OF_A_CLIENT:
                raise ApiError(429, f"{MOST_OF_A_CLIENT} sessions are open already.", None, "rate_limit_exceeded")
        except ApiError as error:
            with contextlib.suppress(WebSocketDisconnect):
                await socket.send_text(json.dumps(_refusal(error)))
                await socket.close(LATER if error.status == 429 else POLICY, error.message[:120])
            return
        open_by[who] += 1
        try:
            await Connection(socket, desk, offered, settings).run()
        finally:
            open_by[who] -= 1
            if not open_by[who]:
                del open_by[who]

    return [WebSocketRoute("/v1/realtime", realtime)]


def _begun(socket: WebSocket, offered: Offered) -> Settings:
    """The settings with which a session begins. Raises ApiError for another kind of session, and for an unknown model."""
    if socket.query_params.get("intent") != "transcription":
        raise ApiError(400, "Only transcription is served here: add intent=transcription to the address.", "intent")
    return Settings(offered.find(socket.query_params.get("model") or "whisper-1"))


def _refusal(error: ApiError) -> dict[str, Any]:
    shown = error_object(error.status, error.message, error.param, error.code)
    return {"type": "error", "event_id": new_id("event"), "error": shown | {"event_id": None}}

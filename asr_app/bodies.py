"""ASGI middleware behind the door: bounds the body of every request, and cleans up after an upload that broke off."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Mapping
from types import MappingProxyType

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_app.api_errors import error_response
from asr_app.errors import UserError
from asr_app.login import API, NEIGHBOURS
from asr_app.storage import Storage

log = logging.getLogger(__name__)
_UPLOADS = ("/gradio_api/upload", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/jobs", *NEIGHBOURS)
_ENVELOPE = 1 << 16  # bytes of an upload beside the file: boundaries, headers of the part
_MOST_OTHER = 1 << 20  # bytes; the page's own requests have a few thousand
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Bodies:
    """Answers 413 to a body that is too long, stated or streamed, and 507 to an upload for which there is no room.

    An upload may have `max_upload_mb`, any other request 1 MB or the bytes of `more` for its path. The application never sees what is over that.
    """

    def __init__(
        self, app: ASGIApp, storage: Storage, max_upload_mb: int, more: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self._app, self._storage, self._max_upload_mb, self._more = app, storage, max_upload_mb, more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in _UPLOADS:
            most = self._max_upload_mb * 2**20 + _ENVELOPE
            refusal = _refusal(scope, 413, UserError(
                f"The upload has more than {self._max_upload_mb} MB. Choose fewer recordings at once, or save them as mp3.",
                f"上传内容超过 {self._max_upload_mb} MB。请减少一次上传的录音，或另存为 mp3。",
            ))  # fmt: skip
            await self._upload(_Exchange(scope, receive, send, most, refusal))
        else:
            most = self._more.get(scope["path"], _MOST_OTHER)
            size = f"{most / 2**20:.0f} MB"
            refusal = _refusal(
                scope, 413, UserError(f"The request has more than {size}. Shorten it.", f"请求超过 {size}。请缩短。")
            )
            await _Exchange(scope, receive, send, most, refusal).answer(self._app)

    async def _upload(self, exchange: _Exchange) -> None:
        if not exchange.states_too_much:
            try:
                await anyio.to_thread.run_sync(self._storage.require_room, exchange.stated or 0)
            except UserError as error:
                log.warning("an upload was refused: %s", error)
                await exchange.refuse(_refusal(exchange.scope, 507, error))
                return
        try:
            with self._storage.arrival():
                await exchange.answer(self._app)
        except OSError as error:
            if error.errno not in _NO_ROOM or exchange.started:
                raise
            log.warning("an upload could not be stored: %s", error.strerror)
            await exchange.refuse(_refusal(exchange.scope, 507, UserError(
                "The server's disk is full. Free some space on it, then upload the recording again.",
                "服务器磁盘已满。请清理磁盘后重新上传录音。",
            )))  # fmt: skip


class _Exchange:
    """A request whose body is counted, and its response. A response of 500 is held back until the application ends."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, most: int, refusal: Response) -> None:
        self.scope, self._receive, self._send, self._most, self._refusal = scope, receive, send, most, refusal
        stated = Headers(scope=scope).get("content-length", "")
        self.stated = int(stated) if stated.isascii() and stated.isdigit() else None
        self.started = False
        self._count, self._held = 0, list[Message]()

    @property
    def states_too_much(self) -> bool:
        """Whether the request says itself that its body is too long."""
        return self.stated is not None and self.stated > self._most

    async def answer(self, app: ASGIApp) -> None:
        """Lets `app` answer, or refuses. An interrupted body is nobody's error."""
        if self.states_too_much:
            await self.refuse(self._refusal)
            return
        try:
            with contextlib.suppress(ClientDisconnect):
                await app(self.scope, self._receiving, self._sending)
        except Exception as error:
            if not (isinstance(error, OSError) and error.errno in _NO_ROOM):
                await self._release()
            raise
        if self._is_over and not self.started:
            await self.refuse(self._refusal)
        else:
            await self._release()

    async def refuse(self, response: Response) -> None:
        """Answers with `response` in place of the application."""
        self._held.clear()
        await response(self.scope, self._receive, self._send)

    @property
    def _is_over(self) -> bool:
        return self._count > self._most

    async def _receiving(self) -> Message:
        message = await self._receive()
        self._count += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self._is_over else message

    async def _sending(self, message: Message) -> None:
        if self._is_over and not self.started:
            return
        if self._held or (message["type"] == "http.response.start" and message["status"] == 500):
            self._held.append(message)
            return
        self.started = True
        await self._send(message)

    async def _release(self) -> None:
        for message in self._held:
            await self._send(message)
        self._held.clear()


def _refusal(scope: Scope, status: int, error: UserError) -> Response:
    if scope["path"].startswith(API):
        return error_response(status, error.en)
    return PlainTextResponse(f"{error.en} {error.zh}", status)

"""One client of the Realtime API: its events in, the session's events out."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import anyio.to_thread
import numpy as np
import soxr
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_app.api.models import Offered
from asr_app.api.realtime import session
from asr_app.api.realtime.items import Items, new_id
from asr_app.api_errors import ApiError, error_object
from asr_app.datatypes import SAMPLE_RATE
from asr_app.errors import UserError
from asr_app.live.desk import Desk
from asr_app.live.endpoint import AT_PAUSES
from asr_app.live.events import Event, Failed
from asr_app.live.stream import Stream

log = logging.getLogger(__name__)
MOST_AUDIO = 15 << 20  # characters of base64 in one event, as at OpenAI
IDLE_S = 600.0  # without any event of the client
_MOST_FAULTS = 20  # events in a row that make no sense
_LEAST_COMMIT_MS = 100
_ROOM_S, _ROOM_WITHIN_S = 60.0, 10.0  # of backlog, above which the client is read more slowly
_PIECE_S = 5
_LONGEST_ECHO = 1000  # characters of the client's own that an error repeats
_MOST_UNSENT = 2000  # events that the client does not read
UNSUPPORTED, POLICY, FAILED, LATER = 1003, 1008, 1011, 1013  # codes of RFC 6455 with which a socket is closed


class _Closed(Exception):
    """Ends the session: the socket is closed with `code` and `reason`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Connection:
    """A session over an accepted socket. `run` returns when it is over; the socket may still be open."""

    def __init__(self, socket: WebSocket, desk: Desk, offered: Offered, settings: session.Settings) -> None:
        self._socket, self._desk, self._offered, self._settings = socket, desk, offered, settings
        self._beta = socket.headers.get("openai-beta", "") == "realtime=v1"
        self._id = new_id("sess")
        self._unsent: asyncio.Queue[dict[str, Any] | _Closed] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._stream: Stream | None = None
        self._items = Items(0, cuts=True, beta=self._beta, last=None)
        self._resampler: soxr.ResampleStream | None = None
        self._samples = 0  # that the session got, at 16 kHz
        self._uncommitted = 0  # of these, since the last commit or clear
        self._handlers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "session.update": self._update, "transcription_session.update": self._update,
            "input_audio_buffer.append": self._append, "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }  # fmt: skip

    async def run(self) -> None:
        """Serves the session. Closes the socket where the client breaks the protocol or does nothing for ten minutes."""
        kind = "transcription_session" if self._beta else "session"
        self._tell({"type": f"{kind}.created", "session": self._settings.shown(self._id, beta=self._beta)})
        receiving = asyncio.create_task(self._receive())
        try:
            await self._send(receiving)
        except WebSocketDisconnect:
            pass
        finally:
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await receiving
            if self._stream is not None:
                self._stream.close()

    async def _send(self, receiving: asyncio.Task[None]) -> None:
        """Sends what is to be sent until the session is over."""
        receiving.add_done_callback(lambda _: self._unsent.put_nowait(_Closed(1000, "")))
        while not isinstance(event := await self._unsent.get(), _Closed):
            await self._socket.send_text(json.dumps({"event_id": new_id("event")} | event, ensure_ascii=False))
        if event.reason:
            await self._socket.close(event.code, event.reason[:120])

    async def _receive(self) -> None:
        faults = 0
        try:
            while True:
                given: dict[str, Any] = {}
                try:
                    given = _event(await asyncio.wait_for(self._socket.receive(), IDLE_S))
                    await self._take(given)
                    faults = 0
                except ApiError as error:
                    faults += 1
                    self._refuse(error, given.get("event_id"))
                    if faults >= _MOST_FAULTS:
                        raise _Closed(POLICY, f"{faults} events in a row made no sense.") from error
        except TimeoutError:
            self._end(_Closed(POLICY, f"No event came for {IDLE_S / 60:.0f} minutes."), "session_idle")
        except _Closed as closed:
            self._end(closed, "protocol_error")
        except WebSocketDisconnect:
            pass
        except Exception:
            log.exception("a realtime session failed")
            self._end(_Closed(FAILED, "The server's log has the details."), "server_error")

    async def _take(self, given: dict[str, Any]) -> None:
        kind = given.get("type")
        if not isinstance(kind, str):
            raise ApiError(400, "An event is an object with a string 'type'.", "type", "missing_required_parameter")
        if kind not in self._handlers:
            known = ", ".join(self._handlers)
            raise ApiError(
                400, f"A transcription session has no event {kind[:60]!r}. It takes: {known}.", "type", "invalid_value"
            )
        if (waiting := self._handlers[kind](given)) is not None:
            await waiting

    async def _update(self, given: dict[str, Any]) -> None:
        beta = str(given["type"]).startswith("transcription_session")
        wanted = partial(session.updated, self._settings, given.get("session"), self._offered, beta=beta)
        settings = await anyio.to_thread.run_sync(wanted)  # looks which models are on the disk
        if settings != self._settings:
            self._finish_stream()  # what came before is recognised as it was asked for
            self._settings, self._resampler = settings, None
        kind = "transcription_session" if beta else "session"
        self._tell({"type": f"{kind}.updated", "session": settings.shown(self._id, beta=beta)})

    async def _append(self, given: dict[str, Any]) -> None:
        samples = self._decoded(given.get("audio"))
        stream = self._opened()
        for first in range(0, len(samples), _PIECE_S * SAMPLE_RATE):
            piece = samples[first : first + _PIECE_S * SAMPLE_RATE]
            waited_s = 0.0
            # A client that sends faster than speech is read more slowly. Its socket would close if it were not read at all.
            while stream.backlog_s > _ROOM_S and waited_s < _ROOM_WITHIN_S and not stream.is_over:
                await asyncio.sleep(0.05)
                waited_s += 0.05
            stream.feed(piece)
            self._samples += len(piece)
            self._uncommitted += len(piece)

    def _commit(self, _: dict[str, Any]) -> None:
        has_ms = self._uncommitted * 1000 / SAMPLE_RATE
        cuts = self._settings.ending is not None
        if self._stream is None or has_ms < _LEAST_COMMIT_MS or (cuts and not self._items.is_open):
            what = (
                "no speech is open in it" if cuts else f"it has {has_ms:.0f} ms, and {_LEAST_COMMIT_MS} ms are needed"
            )
            raise ApiError(
                400, f"The input audio buffer cannot be committed: {what}.", None, "input_audio_buffer_commit_empty"
            )
        self._uncommitted = 0
        self._tell_all(self._items.committed())
        self._stream.commit()

    def _clear(self, _: dict[str, Any]) -> None:
        self._uncommitted = 0
        self._items.cleared()
        if self._stream is not None:
            self._stream.clear()
        self._tell({"type": "input_audio_buffer.cleared"})

    def _decoded(self, audio: object) -> np.ndarray:
        """The event's samples `(n,)` at 16 kHz."""
        if not isinstance(audio, str):
            raise ApiError(400, "'audio' is a string of base64.", "audio", "missing_required_parameter")
        if len(audio) > MOST_AUDIO:
            raise ApiError(400, "An event may have 15 MiB of audio. Send it in pieces.", "audio", "invalid_value")
        try:
            raw = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ApiError(400, f"'audio' is no base64: {error}.", "audio", "invalid_value") from error
        if len(raw) % 2:
            raise ApiError(400, "The audio has an odd number of bytes; a sample has two.", "audio", "invalid_value")
        samples = np.frombuffer(raw, "<i2").astype(np.float32) / 32768
        if self._settings.rate == SAMPLE_RATE:
            return samples
        if self._resampler is None:
            self._resampler = soxr.ResampleStream(self._settings.rate, SAMPLE_RATE, 1, dtype="float32")
        resampled: np.ndarray = self._resampler.resample_chunk(samples)
        return resampled

    def _opened(self) -> Stream:
        """The stream of the present settings. Raises ApiError if there is no room for it."""
        if self._stream is not None:
            return self._stream
        settings, cuts = self._settings, self._settings.ending is not None
        items = Items(self._samples * 1000 // SAMPLE_RATE, cuts=cuts, beta=self._beta, last=self._items.last)

        def listener(event: Event) -> None:
            self._loop.call_soon_threadsafe(self._hear, items, event)

        try:
            self._stream = self._desk.open(
                settings.chosen.card, settings.chosen.precision, settings.options, listener, cut_by_vad=cuts,
                ending=settings.ending or AT_PAUSES,
            )  # fmt: skip
        except UserError as error:
            raise ApiError(429, error.en, None, "rate_limit_exceeded") from error
        self._items = items
        return self._stream

    def _finish_stream(self) -> None:
        if self._stream is not None:
            if self._settings.ending is None and self._uncommitted * 1000 >= _LEAST_COMMIT_MS * SAMPLE_RATE:
                self._tell_all(self._items.committed())
            self._stream.finish()
        self._stream, self._uncommitted = None, 0

    def _hear(self, items: Items, event: Event) -> None:
        if isinstance(event, Failed) and event.utterance is None:
            self._refuse(ApiError(429, event.error.en, None, "rate_limit_exceeded"), None)
            self._unsent.put_nowait(_Closed(POLICY, event.error.en))
            return
        self._tell_all(items.events(event))

    def _refuse(self, error: ApiError, event_id: object) -> None:
        shown = error_object(error.status, error.message[:_LONGEST_ECHO], error.param, error.code)
        echoed = event_id[:_LONGEST_ECHO] if isinstance(event_id, str) else None
        self._tell({"type": "error", "error": shown | {"event_id": echoed}})

    def _end(self, closed: _Closed, code: str) -> None:
        self._refuse(ApiError(500 if code == "server_error" else 400, closed.reason, None, code), None)
        self._unsent.put_nowait(closed)

    def _tell_all(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            self._tell(event)

    def _tell(self, event: dict[str, Any]) -> None:
        if self._unsent.qsize() < _MOST_UNSENT:
            self._unsent.put_nowait(event)
        elif self._stream is not None:  # the client reads nothing: no more is recognised for it
            self._stream.close()


def _event(message: Message) -> dict[str, Any]:
    """The client's event. Raises ApiError for text that is none, and _Closed for bytes."""
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    if message.get("text") is None:
        raise _Closed(UNSUPPORTED, "Events are JSON in text messages; audio is base64 in them.")
    try:
        given = json.loads(message["text"])
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "The message is not JSON.", None, "invalid_json") from error
    if not isinstance(given, dict):
        raise ApiError(400, "An event is an object with a string 'type'.", None, "invalid_json")
    return given

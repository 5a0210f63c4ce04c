"""FunASR's websocket protocol on a port of its own: recordings in, results out.

The messages are in funasr_messages.py. `offline` recordings are jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from asr_app.api_errors import ApiError
from asr_app.clients import network
from asr_app.neighbours.funasr_messages import Malformed, Settings, failure, read, result
from asr_app.neighbours.recognition import Recognition, Wanted, options_for
from asr_app.neighbours.recordings import Arrival

log = logging.getLogger(__name__)
_SUBPROTOCOL = "binary"  # offered by the originals' clients
_MOST_UNANSWERED = 20  # recordings of a connection
_POLICY, _FAILED, _LATER = 1008, 1011, 1013  # close codes
_LONGEST_REASON = 120  # bytes


def app(recognition: Recognition, refusal: Callable[[HTTPConnection], Response | None]) -> Starlette:
    """The application of the port. `refusal` answers a connection that may not enter."""

    async def connected(websocket: WebSocket) -> None:
        if (refused := refusal(websocket)) is not None:
            await websocket.send_denial_response(refused)
            return
        await websocket.accept(_SUBPROTOCOL if _SUBPROTOCOL in websocket.scope["subprotocols"] else None)
        await _Session(websocket, recognition).run()

    return Starlette(routes=[WebSocketRoute("/{path:path}", connected)])


class _Session:
    """A connection. It may carry several recordings, which are answered in their order."""

    def __init__(self, websocket: WebSocket, recognition: Recognition) -> None:
        self._websocket, self._recognition = websocket, recognition
        self._client = network(websocket.client.host) if websocket.client else ""
        self._settings: Settings | None = None
        self._wanted: Wanted | None = None  # set once audio of a recording has come
        self._arrival: Arrival | None = None
        self._unanswered: set[Arrival] = set()
        self._in_turn = anyio.Lock()

    async def run(self) -> None:
        """Answers until the client goes, or breaks the protocol. Nothing of its recordings is left then."""
        try:
            async with anyio.create_task_group() as answers:
                try:
                    await self._receive(answers)
                finally:
                    answers.cancel_scope.cancel()
        except* WebSocketDisconnect:
            pass
        finally:
            for arrival in self._unanswered | ({self._arrival} if self._arrival else set()):
                arrival.discard()

    async def _receive(self, answers: TaskGroup) -> None:
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if (text := message.get("text")) is not None:
                    await self._told(text, answers)
                else:
                    await self._heard(message.get("bytes") or b"")
        except Malformed as error:
            log.warning("a FunASR client at %s is closed: %s", self._client, error)
            await self._close(_POLICY, str(error))
        except ApiError as error:
            await self._websocket.send_text(failure(self._settings or Settings(), error.message))
            await self._close(_LATER if error.status in (429, 503) else _POLICY, error.message)

    async def _told(self, text: str, answers: TaskGroup) -> None:
        self._settings, ends = read(text, self._settings or Settings())
        if not ends:
            return
        if len(self._unanswered) >= _MOST_UNANSWERED:
            raise Malformed(f"{_MOST_UNANSWERED} recordings wait for an answer; no more are taken")
        arrival, wanted, self._arrival, self._wanted = self._arrival, self._wanted, None, None
        if arrival is not None:
            self._unanswered.add(arrival)
        answers.start_soon(self._answer, self._settings, arrival, wanted)

    async def _heard(self, audio: bytes) -> None:
        if self._settings is None:
            raise Malformed('the first message must be JSON, such as {"mode": "offline", "is_speaking": true}')
        if self._arrival is None:
            self._wanted = await anyio.to_thread.run_sync(self._checked, self._settings)
            self._arrival = self._recognition.arrival(self._settings.pcm)
        await anyio.to_thread.run_sync(self._arrival.write, audio)

    def _checked(self, settings: Settings) -> Wanted:
        """The model and the options. Raises ApiError for settings that the model cannot meet."""
        chosen = self._recognition.chosen()
        options = options_for(
            chosen.card, language=settings.svs_lang, hotwords=settings.hotwords, itn=settings.wants_itn
        )  # fmt: skip
        return Wanted(chosen, options)

    async def _answer(self, settings: Settings, arrival: Arrival | None, wanted: Wanted | None) -> None:
        """Sends the result of an offline recording: one message, whose `is_final` is false as in the original."""
        async with self._in_turn:
            if arrival is None or wanted is None or arrival.is_empty:
                await self._websocket.send_text(result("offline", settings, "", is_final=False))
            else:
                await self._websocket.send_text(await self._recognised(settings, arrival, wanted))
            if arrival is not None:
                arrival.discard()
                self._unanswered.discard(arrival)

    async def _recognised(self, settings: Settings, arrival: Arrival, wanted: Wanted) -> str:
        try:
            transcript = await self._recognition.transcript(
                arrival, settings.wav_name, wanted.chosen, wanted.options, self._client, _never
            )
        except ApiError as error:
            return failure(settings, error.message)
        return result("offline", settings, transcript.text, transcript.segments, is_final=False)

    async def _close(self, code: int, reason: str) -> None:
        cut = reason.encode("ascii", "replace")[:_LONGEST_REASON].decode()
        await self._websocket.close(code, cut)


async def _never() -> bool:
    return False  # a session that ends cancels its answers

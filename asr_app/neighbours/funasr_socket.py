"""FunASR's websocket protocol on a port of its own: recordings in, results out.

The messages are in funasr_messages.py. A recording of mode `offline` is a job, the others are in funasr_live.py.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

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
from asr_app.neighbours.funasr_live import LiveRecording
from asr_app.neighbours.funasr_messages import Malformed, Settings, failure, read, result
from asr_app.neighbours.recognition import Recognition, Wanted, options_for

log = logging.getLogger(__name__)
_SUBPROTOCOL = "binary"  # offered by the originals' clients
_MOST_UNANSWERED = 20  # recordings of a connection
_POLICY, _FAILED, _LATER = 1008, 1011, 1013  # close codes
_LONGEST_REASON = 120  # bytes
_ONLY_PCM = "Real-time transcription service ONLY SUPPORT PCM stream."  # the original's words


def app(recognition: Recognition, refusal: Callable[[HTTPConnection], Response | None]) -> Starlette:
    """The application of the port. `refusal` answers a connection that may not enter."""

    async def connected(websocket: WebSocket) -> None:
        if (refused := refusal(websocket)) is not None:
            await websocket.send_denial_response(refused)
            return
        await websocket.accept(_SUBPROTOCOL if _SUBPROTOCOL in websocket.scope["subprotocols"] else None)
        await _Session(websocket, recognition).run()

    return Starlette(routes=[WebSocketRoute("/{path:path}", connected)])


class OfflineRecording:
    """A recording that becomes a job once it is whole."""

    def __init__(self, recognition: Recognition, settings: Settings, wanted: Wanted, client: str) -> None:
        self._recognition, self._settings, self._wanted, self._client = recognition, settings, wanted, client
        self._arrival = recognition.arrival(settings.pcm)
        self._whole = anyio.Event()

    async def write(self, piece: bytes) -> None:
        """Takes a piece. Raises ApiError over the limits, and where the disk is full."""
        await anyio.to_thread.run_sync(self._arrival.write, piece)

    def end(self) -> None:
        """No more pieces come."""
        self._whole.set()

    def discard(self) -> None:
        """Deletes the file, if no job has it by then."""
        self._arrival.discard()

    async def answer(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Sends the one result, whose `is_final` is false as in the original. Raises ApiError if there is none."""
        await self._whole.wait()
        if self._arrival.is_empty:
            await send(result("offline", self._settings, "", is_final=False))
            return
        transcript = await self._recognition.transcript(
            self._arrival, self._settings.wav_name, self._wanted.chosen, self._wanted.options, self._client, _never
        )
        await send(result("offline", self._settings, transcript.text, transcript.segments, is_final=False))


class _Session:
    """A connection. It may carry several recordings, which are answered in their order."""

    def __init__(self, websocket: WebSocket, recognition: Recognition) -> None:
        self._websocket, self._recognition = websocket, recognition
        self._client = network(websocket.client.host) if websocket.client else ""
        self._settings: Settings | None = None
        self._arriving: OfflineRecording | LiveRecording | None = None
        self._unanswered: set[OfflineRecording | LiveRecording] = set()
        self._in_turn = anyio.Lock()

    async def run(self) -> None:
        """Answers until the client goes, or breaks the protocol. Nothing of its recordings is left then."""
        try:
            async with anyio.create_task_group() as answers:
                await self._receive(answers)
                answers.cancel_scope.cancel()
        except* WebSocketDisconnect:
            pass
        finally:
            for recording in self._unanswered:
                recording.discard()

    async def _receive(self, answers: TaskGroup) -> None:
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if (text := message.get("text")) is not None:
                    await self._told(text, answers)
                else:
                    await self._heard(message.get("bytes") or b"", answers)
        except Malformed as error:
            log.warning("a FunASR client at %s is closed: %s", self._client, error)
            await self._close(_POLICY, str(error), answers)
        except ApiError as error:
            await self._websocket.send_text(failure(self._settings or Settings(), error.message))
            await self._close(_LATER if error.status in (429, 503) else _POLICY, error.message, answers)

    async def _told(self, text: str, answers: TaskGroup) -> None:
        self._settings, ends = read(text, self._settings or Settings())
        if ends:
            recording = self._arriving or await self._begin(self._settings, answers)
            self._arriving = None
            recording.end()

    async def _heard(self, audio: bytes, answers: TaskGroup) -> None:
        if self._settings is None:
            raise Malformed('the first message must be JSON, such as {"mode": "offline", "is_speaking": true}')
        if self._arriving is None:
            self._arriving = await self._begin(self._settings, answers)
        await self._arriving.write(audio)

    async def _begin(self, settings: Settings, answers: TaskGroup) -> OfflineRecording | LiveRecording:
        """The next recording. Raises Malformed or ApiError for settings that cannot be met."""
        if len(self._unanswered) >= _MOST_UNANSWERED:
            raise Malformed(f"{_MOST_UNANSWERED} recordings wait for an answer; no more are taken")
        pcm = settings.pcm
        wanted = await anyio.to_thread.run_sync(self._wanted, settings)
        recording: OfflineRecording | LiveRecording
        if not settings.is_live:
            recording = OfflineRecording(self._recognition, settings, wanted, self._client)
        elif pcm is None:
            raise ApiError(415, _ONLY_PCM)
        else:
            recording = LiveRecording(self._recognition, settings, wanted, pcm)
        self._unanswered.add(recording)
        answers.start_soon(self._answer, recording, settings, answers)
        return recording

    def _wanted(self, settings: Settings) -> Wanted:
        chosen = self._recognition.chosen()
        options = options_for(
            chosen.card, language=settings.svs_lang, hotwords=settings.hotwords, itn=settings.wants_itn
        )  # fmt: skip
        return Wanted(chosen, options)

    async def _answer(
        self, recording: OfflineRecording | LiveRecording, settings: Settings, answers: TaskGroup
    ) -> None:
        """Answers a recording in its turn. One that fails is told; while it still arrives, it ends the connection."""
        async with self._in_turn:
            try:
                await recording.answer(self._websocket.send_text)
            except ApiError as error:
                await self._websocket.send_text(failure(settings, error.message))
                if recording is self._arriving:
                    await self._close(_FAILED, error.message, answers)
            self._unanswered.discard(recording)
            recording.discard()

    async def _close(self, code: int, reason: str, answers: TaskGroup) -> None:
        """Ends the connection, and before it all answers: nothing may be sent after its end."""
        answers.cancel_scope.cancel()
        cut = reason.encode("ascii", "replace")[:_LONGEST_REASON].decode()
        with anyio.CancelScope(shield=True):
            await self._websocket.close(code, cut)


async def _never() -> bool:
    return False  # a session that ends cancels its answers

"""Wyoming, the protocol of Home Assistant's voice assistants, on a port of its own.

Source: the package `wyoming` 1.10.2, whose README describes the events. Like wyoming-faster-whisper, the server ends a
connection after the transcript. The transcript is streamed chunk by chunk, and sent whole as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Sequence
from typing import cast

import anyio.to_thread
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioFormat, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_read_event, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.ping import Ping, Pong

from asr_app.api_errors import ApiError
from asr_app.clients import network
from asr_app.datatypes import ModelCard, Segment
from asr_app.errors import UserError
from asr_app.families.base import MAX_HOTWORD_CHARACTERS, MAX_HOTWORDS, MAX_HOTWORDS_CHARACTERS
from asr_app.hotwords import lines
from asr_app.languages import language_code
from asr_app.neighbours.recognition import Recognition, Wanted, options_for
from asr_app.neighbours.recordings import Arrival, Pcm
from asr_app.text import join

log = logging.getLogger(__name__)
_PROGRAM = "speech-recognition"
_PAGES = {"whisper": "https://github.com/openai/whisper"}
_FUNASR = "https://github.com/modelscope/FunASR"
_LONGEST_PART = 2**24  # bytes of an event's data or payload
_IDLE_S = 300.0  # without an event, until the connection is ended
_CLOSE_WITHIN_S, _END_WITHIN_S = 5.0, 4.0


class Server:
    """`start` binds the port and answers in a thread, `close` ends open connections."""

    def __init__(self, recognition: Recognition) -> None:
        self._recognition = recognition
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving, self._stopped = threading.Event(), asyncio.Event()
        self._thread: threading.Thread | None = None
        self._sessions: dict[asyncio.Task[None], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    def start(self, host: str, port: int) -> None:
        """Returns when connections are taken. Raises OSError for an address that cannot be listened on."""
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name="wyoming", daemon=True
        )  # fmt: skip
        self._thread.start()
        self._serving.wait(_CLOSE_WITHIN_S)

    def close(self) -> None:
        """Ends all connections; their jobs are cancelled and deleted."""
        if self._loop is not None and self._thread is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(_CLOSE_WITHIN_S)

    async def _serve(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, sock=listening)
        self._serving.set()
        await self._stopped.wait()
        server.close()
        for reader, writer in self._sessions.values():
            writer.close()
            reader.feed_eof()  # as if the client had gone: its job is cancelled and deleted
        if self._sessions:
            await asyncio.wait(list(self._sessions), timeout=_END_WITHIN_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions[task] = reader, writer
        try:
            await _Session(self._recognition, reader, writer).run()
        except ConnectionError:
            pass
        except Exception:
            log.exception("a Wyoming client could not be answered")
        finally:
            writer.close()
            del self._sessions[task]


class _BoundedReader:
    """A stream reader that raises ValueError for a length over the limit: events state their lengths themselves."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.readline = reader.readline  # which has a limit of 64 KB
        self._reader = reader

    async def readexactly(self, count: int) -> bytes:
        if count > _LONGEST_PART:
            raise ValueError(count)
        return await self._reader.readexactly(count)


class _Session:
    """A connection, which carries one recording."""

    def __init__(self, recognition: Recognition, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._recognition, self._reader, self._writer = recognition, reader, writer
        self._client = network(str(writer.get_extra_info("peername", ("",))[0]))
        self._asked = Transcribe()
        self._format: Pcm | None = None
        self._arrival: Arrival | None = None
        self._streams = False  # whether `transcript-start` was sent
        self._last = ""  # character of the text so far, which decides about a space

    async def run(self) -> None:
        """Answers until the transcript is sent, the client goes, or it breaks the protocol."""
        try:
            while (event := await self._next()) is not None:
                if not await self._handle(event):
                    return
        except ApiError as error:
            await self._send(Error(error.message, str(error.status)))
        finally:
            if self._arrival is not None:
                self._arrival.discard()

    async def _next(self) -> Event | None:
        """The next event; None at the end. Raises ApiError for what is no event."""
        reader = cast(asyncio.StreamReader, _BoundedReader(self._reader))
        try:
            async with asyncio.timeout(_IDLE_S):
                event = await async_read_event(reader)
        except (TimeoutError, asyncio.IncompleteReadError):
            return None
        except (AttributeError, KeyError, TypeError):
            event = None
        if event is None and not self._reader.at_eof():
            raise ApiError(400, "This port speaks the Wyoming protocol: a line of JSON for each event.")
        return event

    async def _handle(self, event: Event) -> bool:
        """Whether the connection goes on. Unknown events are ignored, as the protocol wants it."""
        try:
            if Describe.is_type(event.type):
                await self._send(await anyio.to_thread.run_sync(self._info))
            elif Ping.is_type(event.type):
                await self._send(Pong(Ping.from_event(event).text))
            elif Transcribe.is_type(event.type):
                self._asked = Transcribe.from_event(event)
            elif AudioStart.is_type(event.type):
                self._begin(AudioStart.from_event(event))
            elif AudioChunk.is_type(event.type):
                await self._hear(AudioChunk.from_event(event))
            elif AudioStop.is_type(event.type):
                await self._answer()
                return False
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("a Wyoming client at %s sent a malformed %.40r: %s", self._client, event.type, error)
            raise ApiError(400, f"The event {event.type[:40]!r} is malformed: {error}.") from error
        return True

    def _begin(self, audio: AudioFormat) -> None:
        if self._arrival is not None:
            self._arrival.discard()
        self._format = Pcm(audio.rate, audio.width, audio.channels)
        self._arrival = self._recognition.arrival(self._format)

    async def _hear(self, chunk: AudioChunk) -> None:
        if self._arrival is None:  # a client may leave `audio-start` out
            self._begin(chunk)
        if Pcm(chunk.rate, chunk.width, chunk.channels) != self._format or self._arrival is None:
            raise ApiError(400, "The audio changed its rate, width or channels within a recording.")
        await anyio.to_thread.run_sync(self._arrival.write, chunk.audio)

    async def _answer(self) -> None:
        wanted = await anyio.to_thread.run_sync(self._wanted)
        if self._arrival is None or self._arrival.is_empty:
            await self._finish("", wanted)
            return
        transcript = await self._recognition.transcript(
            self._arrival, "wyoming", wanted.chosen, wanted.options, self._client, self._is_gone, self._stream
        )  # fmt: skip
        await self._finish(transcript.text, wanted)

    async def _stream(self, segments: Sequence[Segment]) -> None:
        if not self._streams:
            self._streams = True
            await self._send(TranscriptStart())
        for text in (one.text for one in segments if one.text):
            await self._send(TranscriptChunk(join((self._last, text))[len(self._last) :]))
            self._last = text[-1]

    async def _finish(self, text: str, wanted: Wanted) -> None:
        if not self._streams:
            await self._send(TranscriptStart())
        await self._send(Transcript(text, language=wanted.options.language))
        await self._send(TranscriptStop())

    def _wanted(self) -> Wanted:
        """The model and the options. Raises ApiError for a model or a language that is not here.

        `info` offers the languages of all models. One that the server's model lacks gets the first model that has it.
        """
        asked = self._asked
        chosen = self._recognition.chosen(asked.name or "")
        code = language_code(asked.language or "")
        if code and not asked.name and code not in chosen.card.languages:
            others = (card.id for card in self._recognition.offered.cards().values() if code in card.languages)
            chosen = self._recognition.chosen(next(others, ""))
        words = [*(asked.transcript_names or ()), *(asked.transcript_terms or ())]
        return Wanted(chosen, options_for(chosen.card, language=code, hotwords=fitting(words)))

    def _info(self) -> Info:
        models = [_model(card) for card in self._recognition.offered.cards().values()]
        return Info(asr=[AsrProgram(
            name=_PROGRAM, attribution=Attribution(_PROGRAM, ""), installed=True,
            description="Speech recognition with a precision switch", version=None, models=models,
            supports_transcript_streaming=True,
        )])  # fmt: skip

    async def _is_gone(self) -> bool:
        return self._reader.at_eof()

    async def _send(self, answer: Eventable) -> None:
        await async_write_event(answer.event(), self._writer)


def fitting(words: Sequence[str]) -> list[str]:
    """The first words, as many as hotwords may be. A client knows no limit, and sends the weightier ones first."""
    taken: list[str] = []
    for word in dict.fromkeys(" ".join(word.split()) for word in words):
        if len(word) > MAX_HOTWORD_CHARACTERS or not lines.is_bare(lines.parse(word)):
            continue
        if len(taken) == MAX_HOTWORDS or sum(map(len, taken)) + len(word) > MAX_HOTWORDS_CHARACTERS:
            break
        with contextlib.suppress(UserError):  # it has no letters
            lines.require([word])
            taken.append(word)
    return taken


def _model(card: ModelCard) -> AsrModel:
    page = _PAGES.get(card.family, _FUNASR)
    return AsrModel(
        name=card.id, attribution=Attribution(card.family, page), installed=True, description=card.title, version=None,
        languages=list(card.languages),
    )  # fmt: skip

"""FunASR's modes `online` and `2pass`: results while somebody speaks.

Its clients append the text of each provisional result to what they show, and can take nothing back. So only words are
told on which two provisional texts in a row agree. In `2pass` the final text of an utterance replaces them; in `online` its
remaining words are appended.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import tempfile
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import numpy as np
import soxr

from asr_app.api_errors import ApiError
from asr_app.datatypes import SAMPLE_RATE
from asr_app.live.events import Ended, Event, Failed, Final, Partial
from asr_app.live.stream import Stream
from asr_app.neighbours.funasr_messages import Settings, result
from asr_app.neighbours.recognition import Recognition, Wanted
from asr_app.neighbours.recordings import Pcm
from asr_app.text import is_spaceless, join

_FULL_SCALE = 32768
_MOST_AHEAD_S = 30.0  # of sound that the recogniser has not done yet; the rest waits in a file
_LOOK_S = 0.1
_PIECE_S = 1.0


class Texts:
    """Turns events of a stream into messages. The texts of one after the other make the whole text, spaces included."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._is_online = settings, settings.mode == "online"
        self._last = ""  # character of the final texts so far, which decides about a space
        self._told = self._before = ""  # of the open utterance: the words told, the last provisional text

    def take(self, event: Event) -> str | None:
        """The message for an event; None if there is nothing to tell."""
        if isinstance(event, Partial):
            return self._provisional(event)
        if isinstance(event, Final):
            return self._final(event)
        return None

    def end(self) -> str:
        """The last message of the recording. It carries no text: the last words came before."""
        mode = "online" if self._is_online else "2pass-offline"
        return result(mode, self._settings, "", is_final=True)

    def _provisional(self, partial: Partial) -> str | None:
        text = self._spaced(partial.text)
        agreed, self._before = agreement(self._before, text), text
        if len(agreed) <= len(self._told) or not agreed.startswith(self._told):
            return None
        fresh, self._told = agreed[len(self._told) :], agreed
        return result("online" if self._is_online else "2pass-online", self._settings, fresh, is_final=False)

    def _final(self, final: Final) -> str | None:
        text = join(segment.text for segment in final.segments)
        spaced, told, self._told, self._before = self._spaced(text), self._told, "", ""
        self._last = text[-1:] or self._last
        if self._is_online:
            rest = after(told, spaced)
            return result("online", self._settings, rest, is_final=False) if rest else None
        if not (text or told):
            return None
        return result("2pass-offline", self._settings, spaced, final.segments, is_final=False)

    def _spaced(self, text: str) -> str:
        return join((self._last, text))[len(self._last) :] if text else ""


def agreement(before: str, text: str) -> str:
    """The whole words with which both texts begin."""
    same = next((i for i, pair in enumerate(zip(before, text, strict=False)) if pair[0] != pair[1]), -1)
    if same < 0:
        same = min(len(before), len(text))
    if same < max(len(before), len(text)):  # a longer text may go on within a word
        while same and not (is_spaceless(text[same - 1]) or text[same : same + 1] == " "):
            same -= 1
    return text[:same]


def after(told: str, text: str) -> str:
    """The end of `text` behind the last words of `told`."""
    if text.startswith(told):
        return text[len(told) :]
    matched = [m for m in difflib.SequenceMatcher(None, told, text, autojunk=False).get_matching_blocks() if m.size]
    return text[matched[-1].b + matched[-1].size :] if matched else text


class Samples:
    """Turns pieces of 16-bit samples into float32 `(n,)` at 16 kHz."""

    def __init__(self, pcm: Pcm) -> None:
        self._same = pcm.rate == SAMPLE_RATE
        self._resampler = soxr.ResampleStream(pcm.rate, SAMPLE_RATE, 1, dtype="float32")

    def take(self, piece: bytes, *, is_last: bool = False) -> np.ndarray:
        """The samples that are ready. `piece` holds whole ones."""
        samples = np.frombuffer(piece, "<i2").astype(np.float32) / _FULL_SCALE
        return samples if self._same else self._resampler.resample_chunk(samples, last=is_last)


class LiveRecording:
    """A recording that is recognised while it arrives.

    A client may send faster than the recogniser works: a file without a name keeps the samples that wait.
    """

    def __init__(self, recognition: Recognition, settings: Settings, wanted: Wanted, pcm: Pcm) -> None:
        self._recognition, self._wanted = recognition, wanted
        self._texts, self._samples = Texts(settings), Samples(pcm)
        self._piece = round(_PIECE_S * pcm.rate) * pcm.width
        self._width = pcm.width
        self._room = recognition.room()
        self._file = tempfile.TemporaryFile(dir=self._room.folder, buffering=0)  # noqa: SIM115 (open until `discard`)
        self._written = self._read = 0
        self._news, self._ended = anyio.Event(), False

    async def write(self, piece: bytes) -> None:
        """Takes samples. Raises ApiError over the limit, and where the disk is full."""
        await anyio.to_thread.run_sync(self._write, piece)
        self._news.set()

    def _write(self, piece: bytes) -> None:
        self._room.take(len(piece))
        try:
            os.pwrite(self._file.fileno(), piece, self._written)
        except OSError as error:
            raise ApiError(507, f"The recording could not be stored ({error.strerror}).") from error
        self._written += len(piece)

    def end(self) -> None:
        """No more samples come."""
        self._ended = True
        self._news.set()

    def discard(self) -> None:
        """Deletes what came in."""
        self._file.close()

    async def answer(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Sends results until the recording has ended. Raises ApiError if it cannot be recognised."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def listen(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        stream = await anyio.to_thread.run_sync(self._recognition.live, self._wanted, listen)
        failed: Failed | None = None
        try:
            async with anyio.create_task_group() as feeding:
                feeding.start_soon(self._feed, stream)
                while failed is None and not isinstance(event := await events.get(), Ended):
                    if isinstance(event, Failed):
                        failed = event
                        feeding.cancel_scope.cancel()
                    elif (message := self._texts.take(event)) is not None:
                        await send(message)
        finally:
            stream.close()
        if failed is not None:
            raise ApiError(503, failed.error.en)
        await send(self._texts.end())

    async def _feed(self, stream: Stream) -> None:
        """Feeds the stream, as far ahead of the recogniser as it takes."""
        while True:
            news, ended = self._news, self._ended
            if self._written - self._read >= self._width:
                if stream.backlog_s < _MOST_AHEAD_S:
                    stream.feed(await anyio.to_thread.run_sync(self._next))
                else:
                    await anyio.sleep(_LOOK_S)
            elif ended:
                stream.feed(self._samples.take(b"", is_last=True))
                stream.finish()
                return
            else:
                await news.wait()
                self._news = anyio.Event()

    def _next(self) -> np.ndarray:
        count = min(self._piece, self._written - self._read)
        piece = os.pread(self._file.fileno(), count - count % self._width, self._read)
        self._read += len(piece)
        return self._samples.take(piece)

"""Serves all streams of live speech: one thread listens for voices, one worker recognises, the streams in turn.

Final texts go first, the one that has waited longest before the others. In the time that is left, open utterances are
recognised again from what came in so far.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from asr_app import pipeline
from asr_app.checks import repeats
from asr_app.datatypes import SAMPLE_RATE, Chunk, ModelCard, Options, Segment, StageTimes
from asr_app.engines import Engines
from asr_app.errors import Cancelled, UserError
from asr_app.families.base import require
from asr_app.live.endpoint import AT_PAUSES, Ending, frames
from asr_app.live.events import Event
from asr_app.live.stream import Stream, Vad
from asr_app.live.stretch import Stretch
from asr_app.precision import Precision
from asr_app.retry import At
from asr_app.stopping import Stop
from asr_app.text import join
from asr_app.vad import FRAME, StreamVad, quietest, spans_of

log = logging.getLogger(__name__)
MOST_STREAMS = 32
EVERY_S = 1.0  # between the beginnings of two partials of a stream, or as long as the last one took
# Sound that one partial recognises. The part of a longer stretch before its quietest place gets its text once.
_LONGEST_PARTIAL, _FRESH = frames(8.0), frames(2.0)
_STOPS_WITHIN_S = 10.0
_LOOK_S = 1.0  # between two looks whether the model hangs


class Desk:
    """The live speech of one server. Threads start with the first stream."""

    def __init__(self, engines: Engines, make_vad: Callable[[], Vad] = StreamVad) -> None:
        self._engines, self._make_vad = engines, make_vad
        self._changed = threading.Condition()  # guards the streams
        self._streams: list[Stream] = []
        self._threads: list[threading.Thread] = []
        self._stop = Stop()
        self._is_stopping = False

    def open(
        self, card: ModelCard, precision: Precision, options: Options, listener: Callable[[Event], None], *,
        partials: bool = True, cut_by_vad: bool = True, ending: Ending = AT_PAUSES,
    ) -> Stream:  # fmt: skip
        """A new stream, whose events `listener` gets in order, from one thread: it must return at once.

        Without `cut_by_vad` an utterance ends with `Stream.commit` only, and there are no SpeechStarted and SpeechStopped.
        Pauses are left out of it all the same. Raises UserError for an option that the model lacks, and if too many streams
        are open.
        """
        require(card, options)
        stream = Stream(
            self._changed, card, precision, options, listener, self._make_vad,
            partials=partials, cut_by_vad=cut_by_vad, ending=ending,
        )  # fmt: skip
        with self._changed:
            if sum(not s.is_over for s in self._streams) >= MOST_STREAMS or self._is_stopping:
                raise UserError(
                    f"{MOST_STREAMS} streams of live speech are open already. Try again later.",
                    f"已有 {MOST_STREAMS} 路实时语音。请稍后再试。",
                )
            self._streams.append(stream)
            if not self._threads:
                self._begin("listening", self._listen)
                self._begin("live", self._work)
        return stream

    @property
    def is_idle(self) -> bool:
        """Whether no stream is open."""
        return all(s.is_over for s in self._streams)

    def stop(self) -> None:
        """Ends all streams without another event."""
        self._stop.ask()
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_STOPS_WITHIN_S)

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, name=name, daemon=True))
        self._threads[-1].start()

    def _listen(self) -> None:
        while True:
            with self._changed:
                if self._stop.is_overdue():
                    self._give_up()
                self._streams = [s for s in self._streams if s.has_news or not s.is_over]
                ready = [s for s in self._streams if s.has_news]
                if self._is_stopping:
                    return
                if not ready:
                    self._changed.wait(_LOOK_S if self._streams else None)
            for stream in ready:
                try:
                    stream.listen()
                except Exception:  # one client's listener must not end the others' streams
                    log.exception("a stream of live speech was ended")
                    stream.close()

    def _give_up(self) -> None:
        """Ends the streams, whose model does not return, and begins a worker for those to come."""
        log.error("a model does not return; %d streams of live speech are ended", len(self._streams))
        for stream in self._streams:
            stream.fail(_hangs())
        self._stop.ask()
        self._stop = Stop()
        self._begin("live", self._work)

    def _work(self) -> None:
        own = self._stop
        while (due := self._next()) is not None and own is self._stop:
            stream, stretch, is_final = due
            try:
                if is_final:
                    stream.tell_final(stretch, self._final(stream, stretch))
                else:
                    self._partial(stream, stretch)
            except Cancelled:
                return
            except Exception as error:
                if not isinstance(error, UserError):
                    log.exception("live speech was not recognised")
                if is_final:
                    stream.tell_final(stretch, error if isinstance(error, UserError) else _failed(error))
                else:
                    stream.partials = False  # the final text says why

    def _next(self) -> tuple[Stream, Stretch, bool] | None:
        """The next stretch to recognise, and whether it is closed; None once the desk stops."""
        with self._changed:
            while not self._is_stopping:
                waiting = [s for s in self._streams if s.closed]
                if waiting:
                    stream = min(waiting, key=lambda s: s.closed[0].closed_s)
                    return stream, stream.closed[0], True
                now = time.monotonic()
                for stream in sorted(self._streams, key=lambda s: s.next_partial_s):
                    if (stretch := stream.partial_due(now)) is not None:
                        return stream, stretch, False
                coming = [s.next_partial_s - now for s in self._streams if s.next_partial_s > now]
                self._changed.wait(min(coming, default=None))
        return None

    def _final(self, stream: Stream, stretch: Stretch) -> list[Segment]:
        samples = stretch.samples()
        if stretch.utterance.is_over or not len(samples):
            return []
        spans = spans_of(stretch.probabilities, len(samples))
        chunk = Chunk(stretch.start / SAMPLE_RATE, samples, tuple((span.start_s, span.end_s) for span in spans))
        at = partial(self._engines.between, stream.card, stop=self._stop)
        return self._recognised(stream, chunk, stream.options, at)

    def _partial(self, stream: Stream, stretch: Stretch) -> None:
        """Tells the text of the open utterance so far: that of finished stretches, of settled frames, of the rest."""
        began = time.monotonic()
        with self._changed:
            told = len(stretch.frames)
            rest = stretch.samples(stretch.settled)
        short = "short_windows" in stream.card.capabilities
        options = replace(stream.options, retries=False, short_windows=short)
        if len(rest) > _LONGEST_PARTIAL * FRAME:
            cut = quietest(rest, len(rest) // 2, len(rest) - _FRESH * FRAME) // FRAME
            text = self._text(stream, rest[: cut * FRAME], options)
            stretch.texts.append(text)
            stretch.settled, rest = stretch.settled + cut, rest[cut * FRAME :]
        texts = [*(s.text for s in stretch.utterance.segments), *stretch.texts, self._text(stream, rest, options)]
        stretch.told = told
        stream.tell_partial(stretch, join(texts), stretch.start + told * FRAME)
        ended = time.monotonic()
        stream.next_partial_s = max(began + EVERY_S, ended)

    def _text(self, stream: Stream, samples: np.ndarray, options: Options) -> str:
        text = join(s.text for s in self._recognised(stream, Chunk(0.0, samples), options))
        return "" if repeats(text) else text  # a loop; the final text is decoded again

    def _recognised(self, stream: Stream, chunk: Chunk, options: Options, at: At | None = None) -> list[Segment]:
        """The segments of a chunk, as those of a job's recording. `at` gives the model at another precision."""
        with self._engines.between(stream.card, stream.precision, self._stop) as loaded:
            steps = list(pipeline.recognise([chunk], loaded, options, StageTimes(), at=at))
        return [segment for step in steps for segment in step.segments]


def _hangs() -> UserError:
    return UserError(
        "The model did not answer for far longer than such a stretch of speech takes. Begin again, or choose another model.",
        "模型长时间没有响应，远超处理这段语音所需的时间。请重新开始，或选择其他模型。",
    )


def _failed(error: Exception) -> UserError:
    what = type(error).__name__
    return UserError(
        f"Recognition failed ({what}). The server's log has the details.", f"识别失败（{what}）。详情见服务器日志。"
    )

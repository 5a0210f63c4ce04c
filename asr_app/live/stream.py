"""One stream: samples in order, cut into stretches by voice activity, length or a commit. Recognises nothing itself.

Callers only queue what they bring. The desk's listening thread calls `listen`, and its worker takes stretches away.
`changed` guards everything here that more than one of them touches.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment
from asr_app.errors import UserError
from asr_app.live.endpoint import ONSET_FRAMES, Ending, Endpointer, frames
from asr_app.live.events import Ended, Event, Failed, Final, Partial, SpeechStarted, SpeechStopped
from asr_app.precision import Precision
from asr_app.text import join
from asr_app.vad import FRAME, quietest

MOST_BACKLOG_S = 120.0  # of samples that are not recognised yet, 64 KB a second
MOST_UNCOMMITTED_S = (
    1800.0  # of a turn that its client ends; its audio is dropped as it is recognised, its words are kept
)
_AT_ONCE = 4 * SAMPLE_RATE  # samples that the VAD takes at once, so that streams take turns
_NEWS_FRAMES = frames(0.25)  # of new sound that are worth another partial
_LEAST_FRAMES = frames(0.5)  # of a first partial


class Vad(Protocol):
    """`vad.StreamVad`."""

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """The probability of speech in each frame that `samples` `(n,)` completes."""
        ...


@dataclass
class Utterance:
    """The unit of events. `start` is its first sample; `segments` are those of its finished stretches."""

    number: int
    start: int
    segments: list[Segment] = field(default_factory=list)
    is_over: bool = False  # cleared or failed: nothing more is said of it


@dataclass
class Stretch:
    """Consecutive frames that are recognised in one go, from sample `start` on. Without frames it only ends its utterance.

    The partial texts of the first `settled` frames are `texts`; they are not recognised again before the final text.
    `told` frames were in the last partial. `closed_s` is the time of the monotonic clock since which it waits.
    """

    utterance: Utterance
    start: int
    frames: list[np.ndarray] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    ends_utterance: bool = False
    texts: list[str] = field(default_factory=list)
    settled: int = 0
    told: int = 0
    closed_s: float = 0.0

    @property
    def end(self) -> int:
        """The sample after the last one."""
        return self.start + len(self.frames) * FRAME

    def samples(self, first: int = 0) -> np.ndarray:
        """The samples `(n,)` from frame `first` on."""
        return np.concatenate(self.frames[first:]) if self.frames[first:] else np.zeros(0, np.float32)

    def split(self, at: int, utterance: Utterance) -> Stretch:
        """Takes away the frames from `at` on, as a stretch of `utterance`."""
        rest = Stretch(utterance, self.start + at * FRAME, self.frames[at:], self.probabilities[at:])
        del self.frames[at:], self.probabilities[at:]
        return rest


class Stream:
    """The live speech of one client. Made by `Desk.open`, which explains its settings. Any thread may call it."""

    def __init__(
        self, changed: threading.Condition, card: ModelCard, precision: Precision, options: Options,
        listener: Callable[[Event], None], make_vad: Callable[[], Vad], *, partials: bool, cut_by_vad: bool,
        ending: Ending,
    ) -> None:  # fmt: skip
        self.card, self.precision, self.options, self.partials = card, precision, options, partials
        self.next_partial_s = 0.0  # of the monotonic clock
        self.closed: deque[Stretch] = deque()  # that wait for their final text, the first one perhaps at it
        self.open: Stretch | None = None
        self.is_over = False
        self._changed, self._listener, self._make_vad, self._cut_by_vad = changed, listener, make_vad, cut_by_vad
        self._vad: Vad | None = None
        self._ends, self._padding = Endpointer(ending), frames(ending.padding_s)
        self._longest = frames(card.max_chunk_s) - 1
        self._incoming: deque[np.ndarray | Literal["commit", "clear", "finish"]] = deque()
        self._outbox: deque[Event] = deque()
        self._before: deque[tuple[np.ndarray, float]] = deque(maxlen=self._padding + ONSET_FRAMES)
        self._rest = np.zeros(0, np.float32)  # samples that are no whole frame yet
        self._incoming_samples = self._position = self._count = 0
        self._is_finished = False
        self._turn = None if cut_by_vad else self._utterance(0)

    def feed(self, samples: np.ndarray) -> None:
        """Queues float32 `(n,)` at 16 kHz. More than 120 s that are not recognised yet end the stream with `Failed`."""
        taken = np.nan_to_num(np.asarray(samples, np.float32).reshape(-1))
        with self._changed:
            if self.is_over or self._is_finished:
                return
            if self.backlog_s + len(taken) / SAMPLE_RATE > MOST_BACKLOG_S:
                self._end(Failed(None, _too_slow()))
            else:
                self._incoming_samples += len(taken)
                self._incoming.extend(taken[i : i + _AT_ONCE] for i in range(0, len(taken), _AT_ONCE))
            self._changed.notify_all()

    def commit(self) -> None:
        """Ends the utterance here. Without `cut_by_vad` it gets its Final even if nobody spoke."""
        self._queue("commit")

    def clear(self) -> None:
        """Drops what was fed since the last utterance ended. No more events follow for an open one."""
        self._queue("clear")

    def finish(self) -> None:
        """No more samples come: the last utterance becomes Final, and `Ended` follows."""
        self._queue("finish")

    def close(self) -> None:
        """Drops everything. No event follows, except one that is under way."""
        with self._changed:
            self._outbox.clear()
            self._end(None)
            self._changed.notify_all()

    @property
    def backlog_s(self) -> float:
        """Seconds of samples that have no final text yet, the open utterance's included."""
        waiting = sum(len(stretch.frames) for stretch in (*self.closed, *([self.open] if self.open else ())))
        return (self._incoming_samples + waiting * FRAME) / SAMPLE_RATE

    @property
    def has_news(self) -> bool:
        """Whether `listen` has something to do."""
        return bool(self._incoming or self._outbox)

    def partial_due(self, now_s: float) -> Stretch | None:
        """The open stretch, if it is to be recognised now. None while final texts wait or samples come in faster."""
        stretch = self.open
        if not self.partials or stretch is None or self.closed or now_s < self.next_partial_s:
            return None
        if self._incoming_samples > SAMPLE_RATE or len(stretch.frames) < max(
            _LEAST_FRAMES, stretch.told + _NEWS_FRAMES
        ):
            return None
        return stretch

    def listen(self) -> None:
        """Takes one item of what was fed, and tells the listener what is new. Only the listening thread calls it."""
        with self._changed:
            item = self._incoming.popleft() if self._incoming else None
            if isinstance(item, np.ndarray):
                self._incoming_samples -= len(item)
        if isinstance(item, np.ndarray):
            self._hear(item)
        elif item == "finish":
            self._hear(np.zeros(FRAME, np.float32))  # completes the last frame
        with self._changed:
            if isinstance(item, str) and not self.is_over:
                {"commit": self._commit, "clear": self._clear, "finish": self._finish}[item]()
            told = list(self._outbox)
            self._outbox.clear()
            self._changed.notify_all()
        for event in told:
            self._listener(event)

    def tell_partial(self, stretch: Stretch, text: str, end: int) -> None:
        """The text of the open utterance up to the sample `end`."""
        with self._changed:
            if not (self.is_over or stretch.utterance.is_over):
                number, start = stretch.utterance.number, stretch.utterance.start
                self._outbox.append(Partial(number, start / SAMPLE_RATE, end / SAMPLE_RATE, text))
            self._changed.notify_all()

    def tell_final(self, stretch: Stretch, result: list[Segment] | UserError) -> None:
        """The final segments of the first closed stretch, or why there are none."""
        with self._changed:
            if not self.closed or self.closed[0] is not stretch:  # dropped in the meantime
                return
            self.closed.popleft()
            spoken = stretch.utterance
            if isinstance(result, UserError):
                self._fail(spoken, result)
            else:
                spoken.segments += result
            if stretch.ends_utterance and not spoken.is_over:
                spoken.is_over = True
                times = spoken.start / SAMPLE_RATE, stretch.end / SAMPLE_RATE
                self._outbox.append(Final(spoken.number, *times, tuple(spoken.segments)))
            elif result and self.partials and not isinstance(result, UserError):
                self.tell_partial(stretch, join(s.text for s in spoken.segments), stretch.end)
            self._end_if_done()
            self._changed.notify_all()

    def _queue(self, item: Literal["commit", "clear", "finish"]) -> None:
        with self._changed:
            if not (self.is_over or self._is_finished):
                self._incoming.append(item)
            self._changed.notify_all()

    def _utterance(self, start: int) -> Utterance:
        self._count += 1
        return Utterance(self._count - 1, start)

    def _hear(self, samples: np.ndarray) -> None:
        if self._vad is None:
            self._vad = self._make_vad()
        probabilities = self._vad.probabilities(samples)
        self._rest = np.concatenate([self._rest, samples])
        with self._changed:
            for i, probability in enumerate(probabilities):
                if self.is_over:
                    return
                self._take(self._rest[i * FRAME : (i + 1) * FRAME], float(probability))
        self._rest = self._rest[len(probabilities) * FRAME :]

    def _take(self, frame: np.ndarray, probability: float) -> None:
        self._position += FRAME
        changed = self._ends.take(probability)
        if self.open is None:
            self._before.append((frame, probability))
            if changed:
                self._begin()
        else:
            self.open.frames.append(frame)
            self.open.probabilities.append(probability)
            if changed:
                self._stop()
            elif len(self.open.frames) >= self._longest:
                self._cut()
        if self._turn is not None and self._position - self._turn.start > MOST_UNCOMMITTED_S * SAMPLE_RATE:
            self._fail(self._turn, _too_long())
            self._clear()

    def _begin(self) -> None:
        start = self._position - len(self._before) * FRAME
        spoken = self._turn or self._utterance(start)
        samples, probabilities = zip(*self._before, strict=True)
        self.open = Stretch(spoken, start, list(samples), list(probabilities))
        self._before.clear()
        if self._cut_by_vad:
            self._outbox.append(SpeechStarted(spoken.number, start / SAMPLE_RATE))

    def _stop(self) -> None:
        """Ends the open stretch after its last speech. Most of the silence after it belongs to what comes next."""
        assert self.open is not None
        kept = max(1, len(self.open.frames) - max(0, self._ends.silent - self._padding))
        after = self.open.split(kept, self.open.utterance)
        self._before.extend(zip(after.frames, after.probabilities, strict=True))
        self._close(self.open, ends_utterance=self._cut_by_vad)
        self.open = None

    def _cut(self) -> None:
        """Ends the open stretch at its quietest place, and goes on with the rest."""
        stretch = self.open
        assert stretch is not None
        length = len(stretch.frames) * FRAME
        at = max(1, quietest(stretch.samples(), length * 2 // 3, length) // FRAME)
        spoken = self._utterance(stretch.start + at * FRAME) if self._cut_by_vad else stretch.utterance
        self.open = stretch.split(at, spoken)
        self._close(stretch, ends_utterance=self._cut_by_vad)
        if self._cut_by_vad:
            self._outbox.append(SpeechStarted(spoken.number, spoken.start / SAMPLE_RATE))

    def _close(self, stretch: Stretch, *, ends_utterance: bool) -> None:
        stretch.ends_utterance, stretch.closed_s = ends_utterance, time.monotonic()
        self.closed.append(stretch)
        if self._cut_by_vad:
            self._outbox.append(SpeechStopped(stretch.utterance.number, stretch.end / SAMPLE_RATE))

    def _commit(self) -> None:
        if self.open is not None:
            self._close(self.open, ends_utterance=True)
        elif self._turn is not None:
            self._close(Stretch(self._turn, self._position), ends_utterance=True)
        self._begin_anew()

    def _clear(self) -> None:
        dropped = self._turn or (self.open and self.open.utterance)
        if dropped:
            dropped.is_over = True
            self.closed = deque(stretch for stretch in self.closed if stretch.utterance is not dropped)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.open = None
        self._before.clear()
        self._ends.reset()
        if self._turn is not None:
            self._turn = self._utterance(self._position)

    def _finish(self) -> None:
        if self.open is not None or (self._turn is not None and self._position - self._turn.start > FRAME):
            self._commit()
        self._is_finished = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._is_finished and not self.closed and not self.is_over:
            self._end(Ended())

    def _fail(self, spoken: Utterance, error: UserError) -> None:
        if not spoken.is_over:
            spoken.is_over = True
            self._outbox.append(Failed(spoken.number, error))

    def _end(self, last: Event | None) -> None:
        self.is_over = True
        self.open, self._incoming_samples = None, 0
        self.closed.clear()
        self._incoming.clear()
        if last is not None:
            self._outbox.append(last)


def _too_slow() -> UserError:
    return UserError(
        f"Speech came in faster than it could be recognised: {MOST_BACKLOG_S:.0f} s were waiting, and the stream was ended. "
        "Use lite mode or a smaller model, or send more slowly.",
        f"语音输入快于识别速度：已积压 {MOST_BACKLOG_S:.0f} 秒，语音流已结束。请使用轻量模式或更小的模型，或放慢发送速度。",
    )


def _too_long() -> UserError:
    return UserError(
        f"More than {MOST_UNCOMMITTED_S / 60:.0f} minutes came in without a commit, and were dropped. Commit more often.",
        f"超过 {MOST_UNCOMMITTED_S / 60:.0f} 分钟的语音未提交，已被丢弃。请更频繁地提交。",
    )

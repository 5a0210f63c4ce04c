"""Captions of recordings that are being made: what lies on the disk, in order, as live speech.

A missing piece holds them up. Captions that fall far behind go on at the present, and say what they left out.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import soxr

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options
from asr_app.errors import UserError
from asr_app.live.desk import Desk
from asr_app.live.events import Event, Failed, Final, Partial
from asr_app.live.stream import Stream
from asr_app.precision import Precision
from asr_app.recorder.captures import Capture, Captures
from asr_app.text import join

_MOST_BACKLOG_S = 30.0  # of the stream: more sound waits on the disk; at 120 s the stream would end
_MOST_BEHIND_S = 60.0
_CATCH_UP_S = 20.0  # of sound before the present, with which captions go on that were further behind
_PAUSED_S = 1.5  # without a piece: what was said has its final text
_RESTS_S = 120.0  # without a piece: the stream makes way for others
_MOST = 100  # recordings whose captions are kept


@dataclass(frozen=True)
class Line:
    """The final text of an utterance, or a stretch of `left_out_s` seconds without captions. `end` is its last sample."""

    text: str
    end: int
    left_out_s: float = 0.0


@dataclass(frozen=True)
class Told:
    """News of captions. `lines` are new, `open` is the text of the utterance that goes on, `series` names the run of lines.

    `version` changes with every event. `rests` is true if nothing is listened to any more: `begin` goes on. `failure` says why.
    """

    series: str
    version: int
    lines: tuple[Line, ...]
    open: str
    rests: bool
    failure: UserError | None


@dataclass
class _Follower:
    """The captions of one recording. Its lock guards the fields; the stream's listener takes it, too."""

    rate: int
    fed: int  # samples of the recording that the stream has, or that were left out
    series: str = field(default_factory=lambda: secrets.token_hex(4))
    lock: threading.RLock = field(default_factory=threading.RLock)
    lines: list[Line] = field(default_factory=list)
    open: str = ""
    open_utterance: int = -1
    version: int = 0
    failure: UserError | None = None
    stream: Stream | None = None
    resampler: soxr.ResampleStream | None = None
    given: int = 0  # samples at 16 kHz that the stream was given
    start: int = 0  # sample of the recording at which the stream would have begun, had nothing been left out
    came_at: float = field(default_factory=time.monotonic)
    committed: bool = True

    def take(self, event: Event) -> None:
        """Listens to the stream."""
        with self.lock:
            if isinstance(event, Partial):
                self.open, self.open_utterance = event.text, event.utterance
            elif isinstance(event, Final):
                if text := join(segment.text for segment in event.segments):
                    self.lines.append(Line(text, self.start + round(event.end_s * self.rate)))
                self._close(event.utterance)
            elif isinstance(event, Failed):
                if event.utterance is None:
                    self.failure, self.stream = event.error, None
                self._close(event.utterance)
            else:
                return
            self.version += 1

    def _close(self, utterance: int | None) -> None:
        if utterance is None or utterance >= self.open_utterance:
            self.open = ""

    def rest(self) -> None:
        """Ends the stream; the lines stay."""
        with self.lock:
            if self.stream is not None:
                self.stream.close()
            self.stream, self.open = None, ""
            self.version += 1


class Captions:
    """The captions of all recordings. `feed` after each piece, `told` as often as the page asks."""

    def __init__(self, captures: Captures, desk: Desk) -> None:
        self._captures, self._desk = captures, desk
        self._followers: dict[str, _Follower] = {}
        self._lock = threading.Lock()  # guards `_followers`

    def begin(self, capture: str, card: ModelCard, precision: Precision, options: Options, start: int) -> None:
        """Follows the recording from sample `start` on, unless it is followed already.

        `Told.failure` says why it cannot be followed.
        """
        found = self._captures.find(capture)
        if found is None or found.state != "open":
            return
        self.rest_idle()
        with self._lock:
            follower = self._followers.setdefault(capture, _Follower(found.rate, min(start, found.samples)))
            while len(self._followers) > _MOST:
                self._followers.pop(next(iter(self._followers))).rest()
        with follower.lock:
            if follower.stream is not None:
                return
            follower.failure, follower.came_at = None, time.monotonic()
            try:
                follower.stream = self._desk.open(card, precision, options, follower.take)
            except UserError as error:
                follower.failure, follower.version = error, follower.version + 1
                return
            follower.given = 0
            self._restart(follower, follower.fed)
        self.feed(found)

    def feed(self, capture: Capture) -> None:
        """Gives the stream what has come since."""
        follower = self._followers.get(capture.id)
        if follower is None:
            return
        with follower.lock:
            if follower.stream is None or capture.samples <= follower.fed:
                return
            follower.came_at = time.monotonic()
            if follower.stream.backlog_s > _MOST_BACKLOG_S:
                return
            if capture.samples - follower.fed > _MOST_BEHIND_S * follower.rate:
                at = capture.samples - round(_CATCH_UP_S * follower.rate)
                follower.lines.append(Line("", at, (at - follower.fed) / follower.rate))
                follower.version += 1
                follower.stream.commit()
                self._restart(follower, at)
            samples = self._captures.samples(capture, follower.fed)
            follower.fed, follower.committed = capture.samples, False
            assert follower.resampler is not None
            sound = follower.resampler.resample_chunk(samples.astype(np.float32) / 32768)
            follower.given += len(sound)
            follower.stream.feed(sound)

    def told(self, capture: str, series: str, seen: int) -> Told | None:
        """The captions after the first `seen` lines of `series`; of another series, all. None if nothing is followed."""
        follower = self._followers.get(capture)
        if follower is None:
            return None
        with follower.lock:
            if follower.stream is not None and not follower.committed and _since(follower) > _PAUSED_S:
                follower.committed = True
                follower.stream.commit()
            lines = tuple(follower.lines[seen if series == follower.series else 0 :])
            rests = follower.stream is None
            return Told(follower.series, follower.version, lines, follower.open, rests, follower.failure)

    def end(self, capture: str) -> None:
        """Forgets the captions of a recording that has ended."""
        with self._lock:
            follower = self._followers.pop(capture, None)
        if follower is not None:
            follower.rest()

    def _restart(self, follower: _Follower, at: int) -> None:
        """Goes on with sample `at` of the recording."""
        follower.fed, follower.start = at, at - round(follower.given * follower.rate / SAMPLE_RATE)
        follower.resampler = soxr.ResampleStream(follower.rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def rest_idle(self) -> None:
        """Ends the streams of recordings that have no new piece; the desk has room for a few."""
        with self._lock:
            idle = [f for f in self._followers.values() if f.stream is not None and _since(f) > _RESTS_S]
        for follower in idle:
            follower.rest()


def _since(follower: _Follower) -> float:
    """Seconds since the last piece."""
    return time.monotonic() - follower.came_at

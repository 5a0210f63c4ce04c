"""Utterances of a stream, and the stretches of samples in which they are recognised."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from asr_app.datatypes import Segment
from asr_app.vad import FRAME


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

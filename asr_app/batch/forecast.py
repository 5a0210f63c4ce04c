"""The time left of a run by the measured rate, and how far the predictions were from the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MARKS = (0.1, 0.5)  # shares of the audio at which a prediction is kept, to be scored


@dataclass(frozen=True)
class Prediction:
    """The seconds that a run had left after `share` of its audio: as predicted then, and as they were."""

    share: float
    predicted_s: float
    actual_s: float

    @property
    def error(self) -> float:
        """Relative error; positive if less time was needed than predicted."""
        return self.predicted_s / self.actual_s - 1 if self.actual_s > 0 else 0.0


class Forecast:
    """Predicts from seconds of wall clock a second of audio. It starts now.

    `lengths` are the recordings' seconds by their headers; one of unknown length counts as the mean of the others.
    """

    def __init__(self, lengths: Sequence[float | None], clock: Callable[[], float] = time.monotonic) -> None:
        known = [length for length in lengths if length is not None]
        self._mean = sum(known) / len(known) if sum(known) else 1.0
        self.audio_s = sum(known) + self._mean * (len(lengths) - len(known))
        self.done_s = 0.0
        self._clock, self._began = clock, clock()
        self._made: list[tuple[float, float, float]] = []  # share, seconds elapsed, seconds predicted to be left

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._began

    @property
    def left_s(self) -> float | None:
        """Predicted seconds left; None before the first recording is done."""
        if not self.done_s:
            return None
        return max(0.0, self.audio_s - self.done_s) * self.elapsed_s / self.done_s

    def add(self, length: float | None) -> None:
        """Counts a recording of that length, as it stood in `lengths`, as done."""
        before = self.done_s / self.audio_s
        self.done_s += self._mean if length is None else length
        share = self.done_s / self.audio_s
        left_s = self.left_s
        if left_s is not None and share < 1 and any(before < mark <= share for mark in MARKS):
            self._made.append((share, self.elapsed_s, left_s))

    def scored(self) -> list[Prediction]:
        """The kept predictions against the truth; to be asked when all is done."""
        end = self.elapsed_s
        return [Prediction(share, left_s, end - at) for share, at, left_s in self._made]

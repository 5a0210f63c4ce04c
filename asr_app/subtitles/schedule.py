"""Times of subtitles: as near to the speech as reading allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_app.subtitles.rules import CHAINED_MS, DRIFT_MS, GAP_MS, MAX_MS, MIN_MS

_ROUNDING_MS = 1


@dataclass(frozen=True)
class Need:
    """A subtitle before its times are set: start and end of its speech, and the time its reader needs; ms."""

    start_ms: float
    end_ms: float
    read_ms: float

    @property
    def least_ms(self) -> float:
        return min(MAX_MS, max(MIN_MS, math.ceil(self.read_ms)))


def schedule(needs: Sequence[Need], audio_ms: float) -> list[tuple[int, int]]:
    """(start, end) of each subtitle in ms. The subtitles keep their order, least length and gaps.

    Starts move as little as possible in the sense of least squares, some of them earlier, others later. People may
    speak faster than others read: if reading time for all would move a subtitle by more than DRIFT_MS, those around it
    are only as long as they are spoken.
    """
    if not needs:
        return []
    lengths = np.array([need.least_ms for need in needs], float)
    starts, block = _starts(needs, lengths, audio_ms)
    moved = np.abs(starts - [need.start_ms for need in needs]) > DRIFT_MS
    if moved.any():
        lengths[np.isin(block, block[moved])] = MIN_MS
        starts, _ = _starts(needs, lengths, audio_ms)
    times = []
    for i, need in enumerate(needs):
        start = round(float(starts[i]))
        latest = start + MAX_MS
        if i + 1 < len(needs):
            latest = min(latest, round(float(starts[i + 1])) - GAP_MS)
        read = max(start + float(lengths[i]), min(start + need.least_ms, audio_ms))
        end = min(round(max(need.end_ms, read)), latest)
        if i + 1 < len(needs) and round(float(starts[i + 1])) - end < CHAINED_MS:
            end = latest
        times.append((start, end))
    return times


def _starts(needs: Sequence[Need], lengths: np.ndarray, audio_ms: float) -> tuple[np.ndarray, np.ndarray]:
    """Starts in ms, and for each the block it is in: those that touch each other and so move together.

    start[i + 1] - start[i] >= length[i] + gap. Without the sums of these, the starts must only rise, which is isotonic
    regression.
    """
    from scipy.optimize import isotonic_regression  # takes 0.3 s to import

    steps = lengths + GAP_MS + _ROUNDING_MS
    before = np.concatenate([[0.0], np.cumsum(steps[:-1])])
    fitted = isotonic_regression(np.array([need.start_ms for need in needs]) - before)
    last_ms = max(audio_ms, needs[-1].end_ms) - lengths[-1] - before[-1]
    rising = np.clip(fitted.x, 0.0, max(0.0, last_ms))
    block = np.cumsum(np.concatenate([[0], np.diff(rising) > 0]))
    return rising + before, block

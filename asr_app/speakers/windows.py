"""Windows of equal length over the stretches of speech; one embedding is made of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_app.datatypes import SAMPLE_RATE

LENGTH_S, HOP_S = 1.5, 0.75  # FunASR's
LEAST_S = 0.3  # a shorter stretch says too little of a voice: it goes to the speaker beside it


@dataclass(frozen=True)
class Window:
    """Start and end in seconds of the recording; no longer than LENGTH_S."""

    start_s: float
    end_s: float

    @property
    def middle_s(self) -> float:
        return (self.start_s + self.end_s) / 2


def windows_of(spans: Sequence[tuple[float, float]]) -> list[Window]:
    """Windows over `spans` of speech, in order. The last one of a span ends where it does.

    A span shorter than a window is one by itself, and one shorter than LEAST_S is none.
    """
    found = []
    for start_s, end_s in spans:
        if end_s - start_s < LEAST_S:
            continue
        at_s = start_s
        while at_s + LENGTH_S < end_s:
            found.append(Window(at_s, at_s + LENGTH_S))
            at_s += HOP_S
        found.append(Window(max(start_s, end_s - LENGTH_S), end_s))
    return found


def samples_of(window: Window, samples: np.ndarray) -> np.ndarray:
    """The window's samples, float32 `(LENGTH_S * SAMPLE_RATE,)`. A shorter one is repeated until it is as long."""
    length = round(LENGTH_S * SAMPLE_RATE)
    start = round(window.start_s * SAMPLE_RATE)
    own = samples[start : min(start + length, round(window.end_s * SAMPLE_RATE))]
    return np.ascontiguousarray(np.resize(own, length), np.float32)

"""Diarisation error rate of turns against the known ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

STEP_S = 0.01
Turns = Sequence[tuple[float, float, object]]


def error_rate(known: Turns, found: Turns, collar_s: float = 0.0) -> float:
    """Seconds missed, heard where nobody speaks, and given to the wrong speaker, a second of speech.

    Speakers are matched so that most time agrees. `collar_s` around the borders of known turns does not count.
    """
    length = round(max([*(end for _, end, _ in known), *(end for _, end, _ in found)], default=0.0) / STEP_S) + 1
    truth, said = _frames(known, length), _frames(found, length)
    counted = np.ones(length, bool)
    for start, end, _ in known:
        for border in (start, end) if collar_s else ():
            counted[max(0, round((border - collar_s) / STEP_S)) : round((border + collar_s) / STEP_S)] = False
    truth, said = truth[:, counted], said[:, counted]
    speech = truth.any(0).sum()
    agreed = truth.astype(float) @ said.T
    rows, columns = linear_sum_assignment(-agreed)
    at_most = np.maximum(truth.sum(0), said.sum(0)).sum()
    return float((at_most - agreed[rows, columns].sum()) / max(1, speech))


def _frames(turns: Turns, length: int) -> np.ndarray:
    """Whether each speaker speaks at each step, `(speakers, length)`."""
    names = list(dict.fromkeys(name for _, _, name in turns))
    frames = np.zeros((max(1, len(names)), length), bool)
    for start, end, name in turns:
        frames[names.index(name), round(start / STEP_S) : round(end / STEP_S)] = True
    return frames

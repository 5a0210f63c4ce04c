"""Search over candidates until the loss is within the criterion. Knows no model: candidates are measured elsewhere.

The order is that of Neural Compressor's accuracy-driven tuning (https://github.com/intel/neural-compressor): the
cheapest arithmetics first, then the most sensitive layers back to high precision, fewest first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """An arithmetic ("static" has calibrated ranges), and the layers that stay in high precision."""

    arithmetic: str
    high: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """Result of a candidate: `loss` against FP32 as a share of units (0.0002 is 0.02 points), RTF and size."""

    candidate: Candidate
    loss: float
    rtf: float
    weights_mb: float


@dataclass(frozen=True)
class SearchResult:
    """All trials in order, the best one, and the reason why it misses the criterion (empty if it meets it)."""

    trials: tuple[Trial, ...]
    best: Trial
    reason: str = ""


def search(
    measure: Callable[[Candidate], Trial], arithmetics: Sequence[str], ranking: Sequence[str], max_loss: float
) -> SearchResult:
    """Finds the fastest arithmetic within `max_loss`, else the one of least loss with the fewest layers high.

    `ranking` are the layers, the most sensitive first. At most half of them go back to high precision: beyond that it
    is hardly the lower precision any more.
    """
    trials = [measure(Candidate(arithmetic)) for arithmetic in arithmetics]
    if within := [t for t in trials if t.loss <= max_loss]:
        return SearchResult(tuple(trials), min(within, key=lambda t: t.rtf))
    arithmetic = min(trials, key=lambda t: t.loss).candidate.arithmetic

    def with_high(count: int) -> Trial:
        trials.append(measure(Candidate(arithmetic, tuple(ranking[:count]))))
        return trials[-1]

    most = len(ranking) // 2
    too_few, count, enough = 0, 1, None
    while enough is None and too_few < most:
        count = min(count, most)
        trial = with_high(count)
        if trial.loss <= max_loss:
            enough = trial
        else:
            too_few, count = count, 2 * count
    if enough is None:
        best = min(trials, key=lambda t: t.loss)
        reason = (
            f"with half of the layers ({most} of {len(ranking)}) high the loss is still above {max_loss:.3%}"
            if most
            else f"the loss is above {max_loss:.3%}, and there are too few layers to keep any high"
        )
        return SearchResult(tuple(trials), best, reason)
    while len(enough.candidate.high) - too_few > 1:
        middle = (len(enough.candidate.high) + too_few) // 2
        trial = with_high(middle)
        if trial.loss <= max_loss:
            enough = trial
        else:
            too_few = middle
    return SearchResult(tuple(trials), enough)

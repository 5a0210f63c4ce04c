"""Counts how well each sign tells wrong words from right ones. Intervals are 95 %, by a bootstrap over clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

DRAWS = 1000


@dataclass(frozen=True)
class Sample:
    """The judged words of one clip: `wrong` `(n,)` bool, and one sign of theirs, `sure` `(n,)`, higher for surer."""

    wrong: np.ndarray
    sure: np.ndarray


@dataclass(frozen=True)
class Detection:
    """A sign below a threshold as a detector of wrong words.

    `precision` is the share of wrong words among the marked ones, `recall` the share of marked ones among the wrong;
    NaN without any. `marked` is the share of all words that are marked.
    """

    threshold: float
    precision: float
    recall: float
    marked: float


def base_rate(samples: Sequence[Sample]) -> float:
    """The share of wrong words, which is the precision of marking words by chance."""
    return float(np.concatenate([s.wrong for s in samples]).mean())


def auc(samples: Sequence[Sample], draws: int = DRAWS) -> tuple[float, float, float]:
    """Area under the ROC curve and its interval: how often a right word is surer than a wrong one. Chance is 0.5."""
    random = np.random.default_rng(0)
    areas = []
    for _ in range(draws):
        area = _area([samples[i] for i in random.integers(0, len(samples), len(samples))])
        if area is not None:
            areas.append(area)
    whole = _area(samples)
    if whole is None:
        return float("nan"), float("nan"), float("nan")
    low, high = np.percentile(areas, [2.5, 97.5]) if areas else (float("nan"), float("nan"))
    return whole, float(low), float(high)


def _area(samples: Sequence[Sample]) -> float | None:
    """The area; None if all words are wrong, or none is."""
    wrong = np.concatenate([s.wrong for s in samples])
    if wrong.all() or not wrong.any():
        return None
    right = int((~wrong).sum())
    ranks = rankdata(np.concatenate([s.sure for s in samples]))
    return float((ranks[~wrong].sum() - right * (right + 1) / 2) / (right * wrong.sum()))  # Mann and Whitney's U


def detect(samples: Sequence[Sample], threshold: float) -> Detection:
    """The words whose sign is below `threshold` as the wrong ones."""
    wrong = np.concatenate([s.wrong for s in samples])
    marked = np.concatenate([s.sure for s in samples]) < threshold
    hits = int((wrong & marked).sum())
    precision = hits / marked.sum() if marked.any() else float("nan")
    recall = hits / wrong.sum() if wrong.any() else float("nan")
    return Detection(threshold, float(precision), float(recall), float(marked.mean()))


def best_threshold(samples: Sequence[Sample]) -> float:
    """The threshold with the greatest F1 of precision and recall."""
    wrong = np.concatenate([s.wrong for s in samples])
    sure = np.concatenate([s.sure for s in samples])
    order = np.argsort(sure, kind="stable")
    hits = np.cumsum(wrong[order])
    f1 = 2 * hits / (np.arange(1, len(sure) + 1) + wrong.sum())
    last = np.append(np.diff(sure[order]) > 0, True)  # words of the same sign are marked together
    best = int(np.argmax(np.where(last, f1, -1)))
    return float(np.nextafter(sure[order][best], np.inf))

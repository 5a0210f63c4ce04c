"""A blind round: short places where two arms differ, judged without the arms' names, and the exact sign test of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from asr_app.compare.difference import Step
from asr_app.compare.units import Unit

MOST_PLACES = 10
_CONTEXT, _APART = 4, 2  # units shown before and after a difference; differences that are nearer are one place
_MARGIN_S, _LONGEST_S = 0.4, 8.0  # played before and after; of a longer difference the beginning is judged


@dataclass(frozen=True)
class Side:
    """One arm's text of a place: what both have before, its own part, and what both have after."""

    before: str
    own: str
    after: str


@dataclass(frozen=True)
class Place:
    """A stretch of the recording in seconds in which arms 0 and `arm` differ.

    `sides` are their texts in the order in which they are shown. `swapped` says that `arm` comes first.
    """

    arm: int
    start_s: float
    end_s: float
    sides: tuple[Side, Side]
    swapped: bool


@dataclass(frozen=True)
class Verdict:
    """The votes for arm 0 and for another arm, and ties. `p` is the two-sided exact sign test's, 1 without votes."""

    first: int
    other: int
    ties: int
    p: float


def places(arms: Sequence[Sequence[Unit]], steps: Sequence[Sequence[Step]], seed: str) -> list[Place]:
    """At most MOST_PLACES places, spread over the recording and over the arms after the first.

    `steps[i]` aligns arm 0 with arm i + 1. The same `seed` gives the same places in the same order.
    """
    order = random.Random(seed)
    by_arm = [_places_of(arms[0], arms[arm], found, arm) for arm, found in enumerate(steps, 1)]
    chosen: list[Place] = []
    for some in by_arm:
        order.shuffle(some)
    while any(by_arm) and len(chosen) < MOST_PLACES:
        for some in by_arm:
            if some and len(chosen) < MOST_PLACES:
                place = some.pop()
                swapped = order.random() < 0.5
                sides = place.sides[::-1] if swapped else place.sides
                chosen.append(Place(place.arm, place.start_s, place.end_s, (sides[0], sides[1]), swapped))
    order.shuffle(chosen)
    return chosen


def verdict(judged: Sequence[tuple[Place, str]], arm: int) -> Verdict:
    """The votes ("left", "right" or "same") on places of `arm`."""
    votes = {"first": 0, "other": 0, "same": 0}
    for place, vote in judged:
        if place.arm == arm:
            votes[vote if vote == "same" else "other" if (vote == "left") == place.swapped else "first"] += 1
    decided = votes["first"] + votes["other"]
    p = float(binomtest(votes["first"], decided).pvalue) if decided else 1.0
    return Verdict(votes["first"], votes["other"], votes["same"], p)


def _places_of(first: Sequence[Unit], other: Sequence[Unit], steps: Sequence[Step], arm: int) -> list[Place]:
    made = []
    for a, b in _joined(steps):
        start_s = min(unit.start_s for unit in [*first[a[0] : a[1]], *other[b[0] : b[1]]])
        a, b = (_begun_before(start_s + _LONGEST_S, *pair) for pair in ((first, a), (other, b)))
        end_s = max(unit.end_s for unit in [*first[a[0] : a[1]], *other[b[0] : b[1]]])
        sides = _side(first, *a), _side(other, *b)
        made.append(Place(arm, max(0.0, start_s - _MARGIN_S), end_s + _MARGIN_S, sides, swapped=False))
    return made


def _begun_before(time_s: float, units: Sequence[Unit], span: tuple[int, int]) -> tuple[int, int]:
    """The span without its units that begin later."""
    return span[0], next((i for i in range(*span) if units[i].start_s > time_s), span[1])


def _joined(steps: Sequence[Step]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The differing stretches, those joined that fewer than _APART equal units part."""
    spans: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for step in steps:
        if step.kind == "equal":
            continue
        if spans and step.first[0] - spans[-1][0][1] < _APART:
            (a, _), (b, _) = spans.pop()
            spans.append(((a, step.first[1]), (b, step.other[1])))
        else:
            spans.append((step.first, step.other))
    return spans


def _side(units: Sequence[Unit], start: int, end: int) -> Side:
    def said(some: Sequence[Unit]) -> str:
        return "".join(unit.text for unit in some)

    return Side(
        said(units[max(0, start - _CONTEXT) : start]), said(units[start:end]), said(units[end : end + _CONTEXT])
    )

"""Differences between two transcripts: unit by unit, and in the times of their cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from asr_app.compare.units import Unit
from asr_app.datatypes import Segment


@dataclass(frozen=True)
class Step:
    """A stretch of both texts: `kind` is "equal", "delete", "insert" or "replace".

    `first` and `other` are [start, end) in the units of the two texts. A replaced stretch may have more units on one
    side.
    """

    kind: str
    first: tuple[int, int]
    other: tuple[int, int]


@dataclass(frozen=True)
class CueShift:
    """Moves of the boundaries of one transcript's cues in another transcript.

    `median_s` and `p95_s` are of the absolute moves of the `cues` boundaries that both have, None without any; `gone`
    boundaries lie inside a cue of the other transcript.
    """

    cues: int
    gone: int
    median_s: float | None
    p95_s: float | None


def align(first: Sequence[Unit], other: Sequence[Unit]) -> list[Step]:
    """The fewest edits from `first` to `other` (Levenshtein), stretches of edits joined to one step."""
    edits = Levenshtein.opcodes([unit.key for unit in first], [unit.key for unit in other])
    steps: list[Step] = []
    for edit in edits:
        span = (edit.src_start, edit.src_end), (edit.dest_start, edit.dest_end)
        if steps and "equal" not in (edit.tag, steps[-1].kind):
            before = steps.pop()
            span = (before.first[0], edit.src_end), (before.other[0], edit.dest_end)
        steps.append(Step(_kind(edit.tag, *span), *span))
    return steps


def _kind(tag: str, first: tuple[int, int], other: tuple[int, int]) -> str:
    if tag == "equal":
        return "equal"
    if first[0] == first[1]:
        return "insert"
    return "delete" if other[0] == other[1] else "replace"


def count(steps: Sequence[Step]) -> int:
    """Units that differ: of a replaced stretch, those of its longer side."""
    return sum(
        max(step.first[1] - step.first[0], step.other[1] - step.other[0]) for step in steps if step.kind != "equal"
    )


def cue_shift(
    first: Sequence[Unit], other: Sequence[Unit], steps: Sequence[Step], cues: Sequence[Segment],
    other_cues: Sequence[Segment],
) -> CueShift:  # fmt: skip
    """The moves of the boundaries of `cues` in the other transcript. Boundaries at a unit that differs do not count."""
    same = {
        step.first[0] + i: step.other[0] + i
        for step in steps
        if step.kind == "equal"
        for i in range(step.first[1] - step.first[0])
    }
    moves, gone = [], 0
    for begins in (True, False):
        edges = _edges(other, begins)
        for unit in _edges(first, begins):
            if unit not in same:
                continue
            if same[unit] not in edges:
                gone += 1
                continue
            one, two = cues[first[unit].cue], other_cues[other[same[unit]].cue]
            moves.append(abs(two.start_s - one.start_s) if begins else abs(two.end_s - one.end_s))
    if not moves:
        return CueShift(0, gone, None, None)
    return CueShift(len(moves), gone, float(np.median(moves)), float(np.percentile(moves, 95)))


def _edges(units: Sequence[Unit], begins: bool) -> set[int]:
    """The units that a cue begins with, or ends with."""
    step = -1 if begins else 1
    return {i for i, unit in enumerate(units) if not 0 <= i + step < len(units) or units[i + step].cue != unit.cue}

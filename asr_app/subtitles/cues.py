"""Divides a transcript into subtitles by dynamic programming, each of at most two balanced lines.

The cheapest division has breaks at good places, sentences in one piece, time enough to read, and few subtitles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_app.datatypes import Segment
from asr_app.subtitles import rules
from asr_app.subtitles.atoms import SENTENCE, Atom, atoms_of, joined
from asr_app.subtitles.rules import Ruler, is_japanese
from asr_app.subtitles.schedule import Need, schedule

# Costs of a subtitle, on the scale of the costs of a break.
_CUE = 1.0
_EMPTINESS = 1.5  # of one without text; a half-full one costs a quarter of it, so that halves are balanced
_SENTENCE_INSIDE = 4.0  # BBC: a subtitle has a single sentence, unless that has no time
_SECOND_OF_PAUSE = 4.0
_MISSING_TIME = 10.0  # of one without any time
_SECOND_TOO_LONG = 20.0
_APART_S = 2.0  # a longer pause ends a subtitle
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Cue:
    """A subtitle: milliseconds from the start of the recording, and one or two lines of words."""

    start_ms: int
    end_ms: int
    lines: tuple[tuple[Atom, ...], ...]

    @property
    def speaker(self) -> str | None:
        """The one who speaks all of it."""
        return self.lines[0][0].speaker

    @property
    def text(self) -> str:
        """The lines as shown."""
        return "\n".join(joined(line) for line in self.lines)

    @property
    def line(self) -> str:
        """The whole text as one line."""
        return joined([atom for line in self.lines for atom in line])


def make_cues(segments: Sequence[Segment], audio_s: float, named: bool = False) -> list[Cue]:
    """Subtitles of `segments`, recognised in a recording of `audio_s` seconds. They keep the limits of rules.py.

    With `named`, each turn of a speaker begins with the name. Only the reading speed cannot always be kept: nothing that is said is left out, and people speak faster than the
    limit.
    """
    ruler = Ruler(is_japanese("".join(s.text for s in segments)))
    atoms = atoms_of(segments, ruler, named)
    spans = list(_divided(atoms, ruler))
    needs = [
        Need(1000 * atoms[a].start_s, 1000 * atoms[b - 1].end_s, ruler.read_ms(joined(atoms[a:b]))) for a, b in spans
    ]
    times = schedule(needs, 1000 * audio_s)
    return [
        Cue(start, end, _lines(atoms[a:b], ruler)) for (a, b), (start, end) in zip(spans, times, strict=True)
    ]  # fmt: skip


def _divided(atoms: Sequence[Atom], ruler: Ruler) -> Iterator[tuple[int, int]]:
    """[start, end) of each subtitle in `atoms`."""
    first = 0
    for i, atom in enumerate(atoms):
        last = i + 1 == len(atoms)
        if last or atom.apart or atoms[i + 1].start_s - atom.end_s > _APART_S:
            next_s = math.inf if last else atoms[i + 1].start_s
            yield from ((first + a, first + b) for a, b in _cheapest(atoms[first : i + 1], next_s, ruler))
            first = i + 1


def _cheapest(atoms: Sequence[Atom], next_s: float, ruler: Ruler) -> list[tuple[int, int]]:
    """The cheapest division of `atoms`, which are one stretch of speech; `next_s` is the start of the next stretch."""
    spaces = [ruler.width(" ") if atom.spaced else 0.0 for atom in atoms]
    widths = [0.0, *itertools.accumulate(ruler.width(a.text) + space for a, space in zip(atoms, spaces, strict=True))]
    reads = [0.0, *itertools.accumulate(ruler.read_ms(" " * a.spaced + a.text) for a in atoms)]
    inner = [0.0, *itertools.accumulate(_inside(a, b) for a, b in itertools.pairwise(atoms))]
    starts = [*(a.start_s for a in atoms), next_s]
    best = [0.0] + [math.inf] * len(atoms)
    cut = [0] * (len(atoms) + 1)
    for i in range(len(atoms)):
        line_end = i  # of the first line
        left = widths[i] + spaces[i]
        for j in range(i + 1, len(atoms) + 1):
            width = widths[j] - left
            if width <= 1 + _ROUNDING:
                line_end = j
            elif j - i > 1 and widths[j] - widths[line_end] - spaces[line_end] > 1 + _ROUNDING:
                break
            end_s = atoms[j - 1].end_s
            room_s = min(starts[j] - rules.GAP_MS / 1000, end_s + rules.DRIFT_MS / 1000) - starts[i]
            need_s = max(rules.MIN_MS, reads[j] - reads[i]) / 1000
            cost = best[i] + _CUE + inner[j - 1] - inner[i] + _EMPTINESS * (1 - min(width, 2) / 2) ** 2
            if room_s < need_s:
                cost += _MISSING_TIME * (need_s - max(room_s, 0.0)) / need_s
            cost += _SECOND_TOO_LONG * max(0.0, end_s - starts[i] - rules.MAX_MS / 1000)
            if j < len(atoms):
                cost += atoms[j - 1].breaks
            if cost < best[j]:
                best[j], cut[j] = cost, i
    spans, end = [], len(atoms)
    while end:
        spans.append((cut[end], end))
        end = cut[end]
    return spans[::-1]


def _inside(before: Atom, after: Atom) -> float:
    """Cost of a place inside a subtitle between two words."""
    return _SECOND_OF_PAUSE * max(0.0, after.start_s - before.end_s) + (
        _SENTENCE_INSIDE if before.breaks == SENTENCE else 0.0
    )


def _lines(atoms: Sequence[Atom], ruler: Ruler) -> tuple[tuple[Atom, ...], ...]:
    """One line if the text fits, else two of about the same width, divided at the best place."""
    if ruler.width(joined(atoms)) <= 1 + _ROUNDING or len(atoms) == 1:
        return (tuple(atoms),)
    choices = []
    for i in range(1, len(atoms)):
        first, second = ruler.width(joined(atoms[:i])), ruler.width(joined(atoms[i:]))
        too_wide = max(first, second) > 1 + _ROUNDING
        choices.append((too_wide, atoms[i - 1].breaks + 4 * abs(first - second), i))
    _, _, i = min(choices)
    return tuple(atoms[:i]), tuple(atoms[i:])

"""Errors of models and precisions on the lines that persons corrected or confirmed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from asr_app.corrections.references import Arm, Reference
from asr_app.precision import Precision
from asr_app.scoring import Score, score


@dataclass(frozen=True)
class Figure:
    """The corpus score of a model at a precision on `lines` references."""

    model: str
    precision: Precision
    lines: int
    score: Score

    @property
    def right(self) -> int:
        """Units of the references that the model had right."""
        return self.score.units - self.score.substitutions - self.score.deletions


@dataclass(frozen=True)
class Tally:
    """All figures. `same_lines` says that they stand on the same lines, so that one may be held against another."""

    figures: tuple[Figure, ...]
    corrected: int
    confirmed: int
    recordings: int
    same_lines: bool


def tally(references: Sequence[Reference]) -> Tally:
    """The figures, by model, the highest precision first."""
    pairs: defaultdict[Arm, list[tuple[str, str]]] = defaultdict(list)
    lines: defaultdict[Arm, set[tuple[str, int]]] = defaultdict(set)
    for reference in references:
        for arm, text in reference.said.items():
            pairs[arm].append((reference.text, text))
            lines[arm].add((reference.job, reference.line))
    order = list(Precision)
    figures = tuple(
        Figure(*arm, len(pairs[arm]), score(pairs[arm]))
        for arm in sorted(pairs, key=lambda arm: (arm[0], order.index(arm[1])))
    )
    confirmed = sum(reference.confirmed for reference in references)
    return Tally(
        figures, len(references) - confirmed, confirmed, len({reference.job for reference in references}),
        len({frozenset(of_arm) for of_arm in lines.values()}) <= 1,
    )  # fmt: skip

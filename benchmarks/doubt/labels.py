"""Wrong words of a transcript, by the reference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from asr_app.scoring import units_in


def wrong(words: Sequence[str], reference: str, language: str) -> list[bool] | None:
    """Whether each word is wrong: one of its units is replaced or surplus in the fewest edits from the reference.

    Words without units, as a mark, are right. None if the normaliser makes other units of the words alone than of their
    text (numbers in several English words): no word can be judged then.
    """
    units = [units_in(word, language) for word in words]
    if [unit for own in units for unit in own] != units_in(" ".join(words), language):
        return None
    return [not own for own in _matched(units_in(reference, language), units)]


def shared(words: Sequence[str], others: Sequence[str], language: str) -> list[bool]:
    """Whether all units of each word are in another transcript too, at their place."""
    there = [unit for word in others for unit in units_in(word, language)]
    return _matched(there, [units_in(word, language) for word in words])


def _matched(reference: Sequence[str], words: Sequence[Sequence[str]]) -> list[bool]:
    """Whether all units of each word stand for equal units of `reference`, in the fewest edits."""
    units = [unit for own in words for unit in own]
    right = [False] * len(units)
    for edit in Levenshtein.opcodes(reference, units):
        if edit.tag == "equal":
            right[edit.dest_start : edit.dest_end] = [True] * (edit.dest_end - edit.dest_start)
    ends = itertools.accumulate(map(len, words), initial=0)
    return [all(right[first:after]) for first, after in itertools.pairwise(ends)]

"""The times of a line whose text has changed: kept for words that stayed, shared out among the new ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from asr_app.compare.difference import align
from asr_app.compare.units import Unit, is_mark, pieces_of
from asr_app.datatypes import Segment, Word


def retimed(segment: Segment, text: str) -> Segment:
    """The segment with another text and the same start and end.

    Words that both texts have keep their times. New ones share the time between their neighbours by their letters. A
    segment without times of words stays without.
    """
    if not segment.words:
        return replace(segment, text=text)
    owner = [n for n, word in enumerate(segment.words) for _ in _units(word.text)]
    old = [
        Unit(unit.text, unit.key, 0, word.start_s, word.end_s) for word in segment.words for unit in _units(word.text)
    ]
    new = _units(text)
    stayed: defaultdict[int, list[int]] = defaultdict(list)  # units of the new text by the word of the old one
    for step in align(old, new):
        if step.kind == "equal":
            for mine, theirs in zip(range(*step.first), range(*step.other), strict=True):
                stayed[owner[mine]].append(theirs)
    length = Counter(owner)
    kept = {
        unit: n
        for n, units in stayed.items()
        if len(units) == length[n] == units[-1] - units[0] + 1  # the whole word, in one piece
        for unit in units
    }
    words: list[Word] = []
    fresh: list[Unit] = []
    for i, unit in enumerate(new):
        if i not in kept:
            fresh.append(unit)
            continue
        word = segment.words[kept[i]]
        words += _shared(fresh, words[-1].end_s if words else segment.start_s, word.start_s)
        fresh = []
        if kept.get(i - 1) != kept[i]:
            words.append(word)
    words += _shared(fresh, words[-1].end_s if words else segment.start_s, segment.end_s)
    return replace(segment, text=text, words=tuple(words))


def _units(text: str) -> list[Unit]:
    """The units of `text` that are not marks alone, without times."""
    return [Unit(piece, key, 0, 0.0, 0.0) for piece, key in pieces_of(text) if key]


def _shared(units: Sequence[Unit], start_s: float, end_s: float) -> list[Word]:
    """Words for `units`, between `start_s` and `end_s` by the number of their letters."""
    letters = sum(len(unit.key) for unit in units)
    span_s, done, words = max(0.0, end_s - start_s), 0, []
    for unit in units:
        begin = start_s + span_s * done / letters
        done += len(unit.key)
        words.append(Word(begin, start_s + span_s * done / letters, _bare(unit.text)))
    return words


def _bare(text: str) -> str:
    """`text` without the marks around it."""
    first = next(i for i, c in enumerate(text) if not is_mark(c))
    last = next(i for i in reversed(range(len(text))) if not is_mark(text[i]))
    return text[first : last + 1]

"""The units that two texts are compared by, with their times: characters of Chinese and Japanese, words of the rest."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from asr_app.datatypes import Segment
from asr_app.scoring import APOSTROPHES, normalise
from asr_app.text import is_spaceless, words_of_phrases


@dataclass(frozen=True)
class Unit:
    """One unit of a transcript.

    `text` is as written, with the marks and spaces that follow. `key` is what is compared: the same without marks,
    case and script. `cue` is the index of its segment. `start_s` and `end_s` are those of its word if the model gave
    words their times, else a share of the segment.
    """

    text: str
    key: str
    cue: int
    start_s: float
    end_s: float


def units_of(segments: Sequence[Segment]) -> list[Unit]:
    """The units of all segments, in order. Joined, their texts are the transcript's."""
    units: list[Unit] = []
    for cue, segment in enumerate(segments):
        if units and not is_spaceless(units[-1].text[-1]):
            units[-1] = replace(units[-1], text=f"{units[-1].text} ")
        units += _timed(segment, cue)
    return units


def _timed(segment: Segment, cue: int) -> list[Unit]:
    pieces = list(pieces_of(segment.text))
    units = [Unit(text, key, cue, segment.start_s, segment.end_s) for text, key in pieces]
    ends = [0]  # of each unit, in characters of all keys
    for _, key in pieces:
        ends.append(ends[-1] + len(key))
    words = [(word, "".join(normalise(word.text))) for word in segment.words]
    if not ends[-1]:
        return units
    if "".join(key for _, key in words) != "".join(key for _, key in pieces):
        at_s = (segment.end_s - segment.start_s) / ends[-1]
        return [
            replace(unit, start_s=segment.start_s + ends[i] * at_s, end_s=segment.start_s + ends[i + 1] * at_s)
            for i, unit in enumerate(units)
        ]
    timed = [word for word, key in words for _ in key]  # the word of each character
    return [
        replace(unit, start_s=timed[ends[i]].start_s, end_s=timed[ends[i + 1] - 1].end_s) if unit.key else unit
        for i, unit in enumerate(units)
    ]


def pieces_of(text: str) -> Iterator[tuple[str, str]]:
    """Each unit as written and its key. Marks go with the unit before them, the first ones with the unit after."""
    starts = []
    phrased = [start for start, _ in words_of_phrases(text)]
    for i, character in enumerate(text):
        if is_mark(character):
            continue
        before = text[:i].rstrip(APOSTROPHES)[-1:]  # of `don't`, the one before the apostrophe
        begins = not before or is_spaceless(character) or is_spaceless(before) or is_mark(before)
        if begins or (phrased and phrased[bisect_right(phrased, i) - 1] == i):
            starts.append(i)
    if not starts:
        if text:
            yield text, ""
        return
    starts[0] = 0
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield text[start:end], "".join(normalise(text[start:end]))


def is_mark(character: str) -> bool:
    """Whether `character` is punctuation, a symbol or a space."""
    return character.isspace() or unicodedata.category(character)[0] in "PSZC"

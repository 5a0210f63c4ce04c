"""Splits the punctuated text of one chunk into sentences, for families whose models write punctuation themselves."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np

from asr_app.datatypes import Segment, Word
from asr_app.text import letter_places

# A sentence ends at a Mandarin full stop, unless another or a closing quotation mark follows, as in 什么？！. It ends at a
# Latin one only before a space, so that 3.5 and example.com stay whole.
_SENTENCE_END = re.compile(r"""(?<=[。？！])\s*(?=[^\s。？！”’」』）》"'])|(?<=[.?!])\s+(?=\S)""")


def sentences(text: str, words: Sequence[Word], start_s: float, end_s: float) -> list[Segment]:
    """Sentences of `text` in [start_s, end_s], each with its share of `words`.

    Number formatting may have rewritten some words: those go with the previous word. Without words, times are
    proportional to the number of letters.
    """
    pieces = [piece for piece in _SENTENCE_END.split(text.strip()) if piece]
    if not pieces:
        return []
    if not words:
        ends = np.cumsum([max(1, len(_letters(piece))) for piece in pieces])
        edges = [start_s, *(start_s + ends / ends[-1] * (end_s - start_s)).tolist()]
        return [Segment(a, b, piece) for piece, (a, b) in zip(pieces, itertools.pairwise(edges), strict=True)]
    held: list[list[Word]] = [[] for _ in pieces]
    for word, piece in zip(words, _piece_indices(pieces, words), strict=True):
        held[piece].append(word)
    segments: list[Segment] = []
    for text_of, own in zip(pieces, held, strict=True):
        before = segments[-1].end_s if segments else start_s
        segments.append(
            Segment(own[0].start_s if own else before, own[-1].end_s if own else before, text_of, tuple(own))
        )  # fmt: skip
    return segments


def rising(timed: Iterable[Word], seconds: float) -> tuple[Word, ...]:
    """The words with their times clipped to rise and to stay inside a chunk of `seconds`."""
    words: list[Word] = []
    for word in timed:
        start_s = min(max(word.start_s, words[-1].end_s if words else 0.0), seconds)
        words.append(dataclasses.replace(word, start_s=start_s, end_s=min(max(word.end_s, start_s), seconds)))
    return tuple(words)


def _piece_indices(pieces: Sequence[str], words: Sequence[Word]) -> list[int]:
    """Index of each word's piece, never falling."""
    ends = list(itertools.accumulate(map(len, pieces)))
    indices, last = [], 0
    for places in letter_places("".join(pieces), [word.text for word in words], _letters):
        known = [at for at in places if at is not None]
        if known:
            last = bisect.bisect_right(ends, known[0])
        indices.append(last)
    return indices


def _letters(text: str) -> str:
    """The letters and digits of any script in `text`, in lower case."""
    return "".join(character for character in text.lower() if character.isalnum())


def has_words(text: str) -> bool:
    """Whether anything in `text` could be spoken."""
    return bool(_letters(text))

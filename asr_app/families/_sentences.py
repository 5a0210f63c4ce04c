"""From the punctuated text of one chunk to its sentences, for families whose models write punctuation themselves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from asr_app.datatypes import Segment, Word

# After a Mandarin full stop at once; after a Latin one only before a space, so that 3.5 and example.com stay whole.
_SENTENCE_END = re.compile(r"(?<=[。？！])\s*(?=\S)|(?<=[.?!])\s+(?=\S)")


def sentences(text: str, words: Sequence[Word], start_s: float, end_s: float) -> list[Segment]:
    """The sentences of `text` in [start_s, end_s], each with those of `words` that it holds.

    Letters tell which: number formatting may have rewritten some words, so it is shares of letters that are compared.
    Without words, times are taken as proportional to letters.
    """
    pieces = [piece for piece in _SENTENCE_END.split(text.strip()) if piece]
    if not pieces:
        return []
    ends = np.cumsum([max(1, letters(piece)) for piece in pieces])
    shares = ends / ends[-1]
    if not words:
        edges = [start_s, *(start_s + shares * (end_s - start_s)).tolist()]
        return [Segment(a, b, piece) for piece, (a, b) in zip(pieces, itertools.pairwise(edges), strict=True)]
    spoken = np.cumsum([max(1, letters(word.text)) for word in words])
    # The first word that ends at or after the sentence does is its last; rounding must not push it to the next one.
    last = np.searchsorted(spoken / spoken[-1], shares - 1e-9) + 1
    found: list[Segment] = []
    for piece, first, after in zip(pieces, [0, *last[:-1].tolist()], last.tolist(), strict=True):
        own = tuple(words[first:after])
        before = found[-1].end_s if found else start_s
        found.append(Segment(own[0].start_s if own else before, own[-1].end_s if own else before, piece, own))
    return found


def letters(text: str) -> int:
    """Letters and digits of any script in `text`."""
    return sum(character.isalnum() for character in text)

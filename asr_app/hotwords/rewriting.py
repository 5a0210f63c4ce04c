"""Puts other text in a place of a segment: its words follow and keep their times."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from asr_app.datatypes import Segment, Word
from asr_app.hotwords.tokens import key_of
from asr_app.strikes import Strike
from asr_app.text import is_spaceless, letter_places

Span = tuple[int, int] | None


def struck(segment: Segment, start: int, end: int, meant: str, hotword: str) -> Segment:
    """The segment with `meant` in place of the characters [start, end), and a strike that says so.

    Words of the place share the time of those that were there. Earlier strikes of the segment move with their text.
    """
    spans = word_spans(segment)
    inside = [i for i, span in enumerate(spans) if span is not None and span[0] < end and span[1] > start]
    text = segment.text[:start] + meant + segment.text[end:]
    start_s, end_s = times_of(segment, spans, start, end)
    words = segment.words
    if inside:
        first, last = spans[inside[0]], spans[inside[-1]]
        assert first is not None
        assert last is not None
        said = segment.text[min(start, first[0]) : start] + meant + segment.text[end : max(end, last[1])]
        replaced = words[inside[0] : inside[-1] + 1]
        words = (*words[: inside[0]], *_timed(said, replaced), *words[inside[-1] + 1 :])
    strike = Strike(start_s, end_s, segment.text[start:end], meant, hotword, start)
    moved = [_moved(s, start, end, len(meant)) for s in segment.strikes]
    return dataclasses.replace(
        segment, text=text, words=words, strikes=tuple(sorted([*moved, strike], key=lambda s: (s.start_s, s.at)))
    )


def times_of(segment: Segment, spans: Sequence[Span], start: int, end: int) -> tuple[float, float]:
    """Start and end in seconds of the characters [start, end): those of their words, else by their share of the text."""
    inside = [
        word for word, span in zip(segment.words, spans, strict=True) if span and span[0] < end and span[1] > start
    ]
    if inside:
        return inside[0].start_s, inside[-1].end_s
    length_s = segment.end_s - segment.start_s
    shares = (start / max(1, len(segment.text)), end / max(1, len(segment.text)))
    return segment.start_s + shares[0] * length_s, segment.start_s + shares[1] * length_s


def word_spans(segment: Segment) -> list[Span]:
    """[start, end) of each word in the segment's text; None for a word that the text has not (a number in digits)."""
    spans: list[Span] = []
    for places in letter_places(segment.text, [word.text for word in segment.words], _letters):
        known = [at for at in places if at is not None]
        spans.append((known[0], known[-1] + 1) if known and len(known) == len(places) else None)
    return spans


def _letters(text: str) -> str:
    """Letters, digits and their signs, as keys compare them."""
    return "".join(c for c in key_of(text) if c.isalnum())


def _timed(text: str, replaced: Sequence[Word]) -> list[Word]:
    """The words of `text` in the time of the words `replaced`: one by one if they are as many, else by their letters."""
    pieces = _pieces(text)
    if len(pieces) == len(replaced):
        return [dataclasses.replace(word, text=piece) for word, piece in zip(replaced, pieces, strict=True)]
    ends = np.cumsum([max(1, len(piece)) for piece in pieces])
    start_s, length_s = replaced[0].start_s, replaced[-1].end_s - replaced[0].start_s
    edges = [start_s, *(start_s + ends / ends[-1] * length_s).tolist()]
    return [Word(a, b, piece) for piece, (a, b) in zip(pieces, itertools.pairwise(edges), strict=True)]


def _pieces(text: str) -> list[str]:
    """Words without their marks: single characters of scripts without spaces, runs between spaces of the others."""
    spaced = "".join(f" {c} " if is_spaceless(c) else c for c in text)
    bare = (piece.strip("".join(c for c in piece if not c.isalnum())) for piece in spaced.split())
    return [piece for piece in bare if piece]


def _moved(strike: Strike, start: int, end: int, length: int) -> Strike:
    """The strike after `length` characters took the place of [start, end)."""
    if strike.at + len(strike.meant) <= start:
        return strike
    return dataclasses.replace(strike, at=strike.at + length - (end - start) if strike.at >= end else -1)

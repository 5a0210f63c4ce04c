"""Atoms of a transcript: words with their marks and times, between which a subtitle or a line may break."""

from __future__ import annotations

import functools
import itertools
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from asr_app.chinese import converted
from asr_app.datatypes import Segment, Word
from asr_app.folders import cache
from asr_app.subtitles.rules import Ruler, begins_with_closing
from asr_app.text import graphemes, is_phrased, is_spaceless, letter_places, words_of_phrases

if TYPE_CHECKING:
    import jieba

# Costs of a break. The sources of rules.py: after punctuation, before conjunctions and prepositions.
SENTENCE, CLAUSE, PHRASE, BEFORE_FUNCTION, WORD, CLINGING, INSIDE = 0.0, 1.0, 1.5, 2.0, 3.0, 8.0, 25.0
_SENTENCE_MARKS, _CLAUSE_MARKS = ".?!…。？！؟।", ",;:，、；：،؛"
_CLOSING = "\"'”’」』）)】》〉]"
_PAUSE_S = 0.3  # a breath
# English words before which a line breaks well, and after which it breaks badly; then those it breaks badly after only.
_LEADING = frozenset({
    "and", "but", "or", "nor", "so", "yet", "because", "although", "though", "while", "when", "where", "if", "unless",
    "until", "since", "that", "which", "who", "whom", "whose", "as", "than", "of", "in", "on", "at", "by", "for", "with",
    "from", "to", "into", "onto", "over", "under", "about", "after", "before", "between", "through", "during", "against",
    "without", "within",
})  # fmt: skip
_BOUND = frozenset({
    "a", "an", "the", "my", "your", "his", "her", "its", "our", "their", "this", "these", "those", "no", "not", "very",
    "i", "we", "he", "she", "they", "is", "are", "was", "were", "be", "been", "has", "have", "had", "do", "does", "did",
    "can", "could", "may", "might", "must", "shall", "should", "will", "would",
})  # fmt: skip
_PARTICLES = frozenset("的了着过们地得吗呢吧啊嘛著過們嗎")  # of Chinese; they belong to the word before
_HIRAGANA = re.compile(r"[\u3041-\u309f]+")
_SPACELESS_RUN = re.compile(r"[\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]+")
_TRAILING = ("Pc", "Pd", "Pe", "Pf", "Po")  # punctuation that belongs to the word before it
_JUST_BEFORE = 0.5  # a character's end lies this much before the next one's start, which may be a pause later


@dataclass(frozen=True, slots=True)
class Atom:
    """A word with its marks; seconds from the start of the recording.

    `spaced` is set if a space stands before it. `breaks` is the cost of a break after it. `apart` is set if a subtitle
    must end after it: somebody else than `speaker` speaks then.
    """

    text: str
    spaced: bool
    start_s: float
    end_s: float
    breaks: float = SENTENCE
    apart: bool = False
    speaker: str | None = None


def atoms_of(segments: Sequence[Segment], ruler: Ruler, named: bool = False) -> list[Atom]:
    """The atoms of all segments. No atom starts before the previous one. A segment of marks alone has none.

    With `named`, the first words of a speaker come after the name: `Anna: Good morning.`
    """
    atoms: list[Atom] = []
    speaker: str | None = None
    for segment in segments:
        text = " ".join(segment.text.split())
        if all(c.isspace() or _is_mark(c) for c in text):
            continue
        while begins_with_closing(text):
            text = text[1:].lstrip()
        if named and segment.speaker and segment.speaker != speaker:
            own = _with_name(segment, segment.speaker, text, ruler)
        else:
            own = _timed(segment, text, ruler)
        if atoms:
            last = atoms[-1]
            spaced = not (is_spaceless(last.text[-1]) or is_spaceless(own[0].text[0]))
            breaks = min(PHRASE, _between(last.text, own[0].text, True, own[0].start_s - last.end_s))
            atoms[-1] = replace(last, breaks=breaks, apart=segment.speaker != speaker)
            own[0] = replace(own[0], spaced=spaced)
        atoms += [replace(atom, speaker=segment.speaker) for atom in own]
        speaker = segment.speaker
    return list(_rising(atoms))


def _with_name(segment: Segment, name: str, text: str, ruler: Ruler) -> list[Atom]:
    """The atoms of `name: text`. A break inside or after the name is a bad one."""
    shown = " ".join(name.split())
    while begins_with_closing(shown):
        shown = shown[1:].lstrip()
    own, length = _timed(segment, f"{shown}: {text}", ruler), len(shown) + 1
    done = 0
    for i, atom in enumerate(own):
        done += len(atom.text) + (atom.spaced and i > 0)
        own[i] = replace(atom, breaks=max(atom.breaks, CLINGING))
        if done >= length:
            break
    return own


def joined(atoms: Sequence[Atom]) -> str:
    """The text of `atoms` as one line."""
    return "".join((" " if atom.spaced and i else "") + atom.text for i, atom in enumerate(atoms))


def _rising(atoms: Sequence[Atom]) -> Iterator[Atom]:
    latest_s = 0.0
    for atom in atoms:
        latest_s = max(latest_s, atom.start_s)
        yield replace(atom, start_s=latest_s, end_s=max(latest_s, atom.end_s))


def _timed(segment: Segment, text: str, ruler: Ruler) -> list[Atom]:
    borders, inside = _borders(text, ruler)
    pieces = _pieces(text, borders)
    clock_at, clock_s = _clock_points(segment, text)
    starts_s = np.interp([start for start, _ in pieces], clock_at, clock_s).tolist()
    ends_s = np.interp([end - _JUST_BEFORE for _, end in pieces], clock_at, clock_s).tolist()
    atoms = [
        Atom(text[a:b], text[a - 1 : a] == " ", start_s, end_s)
        for (a, b), start_s, end_s in zip(pieces, starts_s, ends_s, strict=True)
    ]
    for i, ((_, end), (start, _)) in enumerate(itertools.pairwise(pieces)):
        here, after = atoms[i], atoms[i + 1]
        cost = INSIDE if start in inside else _between(here.text, after.text, end < start, after.start_s - here.end_s)
        atoms[i] = replace(here, breaks=cost)
    return atoms


def _between(before: str, after: str, space: bool, pause_s: float) -> float:
    """Cost of a break between two words."""
    end = before.rstrip(_CLOSING)[-1:]
    if end and end in _SENTENCE_MARKS and not (end == "." and after[:1].islower()):  # i.e. ends no sentence
        return SENTENCE
    if end and end in _CLAUSE_MARKS:
        return CLAUSE
    if space and is_phrased(before[-1]):  # Thai has spaces between phrases only
        return CLAUSE
    bare = _bare(after)
    if bare in _PARTICLES or _HIRAGANA.fullmatch(bare):
        return CLINGING
    if pause_s >= _PAUSE_S:
        return PHRASE
    if _bare(before) in _BOUND or _bare(before) in _LEADING:
        return CLINGING
    return BEFORE_FUNCTION if bare in _LEADING else WORD


def _borders(text: str, ruler: Ruler) -> tuple[set[int], set[int]]:
    """Starts of words where no space tells them, and those places inside a word that is wider than a line."""
    borders = {start for start, _ in words_of_phrases(text)}
    for run in _SPACELESS_RUN.finditer(text):
        borders |= {run.start() + start for start in _word_starts(run[0], ruler.japanese)}
    inside: set[int] = set()
    for start, end in _pieces(text, borders):
        if ruler.width(text[start:end]) > 1:
            inside |= {start + first for first, _ in graphemes(text[start:end]) if first}
    return borders | inside, inside


def _word_starts(run: str, japanese: bool) -> Iterator[int]:
    """Starts of the words in a run of East Asian characters: by jieba in Chinese, by ICU's dictionary in Japanese."""
    if japanese:
        from icu4py.breakers import WordBreaker

        yield from (start for start, _ in WordBreaker(run, "ja").segments())
        return
    simplified = converted(run, "zh", "simplified")  # jieba's dictionary has few traditional words
    at = 0
    for word in _jieba().cut(simplified if len(simplified) == len(run) else run):
        yield at
        at += len(word)


@functools.cache
def _jieba() -> jieba.Tokenizer:
    import jieba

    logging.getLogger("jieba").setLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.tmp_dir = str(folder)  # its own default is a file in /tmp that anybody may have put there
    return tokenizer


def _pieces(text: str, borders: set[int]) -> list[tuple[int, int]]:
    """[start, end) of each word with its marks. No piece begins with a closing mark or ends with an opening one."""
    pieces: list[tuple[int, int]] = []
    opened = False  # an opening bracket or quote belongs to the next character
    for at, character in enumerate(text):
        if character.isspace():
            continue
        kind = unicodedata.category(character)
        opens = kind in ("Ps", "Pi")
        before = text[at - 1] if at else " "
        clings = opened or (kind[0] == "P" and not opens)
        begins = opens or at in borders or is_spaceless(character) != is_spaceless(before)
        if pieces and pieces[-1][1] == at and (clings or not begins):
            pieces[-1] = (pieces[-1][0], at + 1)
        else:
            pieces.append((at, at + 1))
        opened = opens
    merged: list[tuple[int, int]] = []
    for start, end in pieces:  # a mark between two spaces stays with the word before it
        alone = all(_is_mark(c) for c in text[start:end]) and unicodedata.category(text[end - 1]) not in ("Ps", "Pi")
        merged.append((merged.pop()[0], end) if merged and alone else (start, end))
    return merged


def _clock_points(segment: Segment, text: str) -> tuple[list[float], list[float]]:
    """Positions in the text, rising, and their seconds: the segment's ends, and every word that occurs in the text.

    A model's words have no punctuation, and number formatting may have rewritten them, so not all of them occur. Times
    between two that do, or in a segment without words, are interpolated by characters.
    """
    at: list[float] = []
    seconds: list[float] = []
    for start, end, word in words_in(text, segment.words):
        at += [float(start), end - _JUST_BEFORE]
        seconds += [word.start_s, word.end_s]
    last = len(text) - _JUST_BEFORE
    if not at or at[0] > 0:
        at, seconds = [0.0, *at], [segment.start_s, *seconds]
    if at[-1] < last:
        at, seconds = [*at, last], [*seconds, segment.end_s]
    return at, np.clip(seconds, segment.start_s, max(segment.start_s, segment.end_s)).tolist()


def words_in(text: str, words: Sequence[Word]) -> Iterator[tuple[int, int, Word]]:
    """Yields [start, end) and the word for each of `words` that occurs in the text, with the marks that follow it.

    They are compared letter by letter: a model cuts Thai and Chinese into other pieces than a dictionary does.
    """
    for word, places in zip(words, letter_places(text, [word.text for word in words], _bare), strict=True):
        if not places or places[0] is None or places[-1] is None:
            continue
        end = places[-1] + 1
        while end < len(text) and unicodedata.category(text[end]) in _TRAILING:
            end += 1
        yield places[0], end, word


def _bare(text: str) -> str:
    return "".join(c for c in text if not (_is_mark(c) or c.isspace())).lower()


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "P"

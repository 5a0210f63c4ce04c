"""Rules that put a hotword where a text has something else: as the user wrote it, or by the sound of a bare word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import DamerauLevenshtein, Prefix

from asr_app.datatypes import Segment
from asr_app.hotwords import lexicon, sounds
from asr_app.hotwords.lines import Line, is_bare, parse
from asr_app.hotwords.rewriting import struck
from asr_app.hotwords.tokens import Token, is_han, tokens

# Edits by which the spelling of a heard word may differ from a bare word of so many letters.
_EDITS = ((5, 1), (8, 2), (12, 3))
_LONG = 8
_ENDING = 3  # letters at the end in which words differ by grammar: Warszawa, Warszawie


@dataclass(frozen=True)
class _Match:
    """Tokens [start, end) of a text that a line's word replaces."""

    start: int
    end: int
    line: Line


@dataclass(frozen=True)
class _Spelled:
    """A bare word of an alphabet: its letters in one piece and the number of its tokens."""

    line: Line
    letters: str
    count: int


class Rules:
    """The rules of a job's hotwords; they apply to any text. The same lines give the same result."""

    def __init__(self, hotwords: Sequence[str], native: bool) -> None:
        """`native`: the model takes bare words itself, and they are no rules here."""
        self._exact: dict[tuple[str, ...], Line] = {}
        self._toned: dict[tuple[str, ...], Line] = {}
        self._near: dict[tuple[str, ...], Line] = {}
        self._read: dict[str, tuple[str, ...]] = {}  # syllables by the line
        self._spelled: list[_Spelled] = []
        self._bare: set[tuple[str, ...]] = set()
        for line in map(parse, hotwords):
            if not is_bare(line):
                self._exact.setdefault(_keys(line.heard), line)
            elif not native:
                self._add(line)

    def _add(self, line: Line) -> None:
        keys, said, way = _keys(line.meant), tokens(line.meant), sounds.way_of(line.meant)
        self._bare.add(keys)
        if way == "pinyin":
            read = sounds.syllables(said)
            self._read[line.text] = tuple(read)
            self._toned.setdefault(tuple(read), line)
            if sum(map(is_han, keys)) > sounds.FEWEST_CHARACTERS:
                self._near.setdefault(tuple(map(sounds.near, read)), line)
        elif way == "spelling":
            self._spelled.append(_Spelled(line, "".join(keys), len(keys)))

    def apply(self, segment: Segment) -> Segment:
        """The segment with its hotwords, and a strike for each place that changed."""
        if not (self._exact or self._bare):
            return segment
        said = tokens(segment.text)
        for match in sorted(self._matches(said), key=lambda m: -m.start):  # from the end: places before it stay
            start, end = said[match.start].start, said[match.end - 1].end
            if segment.text[start:end] != match.line.meant:
                segment = struck(segment, start, end, match.line.meant, match.line.text)
        return segment

    def _matches(self, said: Sequence[Token]) -> list[_Match]:
        """Matches that do not overlap: rules first, then bare words in Chinese, then those of alphabets."""
        keys = tuple(token.key for token in said)
        free = [True] * len(said)
        found = _take(_longest(self._exact, keys, said), free)
        for i, j in _windows(said, sorted({len(entry) for entry in self._bare})):
            if keys[i:j] in self._bare:  # the word itself was heard
                free[i:j] = [False] * (j - i)
        if self._toned and any(free):
            read = sounds.syllables(said)
            for table, heard in ((self._toned, read), (self._near, [sounds.near(s) for s in read])):
                matches = _longest(table, tuple(heard), said)
                found += _take((m for m in matches if self._misheard(keys, read, m)), free)
        if self._spelled and any(free):
            found += _take(self._by_spelling(keys, said), free)
        return found

    def _misheard(self, keys: Sequence[str], read: Sequence[str], match: _Match) -> bool:
        """Whether the match may stand for its word: it is no word of its own, and sounds like it but for a few tones.

        Two characters sound like another word often by chance: neither may belong to a word with its neighbour, and they
        may not both be frequent words, as in 这是十年.
        """
        start, end = match.start, match.end
        meant = self._read[match.line.text]
        if lexicon.is_chinese_word("".join(keys[start:end])):
            return False
        if end - start > sounds.FEWEST_CHARACTERS:
            return sounds.strangeness(read[start:end], meant) <= (end - start - 1) // 2
        cut = any(lexicon.is_chinese_word("".join(keys[max(0, i - 1) : i + 1])) for i in (start, end))
        return not cut and not all(map(lexicon.is_frequent, keys[start:end]))

    def _by_spelling(self, keys: Sequence[str], said: Sequence[Token]) -> Iterator[_Match]:
        """Matches by spelling: fewest edits first, then the longest, then in order."""
        words = [word.letters for word in self._spelled]
        most = max(word.count for word in self._spelled) + 1
        scored = []
        for i, j in _windows(said, range(1, most + 1)):
            letters = "".join(keys[i:j])
            near = process.extract(
                letters, words, scorer=DamerauLevenshtein.distance, score_cutoff=_EDITS[-1][1], limit=None
            )
            for _, edits, number in near:
                if _may_stand_for(keys[i:j], self._spelled[number], int(edits)):
                    scored.append((edits, -len(letters), i, number, _Match(i, j, self._spelled[number].line)))
        for *_, match in sorted(scored, key=lambda entry: entry[:4]):
            yield match


def _may_stand_for(heard: Sequence[str], word: _Spelled, edits: int) -> bool:
    """Whether the tokens `heard`, which differ by so many edits, may be a misspelling of the word.

    Common words are no misspellings, nor are words with another ending or other digits. Short ones begin alike.
    """
    letters = "".join(heard)
    if edits > max((most for length, most in _EDITS if len(word.letters) >= length), default=0):
        return False
    if len(heard) > word.count + 1 or _digits(letters) != _digits(word.letters):
        return False
    if all(map(lexicon.is_common, heard)) and (len(heard) == 1 or edits > 1):
        return False
    if len(letters) < _LONG and len(heard) == 1 and letters[0] != word.letters[0]:
        return False
    same = Prefix.similarity(letters, word.letters)
    return edits == 0 or max(len(letters), len(word.letters)) - same > _ENDING


def _longest(table: Mapping[tuple[str, ...], Line], keys: Sequence[str], said: Sequence[Token]) -> Iterator[_Match]:
    """The entries of the table among the keys, from the left, the longest first."""
    lengths = sorted({len(entry) for entry in table}, reverse=True)
    for i, j in sorted(_windows(said, lengths), key=lambda window: (window[0], -window[1])):
        line = table.get(tuple(keys[i:j]))
        if line is not None:
            yield _Match(i, j, line)


def _windows(said: Sequence[Token], lengths: Iterable[int]) -> Iterator[tuple[int, int]]:
    """[start, end) of each run of so many tokens that belong to one phrase."""
    for length in lengths:
        for i in range(len(said) - length + 1):
            if all(token.follows for token in said[i + 1 : i + length]):
                yield i, i + length


def _take(matches: Iterable[_Match], free: list[bool]) -> list[_Match]:
    """The matches whose tokens are all free; they are so no longer."""
    taken = []
    for match in matches:
        if all(free[match.start : match.end]):
            free[match.start : match.end] = [False] * (match.end - match.start)
            taken.append(match)
    return taken


def _keys(text: str) -> tuple[str, ...]:
    return tuple(token.key for token in tokens(text))


def _digits(letters: str) -> str:
    return "".join(c for c in letters if c.isdigit())

"""Spaces and breaks in a line of text that mixes scripts with and without spaces between words; letters of words in a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

# Scripts written without spaces between words: CJK ideographs, kana, and their punctuation.
_SPACELESS = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")

# Scripts that put spaces between phrases, not words, and are as narrow as Latin: Thai, Lao, Burmese, Khmer.
_PHRASED = re.compile(
    r"[\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3\u17dd\ua9e0-\ua9ff\uaa60-\uaa7f]+"
)


def is_spaceless(character: str) -> bool:
    """Whether `character` belongs to a script that puts no spaces between words."""
    return bool(_SPACELESS.match(character))


def is_phrased(character: str) -> bool:
    """Whether `character` belongs to a script that puts spaces between phrases only."""
    return bool(_PHRASED.match(character))


def words_of_phrases(text: str) -> Iterator[tuple[int, int]]:
    """[start, end) of each word in the stretches of `text` that are written without spaces between words.

    ICU's dictionaries, which browsers use too, find the words. Unknown text stays in one piece.
    """
    from icu4py.breakers import LineBreaker  # 10 MB of memory for most, who never need it

    # Stretch by stretch, as icu4py counts an emoji before it twice.
    for stretch in _PHRASED.finditer(text):
        for start, end in LineBreaker(stretch[0], "en").segments():
            yield stretch.start() + start, stretch.start() + end


def graphemes(text: str) -> list[tuple[int, int]]:
    """[start, end) of each character as readers see it, with its vowel signs and tone marks."""
    from icu4py.breakers import CharacterBreaker

    return list(CharacterBreaker(text, "en").segments())


def join(pieces: Iterable[str]) -> str:
    """Pieces in a row, with a space only between two that both need one: `["你好", "good", "day"]` -> `你好good day`."""
    line = ""
    for piece in pieces:
        if not piece:
            continue
        spaced = line and not is_spaceless(line[-1]) and not is_spaceless(piece[0])
        line += (" " if spaced else "") + piece
    return line


def letter_places(text: str, words: Sequence[str], letters: Callable[[str], str]) -> list[list[int | None]]:
    """For each word, the index in `text` of each of its letters; None for a letter that the text lacks.

    The words stand in the text in this order, with other marks, or with some of them rewritten. `letters` gives what is
    compared of a string, such as its letters in lower case; one character may give several. The indices rise.
    """
    from rapidfuzz.distance import Levenshtein

    written = [(letter, i) for i, character in enumerate(text) for letter in letters(character)]
    spoken = [(letter, i) for i, word in enumerate(words) for letter in letters(word)]
    places: list[list[int | None]] = [[] for _ in words]
    for step in Levenshtein.opcodes([letter for letter, _ in spoken], [letter for letter, _ in written]):
        for i in range(step.src_start, step.src_end):
            at = step.dest_start + i - step.src_start
            places[spoken[i][1]].append(written[at][1] if step.tag == "equal" else None)
    return places

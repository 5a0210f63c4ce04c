"""Sound of a bare word: the pinyin of Chinese characters, the spelling of words of alphabets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

from asr_app.hotwords import lexicon
from asr_app.hotwords.tokens import Token, is_han, stands_alone, tokens

FEWEST_CHARACTERS = 2  # Chinese ones of a bare word: a single one sounds like dozens of others
FEWEST_LETTERS = 5
_NEAR = (("zh", "z"), ("ch", "c"), ("sh", "s"))  # initials, and the nasal endings below, that speakers mix up


def way_of(word: str) -> str:
    """The way in which a bare word is matched: "pinyin", "spelling", or "none".

    "none" is for short words, other scripts, and common words: those have too many neighbours that are right as they
    are. Chinese words of three characters have few.
    """
    keys = [token.key for token in tokens(word)]
    characters = sum(map(is_han, keys))
    if characters >= FEWEST_CHARACTERS:
        is_known = characters == FEWEST_CHARACTERS and lexicon.is_chinese_word("".join(keys))
        return "none" if is_known else "pinyin"
    letters = "".join(keys)
    if len(letters) < FEWEST_LETTERS or any(map(stands_alone, letters)) or all(map(lexicon.is_common, keys)):
        return "none"
    return "spelling"


def syllables(said: Sequence[Token]) -> list[str]:
    """The pinyin with its tone of each Chinese character, read in its phrase; `=` and the key of any other token."""
    from pypinyin import Style, lazy_pinyin  # 30 MB of memory, for those who use it

    read: list[str] = []
    for han, run in itertools.groupby(said, key=lambda token: is_han(token.key)):
        keys = [token.key for token in run]
        read += (
            lazy_pinyin("".join(keys), style=Style.TONE3, neutral_tone_with_five=True)
            if han
            else [f"={key}" for key in keys]
        )
    return read


@functools.lru_cache(maxsize=4096)
def toneless(syllable: str) -> str:
    """The syllable without its tone."""
    return syllable if syllable.startswith("=") else syllable.rstrip("12345")


@functools.lru_cache(maxsize=4096)
def near(syllable: str) -> str:
    """The syllable without its tone, and with sounds that speakers mix up as one: zh and z, ing and in."""
    plain = toneless(syllable)
    if plain.startswith("="):
        return plain
    for initial, other in _NEAR:
        if plain.startswith(initial):
            plain = other + plain[len(initial) :]
    return plain[:-1] if plain.endswith("ng") and plain[-3:-2] in ("i", "e", "a") else plain


def strangeness(read: Sequence[str], meant: Sequence[str]) -> int:
    """Number of tones and of mixed-up sounds in which syllables differ that are equal for `near`."""
    pairs = list(zip(read, meant, strict=True))
    tones = sum(one[-1] != other[-1] for one, other in pairs if not one.startswith("="))
    return tones + sum(toneless(one) != toneless(other) for one, other in pairs)

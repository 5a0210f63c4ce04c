"""Units of a text that hotwords are compared by: words of alphabets with spaces, single characters of other scripts."""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass

import opencc

from asr_app.text import is_phrased, is_spaceless

_TIGHT = "-'’ʼ.·_/&\u200c\u200d"  # inside a phrase if nothing else is between two tokens: `don't`, `4.1`, `AT&T`


@dataclass(frozen=True)
class Token:
    """[start, end) in a text. `key` is what is compared: NFKC, lower case, simplified characters.

    `follows`: it belongs to the same phrase as the token before, with nothing, spaces or one of `_TIGHT` between them.
    """

    start: int
    end: int
    key: str
    follows: bool


def tokens(text: str) -> list[Token]:
    """The tokens of `text` in order. Marks and symbols are none."""
    found: list[Token] = []
    start = 0
    while start < len(text):
        if not text[start].isalnum():
            start += 1
            continue
        end = start + 1
        while end < len(text) and (_is_mark(text[end]) or _continues(text[start], text[end])):
            end += 1
        found.append(Token(start, end, key_of(text[start:end]), bool(found) and _joins(text[found[-1].end : start])))
        start = end
    return found


@functools.lru_cache(maxsize=20_000)
def key_of(text: str) -> str:
    """The form in which a token is compared."""
    return _to_simplified().convert(unicodedata.normalize("NFKC", text).casefold())


def is_han(key: str) -> bool:
    """Whether the key is a single Chinese character."""
    return len(key) == 1 and ("\u3400" <= key <= "\u9fff" or "\uf900" <= key <= "\ufaff")


def _continues(first: str, character: str) -> bool:
    """Whether `character` belongs to the word that begins with `first`."""
    return character.isalnum() and not stands_alone(first) and not stands_alone(character)


def stands_alone(character: str) -> bool:
    """Whether `character` is a token of its own: its script has no spaces, or joins particles to words (Korean)."""
    return is_spaceless(character) or is_phrased(character) or "\uac00" <= character <= "\ud7af"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _joins(between: str) -> bool:
    return not between.strip() or (len(between) == 1 and between in _TIGHT)


@functools.cache
def _to_simplified() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")

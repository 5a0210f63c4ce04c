"""Common words, which a model writes because it heard them: a hotword of a like sound does not take their place.

Both lists come with libraries that the app needs anyway. They are read as data, without importing the libraries.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import re
from pathlib import Path

# jieba's counts, of a corpus of some 60 million words: rarer entries are names and fragments.
_LEAST_COUNT = 5
_FREQUENT = 5000
_ENDINGS = ("'s", "s", "es", "ed", "d", "ing", "ly", "er", "est", "r")
_LETTERS = re.compile(r"[^\W\d_]+")


def is_common(word: str) -> bool:
    """Whether a word (a key of tokens.py) is common in a language with spaces, maybe with an English ending.

    The words are those that are one token in Whisper's vocabulary, which was learned by frequency.
    """
    words = _vocabulary()
    if word in words:
        return True
    stems = [word[: -len(ending)] for ending in _ENDINGS if word.endswith(ending) and len(word) > len(ending) + 2]
    return any(stem in words or f"{stem}e" in words for stem in stems)


def is_chinese_word(text: str) -> bool:
    """Whether `text`, two or more simplified characters, is a word of jieba's dictionary."""
    return text in _dictionary()[0]


def is_frequent(character: str) -> bool:
    """Whether a simplified character is a frequent word by itself, such as 是 and 十."""
    return character in _dictionary()[1]


@functools.cache
def _vocabulary() -> frozenset[str]:
    lines = (_package("whisper") / "assets" / "multilingual.tiktoken").read_bytes().splitlines()
    pieces = (base64.b64decode(line.split()[0]).decode("utf-8", "ignore") for line in lines if line)
    words = (piece[1:].casefold() for piece in pieces if piece.startswith(" "))
    return frozenset(word for word in words if _LETTERS.fullmatch(word))


@functools.cache
def _dictionary() -> tuple[frozenset[str], frozenset[str]]:
    """The words of two or more characters, and the frequent single ones."""
    words, single = [], []
    with (_package("jieba") / "dict.txt").open(encoding="utf-8") as file:
        for line in file:
            word, count, *_ = line.split()
            if len(word) > 1 and int(count) >= _LEAST_COUNT:
                words.append(word)
            elif len(word) == 1 and int(count) >= _FREQUENT:
                single.append(word)
    return frozenset(words), frozenset(single)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent

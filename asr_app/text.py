"""How Mandarin characters and Latin words stand next to each other in a line of text."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Scripts written without spaces between words: CJK ideographs, kana, and their punctuation.
_SPACELESS = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")


def is_spaceless(character: str) -> bool:
    """Whether `character` belongs to a script that puts no spaces between words."""
    return bool(_SPACELESS.match(character))


def join(pieces: Iterable[str]) -> str:
    """Pieces in a row, with a space only between two that both need one: `["你好", "good", "day"]` -> `你好good day`."""
    line = ""
    for piece in pieces:
        if not piece:
            continue
        spaced = line and not is_spaceless(line[-1]) and not is_spaceless(piece[0])
        line += (" " if spaced else "") + piece
    return line

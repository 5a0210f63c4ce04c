"""SeACo-Paraformer that takes hotwords as a list of words.

FunASR takes one string instead. It opens the string as a file if that exists, and fetches it as a URL if it begins with
"http". Source: https://github.com/modelscope/FunASR (funasr/models/seaco_paraformer/model.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from funasr.models.seaco_paraformer.model import SeacoParaformer as _SeacoParaformer

_BY_LETTER = re.compile(r"[\u4E00-\u9FA50-9]+")


class SeacoParaformer(_SeacoParaformer):
    """FunASR's module. In `inference`, `hotword` is None or a list of words without spaces."""

    def __init__(self, *, seg_dict: Path, **given: Any) -> None:
        super().__init__(**given)
        self._pieces: dict[str, list[str]] | None = None  # of each word; None splits no word
        if seg_dict.is_file():
            with seg_dict.open(encoding="utf-8") as file:
                lines = [line.split() for line in file]
            self._pieces = {line[0]: line[1:] for line in lines if line}

    def generate_hotwords_list(
        self, hotwords: Sequence[str] | None, tokenizer: Any = None, frontend: Any = None
    ) -> list[list[int]] | None:
        """Token ids of each hotword. The last entry stands for "no hotword"."""
        if hotwords is None:
            return None
        ids = [tokenizer.tokens2ids(self._split(word)) for word in hotwords]
        return [*(one for one in ids if one), [self.sos]]

    def _split(self, word: str) -> list[str]:
        if self._pieces is None:
            return [word]
        word = word.lower()
        if word in self._pieces:
            return self._pieces[word]
        if not _BY_LETTER.fullmatch(word):
            return ["<unk>"]
        return [piece for letter in word for piece in self._pieces.get(letter, ["<unk>"])]

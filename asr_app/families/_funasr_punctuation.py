"""CT-Transformer: the punctuation mark after each word of a text.

FunASR's own `inference` downloads a text that begins with "http", so its parts are called here.
Source: https://github.com/modelscope/FunASR (funasr/models/ct_transformer/model.py); Chen et al., 2020 (arXiv 2003.01309).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_app.errors import UserError
from asr_app.families._funasr_model import FunAsrModel, load_model

_STRETCH = 20  # pieces that are added to the model's input at a time
_LONGEST = 200  # pieces without the end of a sentence, after which a comma ends one
_ENDS = ("。", "？")


class Punctuation:
    """A loaded CT-Transformer."""

    def __init__(self, model: FunAsrModel, words: Any, threads: int) -> None:
        """`words` splits Chinese into the words of the vocabulary (a jieba.Tokenizer); None for one of characters."""
        self._model, self._words, self._threads = model, words, threads
        self.module: nn.Module = model.module

    @torch.no_grad()
    def marks(self, words: Sequence[str]) -> list[str]:
        """The mark after each word; `_` is none, and the last word always has one.

        `words` hold no spaces. FunASR splits them into tokens: runs of ASCII and single characters, or the words of its
        dictionary. A word ends with the mark of the token that ends there.
        """
        from funasr.models.ct_transformer.utils import split_to_mini_sentence, split_words

        torch.set_num_threads(self._threads)
        module: Any = self.module
        names: list[str] = module.punc_list
        tokens: list[str] = split_words(" ".join(words), jieba_usr_dict=self._words)
        stretches = split_to_mini_sentence(tokens, _STRETCH)
        marks: list[int] = []
        pending: list[str] = []  # tokens after the last end of a sentence
        for stretch in stretches:
            pending = pending + stretch
            indices = self._predict(pending)
            if stretch is stretches[-1]:
                if not _has_end(pending[-1], names[indices[-1]]):
                    indices[-1] = module.sentence_end_id
                marks += indices
                break
            end = _last_end([names[i] for i in indices])
            if end is None and len(pending) > _LONGEST:
                end = _last_comma([names[i] for i in indices])
                if end is not None:
                    indices[end] = module.sentence_end_id
            if end is not None:
                marks += indices[: end + 1]
                pending = pending[end + 1 :]
        after = dict(zip(itertools.accumulate(map(len, tokens)), marks, strict=True))
        ends = list(itertools.accumulate(map(len, words)))
        return [names[after[end]] if end in after else "_" for end in ends]

    def _predict(self, tokens: list[str]) -> list[int]:
        """Index of the likeliest mark after each token."""
        ids = self._model.tokenizer.tokens2ids(tokens)
        text = torch.tensor([ids], device=self._model.device)
        lengths = torch.tensor([len(ids)], dtype=torch.int32, device=self._model.device)
        scores, _ = self._model.module.punc_forward(text=text, text_lengths=lengths)
        indices: list[int] = scores[0].topk(1, dim=1)[1].squeeze(1).tolist()
        return indices


def load(folder: Path, device: str, threads: int, *, empty: bool = False) -> Punctuation:
    """The model of `folder`. Raises UserError as `load_model`, and for a damaged dictionary."""
    model = load_model(folder, ("CTTransformer",), device, threads, empty=empty)
    dictionary = folder / "jieba_usr_dict"
    if not dictionary.is_file():
        return Punctuation(model, None, threads)
    import jieba

    words = jieba.Tokenizer()
    try:
        words.load_userdict(str(dictionary))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder.name}: {dictionary.name} is damaged ({error}). Download the model again.",
            f"{folder.name}：{dictionary.name} 已损坏。请重新下载模型。",
        ) from error
    return Punctuation(model, words, threads)


def _last_end(marks: list[str]) -> int | None:
    """Index of the last end of a sentence. The first two marks and the last one are too uncertain to count."""
    return next((i for i in range(len(marks) - 2, 1, -1) if marks[i] in _ENDS), None)


def _last_comma(marks: list[str]) -> int | None:
    return next((i for i in range(len(marks) - 2, 1, -1) if marks[i] == "，"), None)


def _has_end(token: str, mark: str) -> bool:
    """Whether the text ends as a sentence: by its last mark or, without one, by its last character."""
    return (token if mark == "_" else mark)[-1] in ".?。？"

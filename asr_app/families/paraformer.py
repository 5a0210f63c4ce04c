"""Paraformer: non-autoregressive recognition, with CT-Transformer punctuation, through FunASR.

Three kinds share this file: plain Paraformer, BiCif (word times by a second predictor) and SeACo (hotwords as well).
Sources: Gao et al., 2022 (arXiv 2206.08317); Shi et al., SeACo-Paraformer, 2023 (2308.03266);
https://github.com/modelscope/FunASR.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment, Word
from asr_app.families._funasr import (
    FSMN_VAD,
    SANM_DECODER,
    SANM_ENCODER,
    local_card,
    long_enough,
    repositories,
    runs,
    weighted_parts,
    workers,
)
from asr_app.families._funasr import needs as needs
from asr_app.families._funasr_config import model_class
from asr_app.families._sentences import rising
from asr_app.families.base import Engine, require
from asr_app.precision.enum import Precision
from asr_app.precision.recipes import rows
from asr_app.sources import Bundled
from asr_app.text import is_spaceless, join

if TYPE_CHECKING:
    from torch import nn

    from asr_app.families._funasr_model import FunAsrModel
    from asr_app.families._funasr_punctuation import Punctuation

NAME = "paraformer"
ROLES = ("model", "punctuation", "vad")
_STACKS = {"encoder": (SANM_ENCODER,), "decoder": (SANM_DECODER,)}
RECIPES = rows(
    ("encoder", "decoder", "seaco_decoder", "punctuation"),
    tables=("output_layer", "*.output_layer"),
    stacks=_STACKS,
    half=runs(_STACKS),
)
_CLASSES = ("Paraformer", "BiCifParaformer", "SeacoParaformer")
_PUNCTUATION = repositories("iic/punc_ct-transformer_cn-en-common-vocab471067-large", "v2.0.4", "funasr/ct-punc")
_ALL = (Precision.FP32, Precision.BF16, Precision.FP16, Precision.INT8)
_BASE = frozenset({"punctuation_model", "word_timestamps"})

CARDS = (
    ModelCard(
        id="demo-paraformer",
        family=NAME,
        title="Demo Paraformer (small vocabulary)",
        sources={"model": (Bundled("demo-paraformer"),), "punctuation": (Bundled("demo-punctuation"),)},
        size_mb=14,
        languages=("zh", "en"),
        licence="MIT",
        max_chunk_s=10.0,
        precisions=_ALL,
        capabilities=_BASE,
        note="demo",
        good_for="good_demo",
    ),
    ModelCard(
        id="paraformer-large",
        family=NAME,
        title="Paraformer-large (Mandarin)",
        sources={
            "model": repositories(
                "iic/speech_paraformer-large-vad-punc_asr_nat-zh-cn-16k-common-vocab8404-pytorch", "v2.0.4"
            ),
            "punctuation": _PUNCTUATION,
            "vad": FSMN_VAD,
        },
        size_mb=2000,
        languages=("zh", "en"),
        licence="Model License (FunASR)",
        max_chunk_s=20.0,
        precisions=_ALL,
        capabilities=_BASE,
        vad="fsmn",
        good_for="good_paraformer",
    ),
    ModelCard(
        id="paraformer-zh",
        family=NAME,
        title="SeACo-Paraformer (Mandarin, hotwords)",
        sources={
            "model": repositories(
                "iic/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch",
                "v2.0.4",
                "funasr/paraformer-zh",
            ),
            "punctuation": _PUNCTUATION,
            "vad": FSMN_VAD,
        },
        size_mb=2100,
        languages=("zh", "en"),
        licence="Model License (FunASR)",
        max_chunk_s=20.0,
        precisions=_ALL,
        capabilities=_BASE | {"hotwords"},
        vad="fsmn",
        good_for="good_paraformer_hotwords",
    ),
)

_ENDINGS = "。？！"
_LATIN_MARK = {"，": ",", "。": ".", "？": "?", "！": "!", "、": ","}


def recognises(folder: Path) -> bool:
    """Whether `folder` holds a model of this family."""
    return model_class(folder) in _CLASSES


def card_of(folder: Path) -> ModelCard:
    """The card of a local folder, with the family's defaults where its files say nothing."""
    capabilities = set(_BASE)
    if not (folder / "punctuation").is_dir():
        capabilities.discard("punctuation_model")
    if model_class(folder) == "SeacoParaformer":
        capabilities.add("hotwords")
    return local_card(folder, NAME, ("zh", "en"), _ALL, frozenset(capabilities))


def load(card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False) -> Engine:
    """Loads the recogniser and, if its folder exists, the punctuation. Raises UserError if either does not fit."""
    from asr_app.families._funasr_model import load_model

    model = load_model(folders["model"], _CLASSES, device, threads, empty=empty)
    punctuation = None
    if "punctuation" in folders:
        from asr_app.families._funasr_punctuation import load as load_punctuation

        punctuation = load_punctuation(folders["punctuation"], device, threads, empty=empty)
    plain = model_class(folders["model"]) == "Paraformer"
    return ParaformerEngine(card, model, punctuation, plain, workers(device, threads))


class ParaformerEngine:
    """Engine over FunASR's module: arrays in, words with times out."""

    def __init__(
        self, card: ModelCard, model: FunAsrModel, punctuation: Punctuation | None, plain: bool, workers: int
    ) -> None:
        self._card, self._model, self._punctuation, self.workers = card, model, punctuation, workers
        # Plain Paraformer outputs times, by its one predictor, only on request; the others always do.
        self._fixed = {"pred_timestamp": True} if plain else {}
        self.parts: dict[str, nn.Module] = weighted_parts(model.module)
        if punctuation is not None:
            self.parts["punctuation"] = punctuation.module

    def transcribe(self, batch: Sequence[np.ndarray], options: Options) -> list[list[Segment]]:
        """One unpunctuated segment a chunk, with its words; none without words."""
        require(self._card, options)
        asked: dict[str, Any] = dict(self._fixed)
        if options.hotwords:
            asked["hotword"] = " ".join(options.hotwords).split()
        return [self._chunk(samples, asked) for samples in batch]

    def _chunk(self, samples: np.ndarray, asked: dict[str, Any]) -> list[Segment]:
        seconds = len(samples) / SAMPLE_RATE
        if not samples.any():
            return []
        results = self._model.infer(long_enough(samples), **asked)
        if not results or not results[0]["text"]:
            return []
        tokens = split_tokens(results[0]["text"])
        words = _timed(tokens, results[0].get("timestamp") or [], seconds)
        return [Segment(words[0].start_s, words[-1].end_s, join(tokens), words)] if words else []

    def punctuate(self, words: Sequence[Word]) -> list[Segment]:
        """Sentences of the words, by CT-Transformer. They end at 。？！. Marks match the script before them."""
        if not words or self._punctuation is None:
            return []
        return sentences(words, self._punctuation.marks([w.text for w in words]))


def split_tokens(text: str) -> list[str]:
    """Splits Mandarin by character, everything else by run of letters: `打开 the light` -> 打, 开, the, light."""
    return re.findall(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\s\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+", text)


def _timed(tokens: list[str], timestamps: list[list[int]], seconds: float) -> tuple[Word, ...]:
    """Tokens with their times (ms in, seconds out), rising and inside the chunk.

    FunASR merges spelled letters into one token and then has more times than tokens; spread evenly they stay rising.
    """
    if len(timestamps) != len(tokens):
        start, end = (timestamps[0][0], timestamps[-1][1]) if timestamps else (0.0, seconds * 1000)
        edges = np.linspace(start, end, len(tokens) + 1)
        timestamps = [[a, b] for a, b in itertools.pairwise(edges)]
    timed = zip(timestamps, tokens, strict=True)
    return rising((Word(start / 1000, end / 1000, token) for (start, end), token in timed), seconds)


def sentences(words: Sequence[Word], marks: Sequence[str]) -> list[Segment]:
    """Cuts `words` into segments after each sentence mark. `_` and `<unk>` are no marks."""
    segments: list[Segment] = []
    pieces: list[str] = []
    first = 0
    for i, (word, mark) in enumerate(zip(words, marks, strict=True)):
        text = word.text
        latin = not is_spaceless(text[-1])
        if not pieces and latin:
            text = text[0].upper() + text[1:]
        if mark not in ("_", "<unk>"):
            text += _LATIN_MARK[mark] if latin else mark
        pieces.append(text)
        if mark in _ENDINGS or i == len(words) - 1:
            segments.append(Segment(words[first].start_s, word.end_s, join(pieces), tuple(words[first : i + 1])))
            pieces, first = [], i + 1
    return segments

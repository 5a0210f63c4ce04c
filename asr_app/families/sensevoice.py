"""SenseVoice: one pass of an encoder with CTC, which also outputs language, emotion and sound events. Uses FunASR.

Source: https://github.com/FunAudioLLM/SenseVoice; An et al., "FunAudioLLM", 2024 (arXiv 2407.04051).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment, Word
from asr_app.families._funasr import (
    FSMN_VAD,
    SANM_ENCODER,
    SANM_SECOND,
    local_card,
    long_enough,
    repositories,
    runs,
    weighted_parts,
    workers,
)
from asr_app.families._funasr import needs as needs
from asr_app.families._funasr_config import model_class
from asr_app.families._sentences import has_words, rising, sentences
from asr_app.families.base import Engine, require
from asr_app.precision.enum import Precision
from asr_app.precision.recipes import rows
from asr_app.sources import Bundled

if TYPE_CHECKING:
    from torch import nn

    from asr_app.families._funasr_model import FunAsrModel

log = logging.getLogger(__name__)
NAME = "sensevoice"
ROLES = ("model", "vad")
# The embedding of the four query tokens is too small to list. The CTC head is multiplied with every frame, which for
# 25,055 pieces is a sixth of the work. In half precision it would save nothing, so it stays FP32 there.
_STACKS = {"encoder": (SANM_ENCODER, SANM_SECOND)}
RECIPES = rows(("encoder",), stacks=_STACKS, int8_parts=("ctc",), half=runs(_STACKS))
_CLASSES = ("SenseVoiceSmall",)
_ALL = (Precision.FP32, Precision.BF16, Precision.FP16, Precision.INT8)
_CAPABILITIES = frozenset({"language", "itn", "emotion", "events", "word_timestamps", "punctuation"})
_LANGUAGES = ("zh", "en", "yue", "ja", "ko")

CARDS = (
    ModelCard(
        id="demo-sensevoice",
        family=NAME,
        title="Demo SenseVoice (small vocabulary)",
        sources={"model": (Bundled("demo-sensevoice"),)},
        size_mb=5,
        languages=("zh", "en"),
        licence="MIT",
        max_chunk_s=10.0,
        precisions=_ALL,
        capabilities=_CAPABILITIES,
        note="demo",
        good_for="good_demo",
    ),
    ModelCard(
        id="sensevoice-small",
        family=NAME,
        title="SenseVoice Small (emotion and events)",
        sources={
            "model": repositories("iic/SenseVoiceSmall", "master", "FunAudioLLM/SenseVoiceSmall"),
            "vad": FSMN_VAD,
        },
        size_mb=940,
        languages=_LANGUAGES,
        licence="Model License (FunASR)",
        max_chunk_s=20.0,
        precisions=_ALL,
        capabilities=_CAPABILITIES,
        vad="fsmn",
        good_for="good_sensevoice",
    ),
)

_TAG = re.compile(r"<\|([^|]*)\|>")
_HIDDEN = {"EMO_UNKNOWN", "Event_UNK", "Speech", "withitn", "woitn", "nospeech"}  # tags of no use to a reader
_EMOTIONS = {"HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED"}


def recognises(folder: Path) -> bool:
    """Whether `folder` holds a model of this family."""
    return model_class(folder) in _CLASSES


def card_of(folder: Path) -> ModelCard:
    """The card of a local folder, with the family's defaults where its files say nothing."""
    return local_card(folder, NAME, _LANGUAGES, _ALL, _CAPABILITIES)


def load(card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False) -> Engine:
    """Loads the recogniser. Raises UserError if the folder does not fit."""
    from asr_app.families._ctc_scores import Scores
    from asr_app.families._funasr_model import load_model

    model = load_model(folders["model"], _CLASSES, device, threads, empty=empty)
    model.module.ctc.__class__ = Scores
    return SenseVoiceEngine(card, model, workers(device, threads))


class SenseVoiceEngine:
    """Engine over FunASR's module: arrays in, sentences with words, language and tags out."""

    def __init__(self, card: ModelCard, model: FunAsrModel, workers: int) -> None:
        self._card, self._model, self.workers = card, model, workers
        self.parts: dict[str, nn.Module] = weighted_parts(model.module)

    def transcribe(self, batch: Sequence[np.ndarray], options: Options) -> list[list[Segment]]:
        """Sentences of each chunk. All of a chunk have the same language, emotion and event."""
        require(self._card, options)
        return [self._chunk(samples, options) for samples in batch]

    def _chunk(self, samples: np.ndarray, options: Options) -> list[Segment]:
        seconds = len(samples) / SAMPLE_RATE
        if not samples.any():
            return []
        asked: dict[str, Any] = dict(language=options.language or "auto", use_itn=options.itn is not False)
        try:
            results = self._model.infer(long_enough(samples), output_timestamp=True, **asked)
        except IndexError:
            # FunASR times words by the pieces of its text, and fails if a piece does not encode to itself.
            log.warning("%s: FunASR could not time the words of a chunk; its text is kept without", self._card.id)
            results = self._model.infer(long_enough(samples), **asked)
        if not results:
            return []
        language, tags, text = split_tags(results[0]["text"], options.emotions)
        if not has_words(text):
            return []
        words = _timed(results[0].get("words") or [], results[0].get("timestamp") or [], seconds)
        segments = sentences(text, words, 0.0, seconds)
        return [Segment(s.start_s, s.end_s, s.text, s.words, None, language, tags) for s in segments]


def split_tags(text: str, emotions: bool) -> tuple[str | None, tuple[str, ...], str]:
    """Language, tags and text: `<|en|><|HAPPY|><|BGM|><|withitn|>Hello.` -> en, (happy, bgm), `Hello.`.

    Without `emotions`, the tags of emotion are left out, as docs/subtitles.md explains.
    """
    named = _TAG.findall(text)
    hidden = _HIDDEN if emotions else _HIDDEN | _EMOTIONS
    language = next((name for name in named if name in _LANGUAGES), None)
    tags = dict.fromkeys(name.lower() for name in named if name not in hidden and name not in _LANGUAGES)
    return language, tuple(tags), " ".join(_TAG.sub(" ", text).split())


def _timed(words: Sequence[str], timestamps: Sequence[Sequence[int]], seconds: float) -> tuple[Word, ...]:
    """Words with their times (ms in, seconds out), without the marks among them."""
    timed = zip(words, timestamps, strict=False)
    return rising((Word(start / 1000, end / 1000, word) for word, (start, end) in timed if has_words(word)), seconds)

"""Fun-ASR-Nano: SenseVoice's encoder, an adaptor and a Qwen3 language model that writes the text, through FunASR.

Source: https://github.com/FunAudioLLM/Fun-ASR; An et al., "Fun-ASR Technical Report", 2025 (arXiv 2509.12508).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment
from asr_app.families._funasr import (
    FSMN_VAD,
    SANM_ENCODER,
    SANM_SECOND,
    local_card,
    long_enough,
    repositories,
    weighted_parts,
)
from asr_app.families._funasr import needs as needs
from asr_app.families._funasr_config import model_class, read_config
from asr_app.families._sentences import has_words, sentences
from asr_app.families.base import Engine, require
from asr_app.precision.enum import Precision
from asr_app.precision.recipes import rows
from asr_app.sources import Bundled

if TYPE_CHECKING:
    from torch import nn

    from asr_app.families._funasr_model import FunAsrModel

NAME = "fun-asr-nano"
ROLES = ("model", "vad")
# Decoding reads every weight of the language model for every token, so fewer bits pay there. The head, which is also
# the token embedding, is a quarter of them. The encoder runs once a chunk. At BF16 it stays FP32, as its makers run it.
RECIPES = rows(
    ("llm",),
    tables=("lm_head", "model.embed_tokens"),
    stacks={"audio_encoder": (SANM_ENCODER, SANM_SECOND)},
    int8_parts=("audio_encoder",),
    half={"llm": (("model.layers",),)},
)
_CLASSES = ("FunASRNano",)
# No FP16: the language model overflows in it and writes "!!!!" (modelscope/FunASR#3597).
_PRECISIONS = (Precision.FP32, Precision.BF16, Precision.INT8)
_CAPABILITIES = frozenset({"language", "itn", "hotwords", "punctuation"})

# Names of the languages in its training, by code.
LANGUAGE_NAMES = {
    "zh": "中文", "en": "英文", "yue": "粤语", "ja": "日文", "ko": "韩文", "vi": "越南语", "id": "印尼语", "th": "泰语",
    "ms": "马来语", "fil": "菲律宾语", "ar": "阿拉伯语", "hi": "印地语", "bg": "保加利亚语", "hr": "克罗地亚语",
    "cs": "捷克语", "da": "丹麦语", "nl": "荷兰语", "et": "爱沙尼亚语", "fi": "芬兰语", "el": "希腊语", "hu": "匈牙利语",
    "ga": "爱尔兰语", "lv": "拉脱维亚语", "lt": "立陶宛语", "mt": "马耳他语", "pl": "波兰语", "pt": "葡萄牙语",
    "ro": "罗马尼亚语", "sk": "斯洛伐克语", "sl": "斯洛文尼亚语", "sv": "瑞典语",
}  # fmt: skip


def _card(identifier: str, repository: str, title: str, languages: tuple[str, ...]) -> ModelCard:
    return ModelCard(
        id=identifier,
        family=NAME,
        title=title,
        sources={"model": repositories(repository, "master", repository), "vad": FSMN_VAD},
        size_mb=1990,
        languages=languages,
        licence="Apache-2.0",
        max_chunk_s=20.0,
        precisions=_PRECISIONS,
        capabilities=_CAPABILITIES,
        vad="fsmn",
        good_for=f"good_{identifier}",
    )


CARDS = (
    ModelCard(
        id="demo-fun-asr",
        family=NAME,
        title="Demo Fun-ASR-Nano (small vocabulary)",
        sources={"model": (Bundled("demo-fun-asr"),)},
        size_mb=8,
        languages=("zh", "en"),
        licence="MIT",
        max_chunk_s=10.0,
        precisions=_PRECISIONS,
        capabilities=_CAPABILITIES,
        note="demo",
        good_for="good_demo",
    ),
    _card(
        "fun-asr-mlt-nano",
        "FunAudioLLM/Fun-ASR-MLT-Nano-2512",
        "Fun-ASR-MLT-Nano-2512 (31 languages)",
        tuple(LANGUAGE_NAMES),
    ),
    _card("fun-asr-nano", "FunAudioLLM/Fun-ASR-Nano-2512", "Fun-ASR-Nano-2512 (zh, en, ja)", ("zh", "en", "ja")),
)

_MARKUP = re.compile("[<|>]")
_TOKENS_A_SECOND = 12  # far more than in any speech: the limit that ends a loop


def recognises(folder: Path) -> bool:
    """Whether `folder` holds a model of this family."""
    return model_class(folder) in _CLASSES


def card_of(folder: Path) -> ModelCard:
    """The card of a local folder, with the family's defaults where its files say nothing."""
    return local_card(folder, NAME, tuple(LANGUAGE_NAMES), _PRECISIONS, _CAPABILITIES)


def load(card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False) -> Engine:
    """Loads encoder, adaptor and language model. Raises UserError if the folder does not fit."""
    from asr_app.families._funasr_model import load_model

    model = load_model(folders["model"], _CLASSES, device, threads, empty=empty)
    dialogue = (read_config(folders["model"]) or {}).get("dataset_conf") or {}
    thinks = not isinstance(dialogue, dict) or dialogue.get("do_think", True) is not False
    return FunAsrNanoEngine(card, model, thinks)


class FunAsrNanoEngine:
    """Engine over FunASR's module: arrays in, sentences out, with times interpolated over the chunk's length.

    Words have no times, since not every copy of the weights has a head for it. Chunks are independent: the model's code
    in FunASR takes a `cache` and reads nothing from it, and its `prev_text` is the beginning of the same chunk's text,
    not of the previous one.
    """

    def __init__(self, card: ModelCard, model: FunAsrModel, thinks: bool) -> None:
        """`thinks`: the prompt leaves room for reasoning before the answer, as in the model's training."""
        self._card, self._model, self._thinks = card, model, thinks
        self.workers = 1
        self.parts: dict[str, nn.Module] = weighted_parts(model.module)
        # The published config.yaml stores it in BF16 (`llm_dtype`), while FunASR computes in FP32 by default.
        language_model = self.parts["llm"].float()
        # FunASR casts it at every request, which would undo the chosen precision.
        language_model.to = lambda *_, **__: language_model  # type: ignore[method-assign]
        if model.device.startswith("cuda"):
            from asr_app.families._qwen3_captured import Qwen3

            Qwen3.of(language_model)

    def transcribe(self, batch: Sequence[np.ndarray], options: Options) -> list[list[Segment]]:
        """Sentences of each chunk."""
        require(self._card, options)
        return [self._chunk(samples, options) for samples in batch]

    def _chunk(self, samples: np.ndarray, options: Options) -> list[Segment]:
        if not samples.any():
            return []
        seconds = len(samples) / SAMPLE_RATE
        asked: dict[str, Any] = {"language": LANGUAGE_NAMES[options.language]} if options.language else {}
        results = self._model.infer(
            np.array(long_enough(samples)),
            # The prompt's markup <| |> must not come from a user.
            hotwords=[_MARKUP.sub("", w) for w in options.hotwords],
            itn=options.itn is not False, max_length=32 + int(_TOKENS_A_SECOND * seconds),
            llm_kwargs={"do_sample": False}, dataset_conf={"do_think": self._thinks}, **asked,
        )  # fmt: skip
        text = results[0]["text"].strip() if results else ""
        return sentences(text, (), 0.0, seconds) if has_words(text) else []

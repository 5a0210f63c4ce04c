"""Interface between the families and the rest of the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from asr_app.chinese import LANGUAGES as CHINESE
from asr_app.chinese import SCRIPTS
from asr_app.datatypes import ModelCard, Options, Segment, Word
from asr_app.errors import UserError
from asr_app.hotwords import lines
from asr_app.memory import Needs
from asr_app.people import parse_count
from asr_app.precision.recipes import Recipes

if TYPE_CHECKING:
    from torch import nn

# On 20 s of speech, SeACo-Paraformer takes 0.1 s more for 1,000 hotwords, and considers 50 of them. Fun-ASR-Nano reads
# them all again for each chunk: its time for a chunk doubles with 100 and is four times as long with 200.
MAX_HOTWORDS = 200
MAX_HOTWORD_CHARACTERS = 50  # of one
MAX_HOTWORDS_CHARACTERS = 2000  # of all
# Whisper reads the last 223 tokens of a prompt. 1,000 characters of English are 187 tokens, 190 of Mandarin some 225.
# With them Whisper base takes 0.3 s more for a window of 30 s, and its words stay the same.
MAX_PROMPT_CHARACTERS = 1000


class Engine(Protocol):
    """A loaded model. Its user holds its lock, and may run up to `workers` batches at once.

    `parts` are its submodules by role and hold all of its weights. precision/ swaps and counts the layers in them.
    """

    @property
    def workers(self) -> int: ...

    @property
    def parts(self) -> Mapping[str, nn.Module]: ...

    def transcribe(self, batch: Sequence[np.ndarray], options: Options) -> list[list[Segment]]:
        """Segments of each chunk of the batch (float32 `(n,)` at 16 kHz); times from the chunk's start."""
        ...


@runtime_checkable
class PunctuatingEngine(Engine, Protocol):
    """An engine with a separate punctuation model, which works across the ends of chunks."""

    def punctuate(self, words: Sequence[Word]) -> list[Segment]:
        """Sentences of `words`, with their marks. Only called if `parts` has "punctuation"."""
        ...


@runtime_checkable
class ReferenceLoss(Protocol):
    """An engine that can compute the loss of a given text."""

    def reference_loss(
        self, batch: Sequence[np.ndarray], texts: Sequence[str], languages: Sequence[str | None]
    ) -> list[tuple[float, int]]:
        """Summed cross-entropy of each text given its chunk, in nats, and the number of its tokens."""
        ...


class Family(Protocol):
    """A module of this package, seen as a value."""

    CARDS: tuple[ModelCard, ...]
    NAME: str
    ROLES: tuple[str, ...]
    RECIPES: Recipes

    def load(
        self, card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False
    ) -> Engine:
        """The engine; with `empty` its `parts` are on the meta device, for a cached variant to fill."""
        ...

    def needs(self, folders: Mapping[str, Path]) -> Needs:
        """Memory of the model at FP32 on a CPU, by the shapes that its files declare. Reads no data.

        Raises UserError if a file is damaged.
        """
        ...

    def recognises(self, folder: Path) -> bool: ...


def as_spoken(card: ModelCard, language: str | None = None) -> Options:
    """Options for words as spoken, as references have them, in `language` if the card takes one."""
    return Options(
        language=language if "language" in card.capabilities else None,
        itn=False if "itn" in card.capabilities else None,
    )


def require(card: ModelCard, options: Options) -> None:
    """Raises UserError for an option that the card lacks, an unknown language or script, hotwords that are too many or no
    rules, or a too long prompt."""
    asked = {
        "language": options.language is not None,
        "languages": bool(options.languages),
        "itn": options.itn is not None,
        "prompt": bool(options.prompt),
        "translate": options.translate,
        "short_windows": bool(options.short_windows),
        "emotion": options.emotions,
    }
    lacking = [name for name, wanted in asked.items() if wanted and name not in card.capabilities]
    if lacking:
        has = ", ".join(name for name in asked if name in card.capabilities)
        raise UserError(
            f"{card.id} has no option {lacking[0]}. It has: {has or 'none'}. Leave it out, or choose another model.",
            f"{card.id} 没有选项 {lacking[0]}。它支持：{has or '无'}。请去掉该选项，或选择其他模型。",
        )
    for language in (options.language, *options.languages):
        if language is not None and language not in card.languages:
            known = ", ".join(card.languages)
            raise UserError(
                f"{card.id} does not know the language {language!r}. Choose one of: {known}.",
                f"{card.id} 不认识语言 {language!r}。可选：{known}。",
            )
    if options.languages and options.language is not None:
        raise UserError(
            "A language and a set of languages to choose from cannot be asked for at once. Leave one of them out.",
            "不能同时指定语言和候选语言。请去掉其中一项。",
        )
    if options.script is not None:
        _require_script(card, options.script)
    if options.speaker_count is not None:
        parse_count(str(options.speaker_count))
    lines.require(options.hotwords)
    if "hotwords" in card.capabilities:
        _require_few(lines.bare(options.hotwords))
    if len(options.prompt) > MAX_PROMPT_CHARACTERS:
        raise UserError(
            f"The prompt has {len(options.prompt):,} characters; at most {MAX_PROMPT_CHARACTERS:,} are taken. Shorten it: "
            "a sentence in the style you want is enough.",
            f"提示文本有 {len(options.prompt):,} 个字符，最多 {MAX_PROMPT_CHARACTERS:,} 个。请缩短：一句符合所需风格的话即可。",
        )


def _require_few(hotwords: tuple[str, ...]) -> None:
    longest = max(map(len, hotwords), default=0)
    characters = sum(map(len, hotwords))
    if len(hotwords) > MAX_HOTWORDS or longest > MAX_HOTWORD_CHARACTERS or characters > MAX_HOTWORDS_CHARACTERS:
        raise UserError(
            f"Too many or too long hotwords: {len(hotwords):,} with {characters:,} characters, the longest of "
            f"{longest:,}. At most {MAX_HOTWORDS} of up to {MAX_HOTWORD_CHARACTERS} characters are taken, in all "
            f"{MAX_HOTWORDS_CHARACTERS:,} characters. Keep those that matter for this recording.",
            f"热词过多或过长：共 {len(hotwords):,} 个、{characters:,} 个字符，最长 {longest:,} 个字符。最多 {MAX_HOTWORDS} 个，"
            f"每个不超过 {MAX_HOTWORD_CHARACTERS} 个字符，合计不超过 {MAX_HOTWORDS_CHARACTERS:,} 个字符。请只保留与本录音有关的热词。",
        )


def _require_script(card: ModelCard, script: str) -> None:
    if script not in SCRIPTS:
        known = ", ".join(SCRIPTS)
        raise UserError(f"Unknown script {script!r}. Choose one of: {known}.", f"未知字体 {script!r}。可选：{known}。")
    if not set(CHINESE) & set(card.languages):
        raise UserError(
            f"{card.id} knows no Chinese, so it has no script to choose. Leave --script out.",
            f"{card.id} 不支持中文，无法选择简体或繁体。请去掉 --script。",
        )

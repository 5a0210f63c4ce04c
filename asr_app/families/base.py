"""What every family gives the rest of the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn

from asr_app.datatypes import ModelCard, Options, Segment, Word
from asr_app.errors import UserError
from asr_app.precision.recipes import Recipes


class Engine(Protocol):
    """A loaded model. Not thread-safe: whoever uses it holds its lock.

    `parts` are its submodules by role, together all of its weights: what precision swaps layers in and counts.
    """

    @property
    def parts(self) -> Mapping[str, nn.Module]: ...

    def transcribe(self, batch: Sequence[np.ndarray], options: Options) -> list[list[Segment]]:
        """Segments of each chunk of the batch (float32 `(n,)` at 16 kHz); times from the chunk's start."""
        ...

    def punctuate(self, words: Sequence[Word]) -> list[Segment]:
        """Sentences of `words`, with their marks. Only asked where the card has the capability "punctuation_model"."""
        ...


class Family(Protocol):
    """A module of this package, seen as a value."""

    CARDS: tuple[ModelCard, ...]
    NAME: str
    ROLES: tuple[str, ...]
    RECIPES: Recipes

    def load(self, card: ModelCard, folders: Mapping[str, Path], device: str, threads: int) -> Engine: ...

    def recognises(self, folder: Path) -> bool: ...


def require(card: ModelCard, options: Options) -> None:
    """Raises UserError for an option the card's capabilities lack, naming those it has."""
    if options.hotwords and "hotwords" not in card.capabilities:
        has = ", ".join(sorted(card.capabilities))
        raise UserError(
            f"{card.id} takes no hotwords. It has: {has}. paraformer-zh takes them.",
            f"{card.id} 不支持热词。它支持：{has}。paraformer-zh 支持热词。",
        )

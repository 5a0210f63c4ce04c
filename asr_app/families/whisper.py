"""OpenAI Whisper: an encoder over windows of 30 s and a decoder that writes text, punctuation and timestamps.

Sources: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022 (arXiv 2212.04356);
https://github.com/openai/whisper, whose own `transcribe` does the decoding here, temperature fallback included.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_app.datatypes import ModelCard
from asr_app.families._whisper_cards import BATCH, CAPABILITIES, FAMILY, LANGUAGES, PRECISIONS
from asr_app.families._whisper_cards import CARDS as CARDS
from asr_app.families.base import Engine
from asr_app.memory import Needs
from asr_app.precision.recipes import rows
from asr_app.precision.stack import Stack

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def _fused_attention() -> Iterator[None]:
    """Inside the block, the library's attention is one node of an exported graph."""
    from whisper.model import MultiHeadAttention

    from asr_app.precision.graph_export import FusedAttention

    def fused(attention: Any, q: Tensor, k: Tensor, v: Tensor, _mask: Tensor | None = None) -> tuple[Tensor, None]:
        return FusedAttention.apply(q, k, v, attention.n_head), None

    own = MultiHeadAttention.qkv_attention
    MultiHeadAttention.qkv_attention = fused
    try:
        yield
    finally:
        MultiHeadAttention.qkv_attention = own


NAME = FAMILY
ROLES = ("model",)
_SMOOTHED = (
    ("attn_ln", ("attn.query", "attn.key", "attn.value")),
    ("attn.value", ("attn.out",)),
    ("mlp_ln", ("mlp.0",)),
)
_SMOOTHED_CROSS = (("cross_attn_ln", ("cross_attn.query",)), ("cross_attn.value", ("cross_attn.out",)))
# The token embedding is the vocabulary head as well.
RECIPES = rows(
    ("encoder", "decoder"),
    half={"encoder": (("blocks",),), "decoder": (("blocks",),)},
    tables=("token_embedding",),
    smoothing={"encoder.blocks": _SMOOTHED, "decoder.blocks": (*_SMOOTHED, *_SMOOTHED_CROSS)},
    stacks={
        "encoder": (
            Stack(
                ("blocks",),
                lambda encoder: (encoder.ln_post.weight.numel(),),
                by_token=True,
                exporting=_fused_attention,
            ),
        )
    },
)


def recognises(path: Path) -> bool:
    """Whether `path` is an OpenAI checkpoint, or a folder of Hugging Face's or CTranslate2's form."""
    from asr_app.families import _whisper_files

    return _whisper_files.recognises(path)


def card_of(path: Path) -> ModelCard:
    """The card of a local model, with the family's defaults where its files say nothing. Raises UserError."""
    from asr_app.families import _whisper_files

    checkpoint = _whisper_files.open_checkpoint(path)
    count = checkpoint.dims.n_vocab - 51765 - 1
    name = path.stem if path.is_file() else path.name
    return ModelCard(
        id=name,
        family=NAME,
        title=name,
        sources={},
        size_mb=checkpoint.megabytes,
        languages=LANGUAGES[:count] if count >= 99 else ("en",),
        licence="",
        max_chunk_s=30.0,
        max_gap_s=4.0,
        retry_stretches=True,
        chunks_a_batch=BATCH,
        precisions=PRECISIONS,
        capabilities=CAPABILITIES if count >= 99 else CAPABILITIES - {"language", "languages", "translate"},
        directory=str(path),
    )


def write_stub(path: Path, folder: Path) -> None:
    """Writes to `folder` the files of the model that a variant there needs. Raises OSError."""
    from asr_app.families import _whisper_files

    _whisper_files.write_stub(path, folder)


def needs(folders: Mapping[str, Path]) -> Needs:
    """Memory at FP32, by the checkpoint's dimensions. Raises UserError as `load` does."""
    from asr_app.families import _whisper_model

    return _whisper_model.needs(folders)


def load(card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False) -> Engine:
    """Loads the weights as FP32. Raises UserError if there are none, or they do not fit their own dimensions."""
    from asr_app.families import _whisper_model

    return _whisper_model.load(card, folders, device, threads, empty=empty)

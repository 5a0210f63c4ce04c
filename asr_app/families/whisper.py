"""OpenAI Whisper: an encoder over windows of 30 s and a decoder that writes text, punctuation and timestamps.

Sources: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022 (arXiv 2212.04356);
https://github.com/openai/whisper, whose own `transcribe` does the decoding here, temperature fallback included.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.families import _whisper_files
from asr_app.families._empty import without_weights
from asr_app.families._whisper_cards import BATCH, CAPABILITIES, FAMILY, LANGUAGES, PRECISIONS
from asr_app.families._whisper_cards import CARDS as CARDS
from asr_app.families._whisper_checkpoint import Checkpoint
from asr_app.families.base import Engine
from asr_app.memory import Needs
from asr_app.precision.graph import FusedAttention, Stack
from asr_app.precision.recipes import rows


@contextlib.contextmanager
def _fused_attention() -> Iterator[None]:
    """Inside the block, the library's attention is one node of an exported graph."""
    from whisper.model import MultiHeadAttention

    def fused(
        attention: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, None]:
        return FusedAttention.apply(q, k, v, attention.n_head), None

    own = MultiHeadAttention.qkv_attention
    MultiHeadAttention.qkv_attention = fused
    try:
        yield
    finally:
        MultiHeadAttention.qkv_attention = own


NAME = FAMILY
ROLES = ("model",)
_WORKERS = 2
_SMOOTHED = (
    ("attn_ln", ("attn.query", "attn.key", "attn.value")),
    ("attn.value", ("attn.out",)),
    ("mlp_ln", ("mlp.0",)),
)
_SMOOTHED_CROSS = (("cross_attn_ln", ("cross_attn.query",)), ("cross_attn.value", ("cross_attn.out",)))
# The token embedding is the vocabulary head as well.
RECIPES = rows(
    ("encoder", "decoder"),
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
    return _whisper_files.recognises(path)


def card_of(path: Path) -> ModelCard:
    """The card of a local model, with the family's defaults where its files say nothing. Raises UserError."""
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
    _whisper_files.write_stub(path, folder)


def needs(folders: Mapping[str, Path]) -> Needs:
    """Memory at FP32, by the checkpoint's dimensions. The weights are mapped and converted one after the other."""
    checkpoint = _whisper_files.open_checkpoint(folders["model"])
    parts: Counter[str] = Counter()
    for name, tensor in _without_weights(checkpoint).state_dict().items():
        parts[name.partition(".")[0]] += 4 * tensor.numel()
    return Needs(parts.total(), parts.total(), sum(file.stat().st_size for file in checkpoint.files), parts)


def load(card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False) -> Engine:
    """Loads the weights as FP32. Raises UserError if there are none, or they do not fit their own dimensions."""
    checkpoint = _whisper_files.open_checkpoint(folders["model"])
    torch.set_num_threads(threads)
    model = _without_weights(checkpoint)
    if not empty:
        try:
            _fill(model, checkpoint, device)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{card.id} does not fit into the memory of {device}. Choose a smaller one, or --device cpu.",
                f"{device} 的显存不足以加载 {card.id}。请选择更小的模型，或使用 --device cpu。",
            ) from error
    from asr_app.families._whisper_engine import WhisperEngine

    _compile_alignment()
    return WhisperEngine(card, model.eval(), min(threads, _WORKERS) if torch.device(device).type == "cpu" else 1)


def _fill(model: Any, checkpoint: Checkpoint, device: str) -> None:
    """Loads weights and mask on `device` into the module, which was made on the meta device."""
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    model.load_state_dict(_whisper_files.weights(checkpoint, expected, device), assign=True)
    size = checkpoint.dims.n_text_ctx
    mask = torch.full((size, size), -torch.inf, device=device).triu_(1)
    model.decoder.register_buffer("mask", mask, persistent=False)
    model.to(device)


def _compile_alignment() -> None:
    """Pre-compiles the numba DTW kernels (cached on disk), so that the first job does not pay for it."""
    from whisper import timing

    for compiled, like in ((timing.dtw_cpu, np.zeros((2, 3))), (timing.backtrace, np.zeros((3, 4), np.float32))):
        with contextlib.suppress(RuntimeError):  # no writable cache folder: costs two seconds in each process
            compiled.enable_caching()
        compiled(like)


def _without_weights(checkpoint: Checkpoint) -> Any:
    """The module with its weights on the meta device, and the heads that time words."""
    from whisper.model import AudioEncoder, ModelDimensions, TextDecoder, Whisper

    dims = ModelDimensions(**dataclasses.asdict(checkpoint.dims))
    # The module itself cannot be made there, for its list of heads is sparse; a small one has the same heads.
    small = dataclasses.replace(
        dims, n_vocab=1, n_audio_ctx=1, n_audio_layer=0, n_audio_state=2 * dims.n_audio_head,
        n_text_state=2 * dims.n_text_head,
    )  # fmt: skip
    model = Whisper(small)
    model.dims = dims
    with without_weights():
        model.encoder = AudioEncoder(
            dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
        )
        model.decoder = TextDecoder(
            dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer
        )
    if checkpoint.heads:
        mask = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
        mask[tuple(torch.tensor(checkpoint.heads).T)] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    return model

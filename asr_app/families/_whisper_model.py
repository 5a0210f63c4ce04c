"""Builds openai-whisper's module from a checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.families import _whisper_files
from asr_app.families._empty import without_weights
from asr_app.families._whisper_checkpoint import Checkpoint
from asr_app.families._whisper_engine import WhisperEngine
from asr_app.families.base import Engine
from asr_app.memory import Needs

_WORKERS = 2


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

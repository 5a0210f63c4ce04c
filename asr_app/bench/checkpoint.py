"""A Whisper checkpoint under OpenAI's names, as the exporters for peers read it, and what tells its values from others."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

# A table of sines, which each format rounds in its own way.
_COMPUTED = "encoder.positional_embedding"


def read(weights: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Dimensions and state dict (FP32 tensors on the CPU). Raises UserError where there is no checkpoint."""
    from asr_app.families._whisper_files import open_checkpoint

    found = open_checkpoint(weights)
    return asdict(found.dims), {name: tensor.float().contiguous() for name, tensor in found.tensors()}


def content(weights: Path) -> str:
    """A hash of dimensions and values: equal for the same weights in whatever format or file they came."""
    dims, state = read(weights)
    digest = hashlib.sha256(repr(sorted(dims.items())).encode())
    for name in sorted(state):
        if name != _COMPUTED:
            digest.update(name.encode())
            digest.update(state[name].numpy())
    return digest.hexdigest()[:32]

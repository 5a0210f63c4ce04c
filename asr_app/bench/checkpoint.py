"""A Whisper checkpoint under OpenAI's names, as the exporters for peers read it, and what tells its values from others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

# A table of sines, which each format rounds in its own way or leaves out.
_COMPUTED = "encoder.positional_embedding"


def read(weights: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Dimensions and state dict (FP32 tensors on the CPU). Raises RuntimeError where there is no checkpoint."""
    import torch

    files = [weights] if weights.is_file() else sorted(weights.glob("*.pt"))
    if len(files) != 1:
        raise RuntimeError(f"{weights.name} holds no OpenAI checkpoint")
    saved = torch.load(files[0], map_location="cpu", weights_only=True)
    return dict(saved["dims"]), {name: tensor.float() for name, tensor in saved["model_state_dict"].items()}


def content(weights: Path) -> str:
    """A hash of dimensions and values: equal for the same weights in whatever format or file they came."""
    dims, state = read(weights)
    digest = hashlib.sha256(repr(sorted(dims.items())).encode())
    for name in sorted(state):
        if name != _COMPUTED:
            digest.update(name.encode())
            digest.update(state[name].contiguous().numpy())
    return digest.hexdigest()[:32]

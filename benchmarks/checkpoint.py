"""A Whisper checkpoint under OpenAI's names, as the exporters for peers read it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr_app.families._whisper_files import open_checkpoint


def read(weights: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Dimensions and state dict (FP32 tensors on the CPU). Raises UserError where there is no checkpoint."""
    found = open_checkpoint(weights)
    return asdict(found.dims), {name: tensor.float().contiguous() for name, tensor in found.tensors()}

"""Reads a Whisper checkpoint with OpenAI's names, for the exporters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr_app.families._whisper_files import open_checkpoint


def read(weights: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Dimensions and state dict (FP32 tensors on the CPU). Raises UserError if there is no checkpoint."""
    checkpoint = open_checkpoint(weights)
    return asdict(checkpoint.dims), {name: tensor.float().contiguous() for name, tensor in checkpoint.tensors()}

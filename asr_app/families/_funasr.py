"""Shared by the FunASR families: sources, the stacks of layers that become graphs, cards of local folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr_app.datatypes import SAMPLE_RATE, ModelCard
from asr_app.memory import Needs
from asr_app.precision.enum import Precision
from asr_app.precision.recipes import HalfRuns
from asr_app.precision.stack import Stack
from asr_app.sources import Repository

if TYPE_CHECKING:
    from torch import nn

# Layers take the sequence and its mask. Those of the decoder also take the encoder's output and its mask.
SANM_ENCODER = Stack(("encoders0", "encoders"), lambda encoder: (encoder.encoders0[0].in_size,), (None,))
SANM_SECOND = Stack(("tp_encoders",), lambda encoder: (encoder.output_size(),), (None,))  # of SenseVoice's encoder
SANM_DECODER = Stack(
    ("decoders", "decoders2", "decoders3"), lambda decoder: (decoder.decoders[0].size,) * 2, (None, "memory", None)
)


def runs(stacks: Mapping[str, tuple[Stack, ...]]) -> dict[str, HalfRuns]:
    """The layers of the `stacks` of each part, as runs of layers in half precision."""
    return {part: tuple(stack.children for stack in listed) for part, listed in stacks.items()}


def repositories(modelscope: str, revision: str, huggingface: str | None = None) -> tuple[Repository, ...]:
    """Repositories of a FunASR model: on ModelScope and, if named, on Hugging Face."""
    first = Repository("modelscope", modelscope, revision)
    return (first, Repository("huggingface", huggingface, "main")) if huggingface else (first,)


FSMN_VAD = repositories("iic/speech_fsmn_vad_zh-cn-16k-common-pytorch", "v2.0.4", "funasr/fsmn-vad")
_SHORTEST = SAMPLE_RATE // 5  # FunASR's frontend divides by the number of stacked frames


def local_card(
    folder: Path,
    family: str,
    languages: tuple[str, ...],
    precisions: tuple[Precision, ...],
    capabilities: frozenset[str],
) -> ModelCard:
    """The card of a local folder, with the family's defaults where its files say nothing."""
    weights = folder / "model.pt"
    return ModelCard(
        id=folder.name,
        family=family,
        title=folder.name,
        sources={},
        size_mb=round(weights.stat().st_size / 1e6) if weights.is_file() else 0,
        languages=languages,
        licence="",
        max_chunk_s=20.0,
        precisions=precisions,
        capabilities=capabilities,
        vad="fsmn" if (folder / "vad").is_dir() else "silero",
        directory=str(folder),
    )


def needs(folders: Mapping[str, Path]) -> Needs:
    """Memory of the models at FP32, by the shapes in their files. Raises UserError if a file is damaged."""
    from asr_app.families import _funasr_model

    return _funasr_model.needs(folders)


def weighted_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The children of a FunASR model that hold weights."""
    return {name: child for name, child in model.named_children() if any(True for _ in child.parameters())}


def long_enough(samples: np.ndarray) -> np.ndarray:
    """`samples`, padded with silence if they are too short for FunASR."""
    return samples if len(samples) >= _SHORTEST else np.pad(samples, (0, _SHORTEST - len(samples)))


def workers(device: str, threads: int) -> int:
    """Number of chunks recognised at once: one a thread on a CPU, one on a GPU."""
    return threads if device == "cpu" else 1

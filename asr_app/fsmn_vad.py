"""Loads FunASR's fsmn-vad, which finds segments of speech for the FunASR families.

Source: Zhang et al., Deep-FSMN, 2018 (arXiv 1803.05030); https://github.com/modelscope/FunASR.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from asr_app.families._funasr_model import FunAsrModel, load_model

_END_SILENCE_MS = 800


class FsmnVad:
    """A loaded fsmn-vad, on the CPU."""

    def __init__(self, model: FunAsrModel, threads: int) -> None:
        self._model, self._threads = model, threads

    @property
    def module(self) -> nn.Module:
        """FunASR's module. Its encoder runs once for each minute of sound."""
        module: nn.Module = self._model.module
        return module

    def segments(self, samples: np.ndarray) -> list[list[int]]:
        """`[start, end]` of each segment of speech, in milliseconds, of float32 `(n,)` at 16 kHz.

        Only one thread may call it at a time.
        """
        torch.set_num_threads(self._threads)
        results = self._model.infer(samples, cache={}, max_end_silence_time=_END_SILENCE_MS)
        segments: list[list[int]] = results[0]["value"]
        return segments


def load(folder: Path, threads: int) -> FsmnVad:
    """The model of `folder`. Raises UserError if the folder does not fit."""
    return FsmnVad(load_model(folder, ("FsmnVADStreaming",), "cpu", threads), threads)

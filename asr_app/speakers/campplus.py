"""CAM++: a vector for a stretch of speech, near to those of other stretches by the same speaker.

Sources: Wang et al., CAM++, 2023 (arXiv 2303.00332); https://github.com/modelscope/FunASR (funasr/models/campplus).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_app.errors import UserError
from asr_app.families._funasr_model import class_of, read_checkpoint, refuse_misfit
from asr_app.speakers.source import FILES

DIMENSIONS = 192
_BATCH = 32  # windows


class CamPlusPlus:
    """A loaded CAM++ at FP32. Only one thread may use it at a time."""

    def __init__(self, module: Any, name: str, device: str, threads: int) -> None:
        from funasr.models.campplus.utils import extract_feature  # imports librosa: seconds that belong to loading

        self.name, self._module, self._device, self._threads = name, module, device, threads
        self._features = extract_feature

    @property
    def weight_bytes(self) -> int:
        tensors = [*self._module.parameters(), *self._module.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @torch.inference_mode()
    def embed(self, windows: Iterable[np.ndarray], done: Callable[[int], None] = lambda _: None) -> np.ndarray:
        """Embeddings `(windows, 192)` of windows of one length, float32 `(n,)` at 16 kHz, taken as they are needed.

        `done` is told the number of finished windows after each batch, and may raise Cancelled.
        """
        torch.set_num_threads(self._threads)
        found, count, rest = [np.zeros((0, DIMENSIONS), np.float32)], 0, iter(windows)
        while batch := [torch.from_numpy(window) for window in itertools.islice(rest, _BATCH)]:
            features, _, _ = self._features(batch)
            found.append(self._module(features.to(self._device)).cpu().numpy())
            count += len(batch)
            done(count)
        return np.concatenate(found)


def load(folder: Path, device: str, threads: int) -> CamPlusPlus:
    """The model of `folder`, whose only file that is read is that of its weights.

    Raises UserError if the file is missing, damaged, or not of a CAM++ with 192 dimensions.
    """
    file = next((name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise UserError(
            f"{folder.name}: there is no speaker model, which is one of {', '.join(FILES)}. Download it again.",
            f"{folder.name}：没有说话人模型（{'、'.join(FILES)} 之一）。请重新下载。",
        )
    state = read_checkpoint(folder, file)
    torch.set_num_threads(threads)
    module = class_of("CAMPPlus")()
    refuse_misfit(f"{folder.name}/{file}", module, state)
    module.load_state_dict(state, strict=False)
    return CamPlusPlus(module.to(device).eval(), file.partition(".")[0], device, threads)

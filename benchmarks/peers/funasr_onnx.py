"""`funasr-onnx` in INT8, as https://github.com/modelscope/FunASR/tree/main/runtime/python/onnxruntime shows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr_app import catalog
from asr_app.evaluate.arms import Clip, PeerArm, Task, chunks_of
from benchmarks.export import exported
from benchmarks.funasr_onnx_export import QUANTISED


class FunASROnnx(PeerArm):
    """Recognises this app's chunks one after another, since it has no VAD."""

    def __init__(self, task: Task) -> None:
        import funasr_onnx

        folder = exported(task)
        family = catalog.find(task.model).family
        kind = funasr_onnx.Paraformer if family == "paraformer" else funasr_onnx.SenseVoiceSmall
        self._model: Any = kind(str(folder), batch_size=1, quantize=True, intra_op_num_threads=task.threads)
        self._asked = {} if family == "paraformer" else {"language": "auto", "textnorm": "withitn"}
        self.weights_mb = (folder / QUANTISED).stat().st_size / 1e6

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        results = [self._model(chunk, **self._asked)[0] for chunk in chunks_of(samples, clip)]
        return " ".join(one if isinstance(one, str) else one["preds"][0] for one in results), None

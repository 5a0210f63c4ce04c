"""`funasr.AutoModel` in FP32 with its VAD, as https://github.com/modelscope/FunASR shows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr_app.evaluate.arms import Clip, PeerArm, Task
from asr_app.precision import Precision
from asr_app.precision.counting import report


class FunASR(PeerArm):
    """Runs its own `generate`."""

    def __init__(self, task: Task) -> None:
        from funasr import AutoModel

        quiet = dict(disable_update=True, disable_pbar=True, disable_log=True)
        vad = {} if task.vad is None else {"vad_model": str(task.vad)}
        self._auto: Any = AutoModel(model=str(task.weights), device="cpu", ncpu=task.threads, **vad, **quiet)
        self.weights_mb = report({"model": self._auto.model}, Precision.FP32).weight_bytes / 1e6

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        results = self._auto.generate(input=samples, cache={}, batch_size_s=300)
        return " ".join(one["text"] for one in results), None

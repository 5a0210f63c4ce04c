"""whisper.cpp through `pywhispercpp`, as https://github.com/absadiki/pywhispercpp shows it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from asr_app.evaluate.arms import Clip, PeerArm, Task
from benchmarks.export import exported


class WhisperCpp(PeerArm):
    """Decodes greedily, with its own fallback of temperatures."""

    def __init__(self, task: Task) -> None:
        from pywhispercpp.model import Model

        file = exported(task)
        self._model: Any = Model(
            str(file), redirect_whispercpp_logs_to=os.devnull, n_threads=task.threads, print_progress=False,
            print_realtime=False, print_timestamps=False,
        )  # fmt: skip
        self.weights_mb = file.stat().st_size / 1e6

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        # Parameters outlast a call: the language is set each time. Empty stands for detection.
        segments = self._model.transcribe(samples, language=clip.language or "", detect_language=False)
        return " ".join(s.text for s in segments), None

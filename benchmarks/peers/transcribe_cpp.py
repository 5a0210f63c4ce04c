"""`transcribe-cpp`, as https://github.com/handy-computer/transcribe.cpp shows it. It reads whisper.cpp's files too."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr_app.evaluate.arms import Clip, PeerArm, Task
from benchmarks.export import exported


class TranscribeCpp(PeerArm):
    """Runs all clips in one session."""

    def __init__(self, task: Task) -> None:
        import transcribe_cpp

        file = exported(task)
        self._model: Any = transcribe_cpp.Model(str(file))
        self._session: Any = self._model.session(n_threads=task.threads)
        self.weights_mb = file.stat().st_size / 1e6

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        result = self._session.run(samples, language=clip.language)
        return str(result.text), None

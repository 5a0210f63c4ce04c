"""`faster-whisper`, as https://github.com/SYSTRAN/faster-whisper shows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr_app.evaluate.arms import Clip, PeerArm, Task
from benchmarks.export import exported


class FasterWhisper(PeerArm):
    """The sequential model without its VAD or, with a `batch_size`, its batched pipeline, whose VAD cuts the audio."""

    def __init__(self, task: Task, compute_type: str, beam_size: int, batch_size: int = 0) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        folder = exported(task)
        model = WhisperModel(str(folder), device="cpu", compute_type=compute_type, cpu_threads=task.threads)
        self._transcribe: Any = model.transcribe
        self._asked: dict[str, Any] = dict(beam_size=beam_size)
        if batch_size:
            self._transcribe = BatchedInferencePipeline(model=model).transcribe
            self._asked |= dict(batch_size=batch_size)
        else:
            # This app's windows do not depend on each other either.
            self._asked |= dict(condition_on_previous_text=False, vad_filter=False)
        self.weights_mb = (folder / "model.bin").stat().st_size / 1e6

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        segments = list(self._transcribe(samples, language=clip.language, **self._asked)[0])
        return "".join(s.text for s in segments), max((s.temperature or 0.0 for s in segments), default=0.0)

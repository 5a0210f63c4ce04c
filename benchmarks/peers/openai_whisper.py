"""`openai-whisper` in FP32, as https://github.com/openai/whisper shows it."""

from __future__ import annotations

import numpy as np

from asr_app.evaluate.arms import Clip, PeerArm, Task
from asr_app.precision import Precision
from asr_app.precision.counting import report
from benchmarks.export import exported


class OpenAIWhisper(PeerArm):
    """Runs its own `transcribe`: greedy, with its ladder of temperatures."""

    def __init__(self, task: Task) -> None:
        import torch
        import whisper

        torch.set_num_threads(task.threads)
        self._model = whisper.load_model(str(exported(task)), device="cpu")
        parts = {"encoder": self._model.encoder, "decoder": self._model.decoder}
        self.weights_mb = report(parts, Precision.FP32).weight_bytes / 1e6

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        # This app's windows do not depend on each other either.
        result = self._model.transcribe(samples, fp16=False, language=clip.language, condition_on_previous_text=False)
        return result["text"], max((s["temperature"] for s in result["segments"]), default=0.0)

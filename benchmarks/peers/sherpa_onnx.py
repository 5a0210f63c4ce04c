"""`sherpa-onnx` in INT8, as https://k2-fsa.github.io/sherpa/onnx/ shows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr_app import catalog
from asr_app.datatypes import SAMPLE_RATE
from asr_app.evaluate.arms import Clip, PeerArm, Task, chunks_of
from benchmarks.export import exported
from benchmarks.funasr_onnx_export import SHERPA_MODEL, SHERPA_TOKENS


class SherpaOnnx(PeerArm):
    """Recognises this app's chunks one after another, since it has no VAD."""

    def __init__(self, task: Task) -> None:
        import sherpa_onnx

        folder = exported(task)
        family = catalog.find(task.model).family
        asked = dict(tokens=str(folder / SHERPA_TOKENS), num_threads=task.threads)
        made = sherpa_onnx.OfflineRecognizer
        model = str(folder / SHERPA_MODEL)
        self._recogniser: Any = (
            made.from_paraformer(paraformer=model, **asked)
            if family == "paraformer"
            else made.from_sense_voice(model=model, use_itn=True, **asked)
        )
        self.weights_mb = (folder / SHERPA_MODEL).stat().st_size / 1e6

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        texts = []
        for chunk in chunks_of(samples, clip):
            stream = self._recogniser.create_stream()
            stream.accept_waveform(SAMPLE_RATE, chunk)
            self._recogniser.decode_stream(stream)
            texts.append(stream.result.text)
        return " ".join(texts), None

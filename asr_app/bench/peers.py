"""What people use instead, each as its own README shows it, on the same weights, audio and threads.

They are no dependency of the app: tests/peers.txt has them, and an arm whose library is not installed says so. Those
that take chunks are given the app's own, cut before the clock starts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asr_app import catalog
from asr_app.bench import ct2, exported
from asr_app.bench.arms import Arm, Task
from asr_app.bench.exported import QUANTISED, SHERPA_MODEL, SHERPA_TOKENS
from asr_app.precision import Precision, report


class FunASR:
    """`funasr.AutoModel` in FP32 with its VAD, as https://github.com/modelscope/FunASR shows it."""

    def __init__(self, task: Task) -> None:
        from funasr import AutoModel

        quiet = dict(disable_update=True, disable_pbar=True, disable_log=True)
        vad = {} if task.vad is None else {"vad_model": str(task.vad)}
        self._task = task
        self._auto = AutoModel(model=str(task.model), device="cpu", ncpu=task.threads, **vad, **quiet)
        self.weights_mb: float | None = report({"model": self._auto.model}, Precision.FP32).weight_bytes / 1e6

    def run(self) -> dict[str, float]:
        self._auto.generate(input=str(self._task.audio), cache={}, batch_size_s=300)
        return {}


class OpenAIWhisper:
    """`openai-whisper` in FP32, as https://github.com/openai/whisper shows it."""

    def __init__(self, task: Task) -> None:
        import torch
        import whisper

        torch.set_num_threads(task.threads)
        self._samples = _samples(task)
        self._model = whisper.load_model(str(task.model), device="cpu")
        parts = {"encoder": self._model.encoder, "decoder": self._model.decoder}
        self.weights_mb: float | None = report(parts, Precision.FP32).weight_bytes / 1e6

    def run(self) -> dict[str, float]:
        # What it said before would go before what comes next, and what random weights say goes by its place.
        self._model.transcribe(self._samples, fp16=False, language="en", condition_on_previous_text=False)
        return {}


class FunASROnnx:
    """`funasr-onnx` in INT8, as https://github.com/modelscope/FunASR/tree/main/runtime/python/onnxruntime shows it."""

    def __init__(self, task: Task) -> None:
        import funasr_onnx

        folder = _exported(task)
        family = catalog.find(str(task.model)).family
        kind = funasr_onnx.Paraformer if family == "paraformer" else funasr_onnx.SenseVoiceSmall
        self._model: Any = kind(str(folder), batch_size=1, quantize=True, intra_op_num_threads=task.threads)
        self._asked = {} if family == "paraformer" else {"language": "auto", "textnorm": "withitn"}
        self._chunks = _chunks(task)
        self.weights_mb: float | None = (folder / QUANTISED).stat().st_size / 1e6

    def run(self) -> dict[str, float]:
        for samples in self._chunks:
            self._model(samples, **self._asked)
        return {}


class SherpaOnnx:
    """`sherpa-onnx` in INT8, as https://k2-fsa.github.io/sherpa/onnx/ shows it."""

    def __init__(self, task: Task) -> None:
        import sherpa_onnx

        folder = _exported(task)
        family = catalog.find(str(task.model)).family
        asked = dict(tokens=str(folder / SHERPA_TOKENS), num_threads=task.threads)
        made = sherpa_onnx.OfflineRecognizer
        model = str(folder / SHERPA_MODEL)
        self._recogniser: Any = (
            made.from_paraformer(paraformer=model, **asked)
            if family == "paraformer"
            else made.from_sense_voice(model=model, use_itn=True, **asked)
        )
        self._chunks = _chunks(task)
        self.weights_mb: float | None = (folder / SHERPA_MODEL).stat().st_size / 1e6

    def run(self) -> dict[str, float]:
        for samples in self._chunks:
            stream = self._recogniser.create_stream()
            stream.accept_waveform(16_000, samples)
            self._recogniser.decode_stream(stream)
        return {}


class FasterWhisper:
    """`faster-whisper` in INT8, batched, as https://github.com/SYSTRAN/faster-whisper shows it, with its beams of 5 or
    with the greedy search that this app uses. Neither times words, as this app does."""

    def __init__(self, task: Task, beam_size: int) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        folder = _exported(task)
        model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=task.threads)
        self._pipeline, self._beam_size = BatchedInferencePipeline(model=model), beam_size
        self._audio = str(task.audio)
        self.weights_mb: float | None = (folder / "model.bin").stat().st_size / 1e6

    def run(self) -> dict[str, float]:
        found, _ = self._pipeline.transcribe(self._audio, batch_size=16, beam_size=self._beam_size, language="en")
        for _segment in found:  # it recognises as they are asked for
            pass
        return {}


def _exported(task: Task) -> Path:
    """Where the model lies in the format of a peer. Raises RuntimeError where it could not be exported."""
    if task.exported is None:
        raise RuntimeError("the model could not be exported for it")
    return task.exported


def _samples(task: Task) -> np.ndarray:
    import soundfile

    samples: np.ndarray = soundfile.read(task.audio, dtype="float32")[0]
    return samples


def _chunks(task: Task) -> list[np.ndarray]:
    samples = _samples(task)
    return [samples[int(start * 16_000) : int(end * 16_000)] for start, end in task.chunks]


@dataclass(frozen=True)
class Peer:
    """How it is loaded, the families it runs, the library it is, and what module exports the model for it, if any."""

    make: Callable[[Task], Arm]
    families: tuple[str, ...]
    library: str
    exported: str = ""

    @property
    def here(self) -> bool:
        return importlib.util.find_spec(self.library) is not None


PEERS: Mapping[str, Peer] = {
    "peer:funasr": Peer(FunASR, ("paraformer", "sensevoice", "fun-asr-nano"), "funasr.auto.auto_model"),
    "peer:funasr-onnx": Peer(FunASROnnx, ("paraformer", "sensevoice"), "funasr_onnx", exported.__name__),
    "peer:sherpa-onnx": Peer(SherpaOnnx, ("paraformer", "sensevoice"), "sherpa_onnx", exported.__name__),
    "peer:openai-whisper": Peer(OpenAIWhisper, ("whisper",), "whisper"),
    "peer:faster-whisper": Peer(partial(FasterWhisper, beam_size=5), ("whisper",), "faster_whisper", ct2.__name__),
    "peer:faster-whisper-greedy": Peer(
        partial(FasterWhisper, beam_size=1), ("whisper",), "faster_whisper", ct2.__name__
    ),
}

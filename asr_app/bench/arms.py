"""What can be measured: this app at a precision, and its peers, each behind one small seam.

The peers are what their own READMEs show, on the same weights, audio and threads. They are no dependency of the app: an
arm whose library is not installed says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asr_app import catalog, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.loading import Loaded, load_from, locate
from asr_app.precision import Precision, report


@dataclass(frozen=True)
class Task:
    """What every arm is given: `model` is a folder or a `.pt`, `vad` a folder with fsmn-vad, if there is one."""

    model: Path
    audio: Path
    threads: int
    cache: Path
    hub: str
    vad: Path | None = None


class Arm(Protocol):
    """A system that is loaded. `weights_mb` is None where it cannot be counted."""

    weights_mb: float | None

    def run(self) -> dict[str, float]:
        """Recognises the audio once; seconds by stage, where it knows them."""
        ...


class App:
    """This app through its own pipeline, from the file to sentences."""

    def __init__(self, task: Task, precision: Precision) -> None:
        card = catalog.find(str(task.model))
        self._task = task
        folders = locate(card, task.hub)
        self._loaded: Loaded = load_from(folders, card, precision, "cpu", task.threads, task.cache)
        self.weights_mb: float | None = self._loaded.precision.weight_bytes / 1e6

    def run(self) -> dict[str, float]:
        times = pipeline.transcribe(self._task.audio, self._loaded, Options(), Limits()).times
        stages = {"decode": times.decode_s, "vad": times.vad_s, "asr": times.asr_s, "punctuation": times.punctuation_s}
        return {name: seconds for name, seconds in stages.items() if seconds}


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
        self._task = task
        self._model = whisper.load_model(str(task.model), device="cpu")
        parts = {"encoder": self._model.encoder, "decoder": self._model.decoder}
        self.weights_mb: float | None = report(parts, Precision.FP32).weight_bytes / 1e6

    def run(self) -> dict[str, float]:
        import soundfile

        samples, _ = soundfile.read(self._task.audio, dtype="float32")
        self._model.transcribe(samples, fp16=False, language="en")
        return {}


def _app(precision: Precision) -> Callable[[Task], Arm]:
    return lambda task: App(task, precision)


ARMS: Mapping[str, Callable[[Task], Arm]] = {
    **{p.value: _app(p) for p in Precision},
    "peer:funasr": FunASR,
    "peer:openai-whisper": OpenAIWhisper,
}
# Which families each peer can run.
PEERS: Mapping[str, tuple[str, ...]] = {
    "peer:funasr": ("paraformer", "sensevoice", "fun-asr-nano"),
    "peer:openai-whisper": ("whisper",),
}

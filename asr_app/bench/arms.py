"""What is measured, behind one small seam: this app at a precision. Its peers are in peers.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asr_app import catalog, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.loading import Loaded, load_from, locate
from asr_app.precision import Precision


@dataclass(frozen=True)
class Task:
    """What every arm is given: `model` is a folder or a `.pt`, `vad` a folder with fsmn-vad, if there is one.

    `exported` is a folder with the model in the formats of peers that need their own; `chunks` are where the audio's
    chunks of speech begin and end, in seconds, for peers that find none.
    """

    model: Path
    audio: Path
    threads: int
    cache: Path
    hub: str
    vad: Path | None = None
    exported: Path | None = None
    chunks: tuple[tuple[float, float], ...] = ()


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


def _app(precision: Precision) -> Callable[[Task], Arm]:
    return lambda task: App(task, precision)


APP: Mapping[str, Callable[[Task], Arm]] = {p.value: _app(p) for p in Precision}

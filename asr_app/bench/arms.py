"""What is measured, behind one small seam: this app at a precision. Its peers are in peers.py."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

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
        """Beside the stages, `asr.encoder` and so on: what each part of the model took, all threads together."""
        with _Clock(self._loaded.engine.parts) as clock:
            times = pipeline.transcribe(self._task.audio, self._loaded, Options(), Limits()).times
        stages = {"decode": times.decode_s, "vad": times.vad_s, "asr": times.asr_s, "punctuation": times.punctuation_s}
        stages |= {f"asr.{name}": seconds for name, seconds in clock.seconds.items()}
        return {name: seconds for name, seconds in stages.items() if seconds}


class _Clock:
    """Inside its block, counts the seconds that each of `parts` is at work, those of several threads together."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self.seconds = dict.fromkeys(parts, 0.0)
        self._parts, self._adding, self._began = parts, threading.Lock(), threading.local()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> _Clock:
        for name, part in self._parts.items():
            self._hooks.append(part.register_forward_pre_hook(functools.partial(self._begin, name)))
            self._hooks.append(part.register_forward_hook(functools.partial(self._end, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, name: str, *_: object) -> None:
        setattr(self._began, name, time.perf_counter())

    def _end(self, name: str, *_: object) -> None:
        with self._adding:
            self.seconds[name] += time.perf_counter() - getattr(self._began, name)


def _app(precision: Precision) -> Callable[[Task], Arm]:
    return lambda task: App(task, precision)


APP: Mapping[str, Callable[[Task], Arm]] = {p.value: _app(p) for p in Precision}

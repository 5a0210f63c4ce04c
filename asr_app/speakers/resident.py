"""The one speaker model of a process: located, loaded on its first use, used by one job at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from asr_app.datatypes import ModelCard
from asr_app.download import OnProgress
from asr_app.memory import give_back_memory
from asr_app.speakers import campplus, source
from asr_app.speakers.campplus import CamPlusPlus
from asr_app.stopping import Stop

_LOADING_TAKES = 2  # times the size of its file: the file is read into memory beside the module


@dataclass(frozen=True)
class LoadedSpeakers:
    """The model in memory. `load_s` is what loading took, 0.0 if it was there already."""

    model: CamPlusPlus
    load_s: float


class SpeakerModel:
    """Holds the model. Another one takes its place where a local folder brings its own."""

    def __init__(self, hub_name: str, device: str, threads: int) -> None:
        self._hub_name, self._device, self._threads = hub_name, device, threads
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._model: CamPlusPlus | None = None

    @property
    def weight_bytes(self) -> int:
        model = self._model
        return model.weight_bytes if model else 0

    @contextlib.contextmanager
    def use(
        self, card: ModelCard, on_progress: OnProgress | None, stop: Stop, make_room: Callable[[int], None]
    ) -> Iterator[LoadedSpeakers]:
        """The model for recognition by `card`. `make_room` is told the bytes that loading takes, and may raise.

        Raises UserError if the model cannot be had, and Cancelled while waiting.
        """
        with stop.holding(self._lock):
            folder = source.locate(card, self._hub_name, on_progress)
            load_s = 0.0
            if self._model is None or folder != self._folder:
                began = time.perf_counter()
                self._model = None
                size = sum(file.stat().st_size for file in map(folder.joinpath, source.FILES) if file.is_file())
                make_room(_LOADING_TAKES * size)
                self._model, self._folder = campplus.load(folder, self._device, self._threads), folder
                give_back_memory(collect=False)  # of the file
                load_s = time.perf_counter() - began
            yield LoadedSpeakers(self._model, load_s)

    def unload_idle(self) -> None:
        """Drops the model unless a job uses it."""
        if self._lock.acquire(blocking=False):
            self._model = None
            self._lock.release()

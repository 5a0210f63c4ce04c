"""A replica: a process of Ray Serve with an engine, perhaps on another machine. It recognises one recording at a time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from asr_app import catalog, config
from asr_app.audio import Limits
from asr_app.datatypes import Transcript
from asr_app.devices import pick_device
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.folders import home
from asr_app.journal import Task
from asr_app.precision import Precision
from asr_app.stopping import Stop
from asr_app.work import Before, Event, LocalWorker

_BEAT_S = 0.5

Problem = tuple[str, str]  # a UserError's texts: Ray cannot carry it, since its constructor takes two arguments
# None is a beat: nothing is new, and the receiver may see whether it still wants the work.
Message = Event | Transcript | Problem | None


class Replica:
    """The deployment's class. The model is loaded before Ray counts the replica as running.

    `device` and `threads` are those of each replica, `hub_name` the source of a model that is not on its machine.
    """

    def __init__(
        self, model: str, precision: Precision, device: str, threads: int, hub_name: str, limits: Limits
    ) -> None:
        self._stop = Stop()  # of the present work
        self._problem: Problem | None = None
        self._folder, self._lock = _own_folder(home() / "replicas")
        try:
            engines = Engines(pick_device(device), threads, hub_name, cache=config.cache())
            with engines.use(catalog.find(model), precision):
                pass
        except UserError as error:
            self._problem = error.en, error.zh
        else:
            self._worker = LocalWorker(engines, limits)

    def problem(self) -> Problem | None:
        """The reason why the model could not be loaded."""
        return self._problem

    def check_health(self) -> None:
        """Raises RuntimeError for a replica that Ray is to replace: one without a model, or whose model hangs."""
        if self._problem is not None:
            raise RuntimeError(self._problem[0])
        if self._stop.is_overdue():
            raise RuntimeError("The model does not answer.")

    async def recognise(self, recording: np.ndarray, task: Task, before: Before) -> AsyncIterator[Message]:
        """Yields the progress of the work on the bytes `recording`, uint8, and the transcript or the problem last.

        The work ends when the receiver goes.
        """
        if self._problem is not None:
            yield self._problem
            return
        loop, messages = asyncio.get_running_loop(), asyncio.Queue[Message]()
        self._stop = stop = Stop()

        def tell(event: Event) -> None:
            loop.call_soon_threadsafe(messages.put_nowait, event)

        work = asyncio.ensure_future(asyncio.to_thread(self._work, recording, task, before, stop, tell))
        work.add_done_callback(lambda _: messages.put_nowait(None))  # wakes the loop below
        try:
            while not (work.done() and messages.empty()):
                message = None
                with contextlib.suppress(TimeoutError):
                    message = await asyncio.wait_for(messages.get(), _BEAT_S)
                yield message
            yield work.result()
        finally:
            stop.ask()

    def _work(
        self, recording: np.ndarray, task: Task, before: Before, stop: Stop, tell: Callable[[Event], None]
    ) -> Transcript | Problem:
        path = self._folder / f"recording{task.recording.suffix}"
        try:
            with path.open("wb") as file:
                recording.tofile(file)
            return self._worker.work(dataclasses.replace(task, recording=path), before, stop, tell)
        except UserError as error:
            return error.en, error.zh
        finally:
            path.unlink(missing_ok=True)


def _own_folder(parent: Path) -> tuple[Path, FileLock]:
    """A new folder in `parent` for recordings in work, and its held lock. Those of processes that were killed go."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in parent.iterdir():
        with contextlib.suppress(OSError, Timeout), FileLock(folder / "lock", timeout=0):
            shutil.rmtree(folder)
    folder = Path(tempfile.mkdtemp(dir=parent))
    lock = FileLock(folder / "lock")
    lock.acquire()
    return folder, lock

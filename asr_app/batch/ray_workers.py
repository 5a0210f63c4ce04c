"""Recordings into transcripts on the machines of a Ray cluster. An actor holds an engine and recognises one at a time.

The actors are driven one recording a call, not through Ray Data: it repeats the block of a lost actor without end, and a
recording that kills its process would never be given up. Every machine has the app and the recordings at the same paths.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from asr_app import catalog, config, ray_cluster
from asr_app.audio import Limits
from asr_app.batch.recognisers import Local, Outcome, Recogniser
from asr_app.batch.sources import Source
from asr_app.datatypes import Options, Transcript
from asr_app.devices import pick_device
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.precision import Precision

log = logging.getLogger(__name__)
_MOST_LOST = 3  # workers that may end over one recording, or while they start, one after the other

Text = tuple[str, str]  # a UserError's, which Ray could not carry: its constructor takes two arguments


class OnRay:
    """The workers of a cluster that has been joined, `workers` of them with `cpus` and `gpus` each.

    `make` makes the recogniser inside each worker. A recording whose worker is lost is done again by another one, and
    fails after three. The workers stay between calls of `outcomes`.
    """

    def __init__(self, make: Callable[[], Recogniser], workers: int, cpus: int, gpus: int = 0) -> None:
        self._ray = ray_cluster.imported()
        actor = self._ray.remote(_Worker).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0)
        self._new: Callable[[], Any] = partial(actor.remote, make)
        self._workers, self._failed_starts = workers, 0
        self._starting: dict[Any, Any] = {}  # reference to the end of loading -> worker
        self._idle: list[Any] = []

    def prepare(self) -> None:
        """Starts the workers, and waits for the first. Raises UserError if the model cannot be loaded there."""
        for _ in range(self._workers - len(self._idle) - len(self._starting)):
            self._start()
        while not self._idle:
            self._started(self._first(self._starting))

    def outcomes(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Outcome]]:
        """Yields each source as it is done. Raises UserError if no worker can be started any more."""
        left, again, lost = iter(sources), deque[Source](), Counter[str]()
        busy: dict[Any, tuple[Any, Source]] = {}

        def following() -> Source | None:
            return again.popleft() if again else next(left, None)

        source = following()
        while source is not None or busy:
            while source is not None and self._idle:
                worker = self._idle.pop(0)
                busy[worker.recognise.remote(source)] = worker, source
                source = following()
            reference = self._first([*busy, *self._starting])
            if reference in self._starting:
                self._started(reference)
                continue
            worker, done = busy.pop(reference)
            try:
                outcome: Transcript | Text = self._ray.get(reference)
            except self._ray.exceptions.RayActorError:
                log.warning("a worker was lost while it worked on %r", done.name)
                lost[done.name] += 1
                self._start()
                if lost[done.name] < _MOST_LOST:
                    again.append(done)
                else:
                    yield done, _lost(done)
            else:
                self._idle.append(worker)
                yield done, outcome if isinstance(outcome, Transcript) else UserError(*outcome)
            if source is None:
                source = following()

    def _start(self) -> None:
        worker = self._new()
        self._starting[worker.load.remote()] = worker

    def _started(self, reference: Any) -> None:
        """Takes the worker among the idle ones, or starts another one if it ended before it was ready."""
        worker = self._starting.pop(reference)
        try:
            problem: Text | None = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_LOST:
                raise UserError(
                    f"The workers end while they start ({error}). Look into Ray's log; the app must lie at "
                    f"{ray_cluster.ROOT} on every machine.",
                    f"工作进程在启动时退出（{error}）。请查看 Ray 的日志；每台机器上应用都必须位于 {ray_cluster.ROOT}。",
                ) from error
            self._start()
            return
        if problem is not None:
            raise UserError(*problem)
        self._failed_starts = 0
        self._idle.append(worker)

    def _first(self, references: Iterable[Any]) -> Any:
        return self._ray.wait(list(references), num_returns=1)[0][0]


class _Worker:
    """The actor: a process of its own, perhaps on another machine."""

    def __init__(self, make: Callable[[], Recogniser]) -> None:
        self._recogniser = make()

    def load(self) -> Text | None:
        """Loads the model. Returns the reason if that cannot be done."""
        try:
            self._recogniser.prepare()
        except UserError as error:
            return error.en, error.zh
        return None

    def recognise(self, source: Source) -> Transcript | Text:
        """The transcript, or the reason why there is none."""
        for _, outcome in self._recogniser.outcomes([source]):
            return (outcome.en, outcome.zh) if isinstance(outcome, UserError) else outcome
        raise AssertionError("a recogniser yields each source")


def maker(
    model: str, precision: Precision, options: Options, device: str, threads: int, hub_name: str
) -> Callable[[], Recogniser]:
    """A function for `OnRay` that makes a recogniser with an engine."""
    return partial(_local, model, precision, options, device, threads, hub_name)


def _local(model: str, precision: Precision, options: Options, device: str, threads: int, hub_name: str) -> Recogniser:
    engines = Engines(pick_device(device), threads, hub_name, cache=config.cache())
    return Local(engines, catalog.find(model), precision, options, Limits())


def _lost(source: Source) -> UserError:
    return UserError(
        f"{_MOST_LOST} workers ended while they worked on {source.name}, perhaps for want of memory. Try it alone, or cut it.",
        f"处理 {source.name} 时有 {_MOST_LOST} 个工作进程退出，可能是内存不足。请单独尝试，或切分该录音。",
    )

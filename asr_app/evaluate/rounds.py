"""Times the arms: starts each in its process, runs them in turn, then with several users, and gathers their answers."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asr_app.errors import UserError
from asr_app.evaluate.arms import APP, Clip, Task
from asr_app.evaluate.process import ArmProcess

_STARTS = 3  # of an arm: cold starts differ by half, depending on the disk
Start = Callable[[str, Task], ArmProcess]


@dataclass(frozen=True)
class Concurrency:
    """`users` requests that wait for one arm from the same moment. `waits` has the seconds from there to each answer,
    `whole_s` to the last one of each round."""

    users: int
    waits: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Figures for the JSON."""
        return {
            "users": self.users,
            "clips_per_s": round(len(self.waits) / sum(self.whole_s), 3),
            "wait_p50_s": round(float(np.percentile(self.waits, 50)), 4),
            "wait_p95_s": round(float(np.percentile(self.waits, 95)), 4),
        }


@dataclass
class Measured:
    """An arm's figures, or the `problem` why there are none. Times are in seconds: `loads` has one a start, `seconds`,
    `stages` and `texts` one a request, and `first_s` is that of the warm-up request. `starts` are from the start of the
    process to the loaded model. Memory is above that of a process with the libraries and without the model; `device_mb`
    is what CUDA allocated."""

    problem: str = ""
    import_s: float = 0.0
    loads: list[float] = field(default_factory=list)
    weights_mb: float | None = None
    loaded_mb: float = 0.0
    first_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rss_mb: float = 0.0
    stages: list[Mapping[str, float]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    device_mb: float = 0.0
    users: list[Concurrency] = field(default_factory=list)

    @property
    def mean_stages(self) -> dict[str, float]:
        """Mean seconds of each stage in a request."""
        names = dict.fromkeys(name for stages in self.stages for name in stages)
        return {name: statistics.fmean(stages.get(name, 0.0) for stages in self.stages) for name in names}

    def as_dict(self, audio_s: float) -> dict[str, Any]:
        """Figures for the JSON. The RTF is that of the median request, each of `audio_s`, the load that of the median
        start."""
        if self.problem:
            return {"problem": self.problem}
        return {
            "rtf": round(statistics.median(self.seconds) / audio_s, 5),
            "rtf_rounds": [round(s / audio_s, 5) for s in self.seconds],
            "p50_s": round(float(np.percentile(self.seconds, 50)), 4),
            "p95_s": round(float(np.percentile(self.seconds, 95)), 4),
            "cpu_s": round(statistics.median(self.cpu_s), 2),
            "import_s": round(self.import_s, 2),
            "load_s": round(statistics.median(self.loads), 2),
            "load_s_starts": [round(s, 2) for s in self.loads],
            "first_s": round(self.first_s, 2),
            "weights_mb": None if self.weights_mb is None else round(self.weights_mb, 1),
            "loaded_mb": round(self.loaded_mb, 1),
            "rss_mb": round(self.rss_mb, 1),
            "stages_s": {k: round(v, 3) for k, v in self.mean_stages.items()},
        }


def steps(arms: int, requests: int, users: Sequence[int] = (), rounds: int = 1) -> int:
    """Number of times that `measure` calls `tell` for `prepared` arms, if none fails."""
    return arms * (min(requests, _STARTS) + 1 + requests + sum(users) * rounds)


def measure(
    tasks: Mapping[str, Task],
    requests: Sequence[Clip],
    tell: Callable[[str, str], None],
    users: Sequence[int] = (),
    rounds: int = 1,
    start: Start = ArmProcess,
    *,
    prepared: bool = False,
) -> dict[str, Measured]:
    """Runs each arm of `tasks` on each of the `requests`, in turn, after a warm-up run that is not counted.

    Before that the arms are started in turn, once a request, at most three times; and once more before that, to make
    the variants, unless they are `prepared`. After the requests, each arm gets as many
    requests at once as each of `users` says, `rounds` times, in turn. An arm serves one request at a time.
    """
    measured = {name: Measured() for name in tasks}
    for name in APP:
        if name in tasks and not prepared:
            tell(name, "its first start, which makes the variant that is not cached")
            _start_once(start(name, tasks[name]))
    running: dict[str, ArmProcess] = {}
    try:
        _start(running, tasks, measured, min(len(requests), _STARTS), tell, start)
        for i, clip in enumerate([requests[0], *requests]):
            for name in list(running):
                if not measured[name].problem:
                    tell(name, f"round {i} of {len(requests)}" if i else "warming up")
                    with _problem(measured[name]):
                        _one(running[name], clip, measured[name], warm_up=not i)
        for name in running:
            measured[name].users = [Concurrency(count) for count in users]
        for k, count in enumerate(users):
            for _ in range(rounds):
                for name in list(running):
                    if not measured[name].problem:
                        telling = functools.partial(tell, name, f"{count} at once")
                        with _problem(measured[name]):
                            _at_once(running[name], requests, measured[name].users[k], telling)
    finally:
        for process in running.values():
            process.end()
    return measured


def _start(
    running: dict[str, ArmProcess], tasks: Mapping[str, Task], measured: dict[str, Measured], starts: int,
    tell: Callable[[str, str], None], start: Start,
) -> None:  # fmt: skip
    """Starts each arm `starts` times, in turn; the last process of each is left in `running`."""
    for count in range(1, starts + 1):
        for name, task in tasks.items():
            if name in running:
                running.pop(name).end()
            if measured[name].problem:
                continue
            tell(name, f"start {count} of {starts}")
            _leave_cache(task)
            began = time.perf_counter()
            process = running[name] = start(name, task)
            with _problem(measured[name]):
                ready = process.ready()
                earlier = measured[name]
                measured[name] = Measured(
                    "", ready.import_s, [*earlier.loads, ready.load_s], ready.weights_mb, ready.loaded_mb,
                    starts=[*earlier.starts, time.perf_counter() - began],
                )  # fmt: skip


def _one(process: ArmProcess, clip: Clip, measured: Measured, *, warm_up: bool) -> None:
    answer = process.ask([clip])
    if warm_up:
        measured.first_s = answer.seconds
        return
    measured.seconds.append(answer.seconds)
    measured.cpu_s.append(answer.cpu_s)
    measured.rss_mb = max(measured.rss_mb, answer.rss_mb)
    measured.device_mb = max(measured.device_mb, answer.device_mb)
    measured.stages.append(answer.texts[0].stages)
    measured.texts.append(answer.texts[0].text)


def _at_once(process: ArmProcess, clips: Sequence[Clip], queue: Concurrency, tell: Callable[[], None]) -> None:
    """Serves one clip of each user, one after the other. All of them wait from the same moment."""
    began = time.perf_counter()
    for i in range(queue.users):
        tell()
        process.ask([clips[i % len(clips)]])
        queue.waits.append(time.perf_counter() - began)
    queue.whole_s.append(queue.waits[-1])


def _leave_cache(task: Task) -> None:
    """Drops the model's files from the page cache, so that a cold start reads them from the disk."""
    if not hasattr(os, "posix_fadvise"):  # macOS and Windows lack it
        return
    for root in filter(None, (task.weights, task.exported, task.cache / "variants")):
        for path in [root] if root.is_file() else (p for p in root.rglob("*") if p.is_file()):
            with path.open("rb") as file, contextlib.suppress(OSError):
                os.fsync(file.fileno())  # dirty pages would stay
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _start_once(process: ArmProcess) -> None:
    """Makes the arm's variant and runs its self-check if they are not cached, so that the measured start finds them."""
    try:
        with contextlib.suppress(RuntimeError):  # the measured start reports it
            process.ready()
    finally:
        process.end()


@contextlib.contextmanager
def _problem(measured: Measured) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, UserError) as error:  # the other arms are still wanted
        measured.problem = str(error)

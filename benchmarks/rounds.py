"""Starts the arms, each in its process, runs them in turn, and gathers their answers."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asr_app.errors import UserError
from asr_app.evaluate.arms import APP, Clip, Task
from asr_app.evaluate.process import ArmProcess

_STARTS = 3  # of an arm: cold starts differ by half, depending on the disk


@dataclass
class Measured:
    """An arm's figures, or the `problem` why there are none. Times are in seconds: `loads` has one a start, `seconds`
    and `texts` one a request, and `first_s` is that of the warm-up request. Memory is above that of a process with the
    libraries and without the model."""

    problem: str = ""
    import_s: float = 0.0
    loads: list[float] = field(default_factory=list)
    weights_mb: float | None = None
    loaded_mb: float = 0.0
    first_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rss_mb: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

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
            "stages_s": {k: round(v, 3) for k, v in self.stages.items()},
        }


def measure(
    tasks: Mapping[str, Task], requests: Sequence[Clip], tell: Callable[[str, str], None]
) -> dict[str, Measured]:
    """Runs each arm of `tasks` on each of the `requests`, in turn, after a warm-up run that is not counted.

    Before that the arms are started in turn, once a request, at most three times.
    """
    measured = {name: Measured() for name in tasks}
    for name in APP:
        if name in tasks:
            tell(name, "its first start, which makes the variant that is not cached")
            _start_once(name, tasks[name])
    processes: dict[str, ArmProcess] = {}
    module = {name: "asr_app.evaluate.arm" if name in APP else "benchmarks.arm" for name in tasks}
    starts = min(len(requests), _STARTS)
    try:
        for start in range(1, starts + 1):
            for name, task in tasks.items():
                if name in processes:
                    processes.pop(name).end()
                if measured[name].problem:
                    continue
                tell(name, f"start {start} of {starts}")
                _leave_cache(task)
                process = processes[name] = ArmProcess(name, task, module[name])
                with _problem(measured[name]):
                    ready = process.ready()
                    loads = [*measured[name].loads, ready.load_s]
                    measured[name] = Measured("", ready.import_s, loads, ready.weights_mb, ready.loaded_mb)
        for i, clip in enumerate([requests[0], *requests]):
            for name, process in processes.items():
                if measured[name].problem:
                    continue
                tell(name, f"round {i} of {len(requests)}" if i else "warming up")
                with _problem(measured[name]):
                    answer = process.ask([clip])
                    if not i:
                        measured[name].first_s = answer.seconds
                    else:
                        measured[name].seconds.append(answer.seconds)
                        measured[name].cpu_s.append(answer.cpu_s)
                        measured[name].rss_mb = max(measured[name].rss_mb, answer.rss_mb)
                        measured[name].stages = dict(answer.texts[0].stages)
                        measured[name].texts.append(answer.texts[0].text)
    finally:
        for process in processes.values():
            process.end()
    return measured


def _leave_cache(task: Task) -> None:
    """Drops the model's files from the page cache, so that a cold start reads them from the disk."""
    if not hasattr(os, "posix_fadvise"):  # macOS and Windows lack it
        return
    for root in filter(None, (task.weights, task.exported, task.cache / "variants")):
        for path in [root] if root.is_file() else (p for p in root.rglob("*") if p.is_file()):
            with path.open("rb") as file, contextlib.suppress(OSError):
                os.fsync(file.fileno())  # dirty pages would stay
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _start_once(name: str, task: Task) -> None:
    """Makes the arm's variant and runs its self-check if they are not cached, so that the measured start finds them."""
    process = ArmProcess(name, task)
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

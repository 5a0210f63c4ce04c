"""Starts the arms, each in its process, lets them run in turn, and gathers what they say."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr_app import audio as audio_module
from asr_app.bench.arms import APP, Task
from asr_app.datatypes import SAMPLE_RATE
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, expected

_PAUSE_S = 0.6
_STARTS = 3  # of an arm: one cold start takes half as long again as the next, as the disk has it
_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Measured:
    """An arm's figures; `problem` is why there are none. Times are in seconds, `loads` one a start, `seconds` one a
    round, `first_s` that of the run before them; memory is above that of a process which has the libraries imported and
    no model loaded."""

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

    def as_dict(self, audio_s: float) -> dict[str, Any]:
        """For the JSON; the RTF is that of the median round, the load that of the median start."""
        if self.problem:
            return {"problem": self.problem}
        return {
            "rtf": round(statistics.median(self.seconds) / audio_s, 5),
            "rtf_rounds": [round(s / audio_s, 5) for s in self.seconds],
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


def speech(path: Path, minutes: float) -> float:
    """Writes that many minutes of the example clips, one after another with pauses; returns the seconds it became."""
    clips = [audio_module.decode(EXAMPLES / name).samples for name in expected()]
    pause = np.zeros(int(_PAUSE_S * SAMPLE_RATE), np.float32)
    pieces: list[np.ndarray] = []
    wanted, length = minutes * 60 * SAMPLE_RATE, 0
    while length < wanted:
        for piece in (clips[len(pieces) // 2 % len(clips)], pause):
            pieces.append(piece)
            length += len(piece)
    samples = np.concatenate(pieces)[: int(wanted)]
    soundfile.write(path, samples, SAMPLE_RATE)
    return len(samples) / SAMPLE_RATE


class _Process:
    """The arm's process, its answers taken one by one."""

    def __init__(self, name: str, task: Task) -> None:
        given = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(task).items()}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # no pipe: what nobody reads would fill it
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asr_app.bench.arm", name, json.dumps(given)],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
        )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        """Raises RuntimeError with the process's last words where it has died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            last = self._said.read().strip().splitlines()
            raise RuntimeError(last[-1] if last else f"exit code {self._process.returncode}")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self) -> dict[str, Any]:
        """One run."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()


def measure(arms: Sequence[str], task: Task, rounds: int, tell: Callable[[str, str], None]) -> dict[str, Measured]:
    """Each of `arms` on the task, `rounds` times in turn after one run that is not counted. `tell` hears what is done.

    Before that each is started anew in turn, as often as there are rounds, three times at most.
    """
    found = {name: Measured() for name in arms}
    for name in APP:
        if name in arms:
            tell(name, "its first start, which makes the variant that is not cached")
            _start_once(name, task)
    processes: dict[str, _Process] = {}
    starts = min(rounds, _STARTS)
    try:
        for start in range(1, starts + 1):
            for name in arms:
                if name in processes:
                    processes.pop(name).end()
                if found[name].problem:
                    continue
                tell(name, f"start {start} of {starts}")
                _leave_cache(task)
                process = processes[name] = _Process(name, task)
                with _problem(found[name]):
                    told = process.answer()
                    if "missing" in told:
                        raise RuntimeError(
                            f"{told['missing']} is not installed: pip install --no-deps -r tests/peers.txt"
                        )
                    found[name] = Measured(loads=[*found[name].loads, told.pop("load_s")], **told)
        for round_ in range(rounds + 1):
            for name, process in processes.items():
                if found[name].problem:
                    continue
                tell(name, f"round {round_} of {rounds}" if round_ else "warming up")
                with _problem(found[name]):
                    told = process.ask()
                    if not round_:
                        found[name].first_s = told["seconds"]
                    else:
                        found[name].seconds.append(told["seconds"])
                        found[name].cpu_s.append(told["cpu_s"])
                        found[name].rss_mb = max(found[name].rss_mb, told["rss_mb"])
                        found[name].stages = told["stages"]
    finally:
        for process in processes.values():
            process.end()
    return found


def _leave_cache(task: Task) -> None:
    """Has the system forget the files a model is loaded from: a cold start reads them from the disk."""
    if not hasattr(os, "posix_fadvise"):  # on a Mac and on Windows they stay
        return
    for place in filter(None, (task.model, task.exported, task.cache / "variants")):
        for path in [place] if place.is_file() else (p for p in place.rglob("*") if p.is_file()):
            with path.open("rb") as file, contextlib.suppress(OSError):
                os.fsync(file.fileno())  # what is not written yet would stay
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _start_once(name: str, task: Task) -> None:
    """Has the arm's variant made and its self-check passed, if they must be: measured is a later start, at any precision."""
    process = _Process(name, task)
    try:
        with contextlib.suppress(RuntimeError):  # it will be said of the arm that is measured
            process.answer()
    finally:
        process.end()


@contextlib.contextmanager
def _problem(measured: Measured) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, UserError) as error:  # the other arms are still wanted
        measured.problem = str(error)

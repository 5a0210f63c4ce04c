"""Runs the benchmarks one at a time, in a process each, while no transcription waits.

Why a transcription goes first: a person waits for it, and a benchmark may take hours. Why the benchmark's process is
ended for it and not stopped: a stopped one would keep its models in memory, and its clocks would count the pause. Its
finished clips stay, so it loses at most one request of an arm, or the timings of one model.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from asr_app.bench.benchmarks import Benchmarks
from asr_app.bench.child import kill_tree
from asr_app.bench.records import Benchmark
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.report.bench import BenchRequest, Step

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parent.parent.parent
_LOOK_EVERY_S = 0.5
_QUIET_S = 2.0  # without a transcription before a benchmark goes on: who gives one recording often gives another
_GONE_WITHIN_S = 10.0
_CLEAN_EVERY_S = 600.0
_KEPT_WITHIN_S = 0.2  # texts of an earlier run arrive faster than any that is made


@dataclass(frozen=True)
class Progress:
    """The step of the running benchmark; `left_s` is the estimated time to the end of its phase, None while unknown."""

    step: Step
    left_s: float | None = None


class Pace:
    """Estimates the end of a phase from its speed. Texts that an earlier run has made do not count."""

    def __init__(self) -> None:
        self._phase: tuple[str, str, int] = "", "", 0
        self._began, self._last, self._done, self._made = 0.0, 0.0, 0, 0

    def left_s(self, step: Step, now: float) -> float | None:
        """Seconds to the end of the step's phase, at the time `now` in seconds; None while nothing was made."""
        if self._phase != (step.phase, step.model, step.total):
            self._phase = step.phase, step.model, step.total
            self._began, self._made = now, 0
        elif step.phase == "texts" and now - self._last < _KEPT_WITHIN_S:
            self._began += now - self._last
        else:
            self._made += step.done - self._done
        self._last, self._done = now, step.done
        return (step.total - step.done) * (now - self._began) / self._made if self._made else None


class Runner:
    """The thread that runs benchmarks. `is_idle` says whether nobody else needs the machine.

    `module` runs in the process of a benchmark.
    """

    def __init__(
        self, benchmarks: Benchmarks, engines: Engines, cache: Path, is_idle: Callable[[], bool],
        module: str = "asr_app.bench.child",
    ) -> None:  # fmt: skip
        self.progress: Progress | None = None
        self._benchmarks, self._engines, self._cache, self._is_idle = benchmarks, engines, cache, is_idle
        self._module = module
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._gone = threading.Event()  # no benchmark's process runs
        self._gone.set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts taking benchmarks."""
        self._thread = threading.Thread(target=self._work, name="benchmarks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the process; its benchmark goes on at the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread:
            self._thread.join(_GONE_WITHIN_S)

    @property
    def wants_machine(self) -> bool:
        """Whether a benchmark runs or waits."""
        return any(benchmark.state in ("queued", "running") for benchmark in self._benchmarks.all())

    def make_way(self) -> None:
        """Waits until the running benchmark has left memory and processor to a transcription that has just begun."""
        self._wake.set()
        if not self._gone.wait(_GONE_WITHIN_S):
            log.error("the benchmark's process does not end")

    def _work(self) -> None:
        quiet_since, cleaned = time.monotonic(), 0.0
        while not self._stopping.is_set():
            try:
                now = time.monotonic()
                if now - cleaned > _CLEAN_EVERY_S or not cleaned:
                    cleaned = now
                    self._benchmarks.forget_old()
                if not self._is_idle():
                    quiet_since = now
                elif now - quiet_since >= _QUIET_S and self.wants_machine:
                    self._run_next()
            except Exception:  # the thread outlives any benchmark; the traceback goes to the log
                log.exception("a benchmark could not be run; trying again")
                self._stopping.wait(5.0)
            self._wake.wait(_LOOK_EVERY_S)
            self._wake.clear()

    def _run_next(self) -> None:
        self._engines.unload_idle()  # the arms run in processes of their own and need the memory
        if self._engines.resident():  # one is measured by selfbench.py, which stops soon
            return
        benchmark = self._benchmarks.take()
        if benchmark is None:
            return
        self._gone.clear()
        self._benchmarks.busy = benchmark.id
        try:
            self._run(benchmark)
        except UserError as error:
            self._benchmarks.end(benchmark.id, "failed", error)
        finally:
            self.progress, self._benchmarks.busy = None, ""
            self._gone.set()

    def _run(self, benchmark: Benchmark) -> None:
        """Runs the process until it ends, or until the benchmark is cancelled, gives way, or the server stops."""
        command = [
            sys.executable, "-m", self._module, json.dumps(self._request(benchmark).as_dict()), benchmark.name,
            str(self._benchmarks.folder(benchmark)), str(self._cache),
        ]  # fmt: skip
        errors: list[UserError] = []
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as messages:
            process = subprocess.Popen(
                command, cwd=_ROOT, env=os.environ | {"ASR_CACHE": str(self._cache)}, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True,
            )  # fmt: skip
            assert process.stdout is not None  # PIPE above
            reader = threading.Thread(
                target=self._follow, args=(benchmark.id, process.stdout, errors), name="benchmark", daemon=True
            )
            reader.start()
            try:
                while process.poll() is None:
                    self._wake.wait(_LOOK_EVERY_S)
                    self._wake.clear()
                    if self._stopping.is_set():
                        self._benchmarks.end(benchmark.id, "queued")
                    elif not self._is_idle():
                        self._benchmarks.give_way(benchmark.id)
                    state = self._benchmarks.find(benchmark.id)
                    if state is None or state.state != "running":
                        return
            finally:
                kill_tree(process.pid)
                process.wait()
                reader.join()
                process.stdout.close()
            messages.seek(0)
            error = errors[0] if errors else _failure(process.returncode, messages.read())
        self._benchmarks.end(benchmark.id, "failed" if error else "done", error)

    def _request(self, benchmark: Benchmark) -> BenchRequest:
        asked = benchmark.asked
        assert asked is not None  # of one that is no draft
        return BenchRequest(
            asked.models, self._benchmarks.data(benchmark), self._engines.threads, asked.precisions, asked.limit,
            asked.rounds, asked.users, self._engines.device, self._engines.hub_name, only=benchmark.only,
            languages=asked.languages,
        )  # fmt: skip

    def _follow(self, benchmark: str, lines: IO[str], errors: list[UserError]) -> None:
        """Takes in what the process prints, until it ends."""
        pace = Pace()
        for line in lines:
            if not line.endswith("\n"):  # the rest of it was cut off
                return
            answer = json.loads(line)
            if "error" in answer:
                errors.append(UserError(*answer["error"]))
                continue
            step = Step(**answer["step"])
            self.progress = Progress(step, pace.left_s(step, time.monotonic()))
            if step.phase != "decoding" and step.done:
                self._benchmarks.progressed(benchmark)


def _failure(status: int, messages: str) -> UserError | None:
    """The reason why the process ended with this status; None for 0."""
    if status == 0:
        return None
    log.error("a benchmark's process ended with %d:\n%s", status, messages[-4000:])
    last = (messages.strip().splitlines() or [f"exit code {status}"])[-1]
    return UserError(
        f"The benchmark broke off ({last[:200]}). What is done is kept; the server's log has the details. Let it go on, or "
        "choose fewer models.",
        f"评测中断（{last[:200]}）。已完成的部分会保留，详情见服务器日志。请继续运行，或减少模型。",
    )

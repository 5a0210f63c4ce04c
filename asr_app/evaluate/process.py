"""The caller's side of an arm's process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_app.evaluate.arms import ArmText, Clip, Task

_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Started:
    """An arm's report of its loading. Memory is above that of a process with the libraries and without the model.

    `check` is the reason of a failed self-check of this app, empty if it passed.
    """

    import_s: float
    load_s: float
    weights_mb: float | None
    loaded_mb: float
    check: str


@dataclass(frozen=True)
class Answer:
    """A request's result and cost; `seconds` of wall clock, `rss_mb` at its peak, `device_mb` that CUDA allocated."""

    seconds: float
    cpu_s: float
    rss_mb: float
    texts: list[ArmText]
    device_mb: float = 0.0


class ArmProcess:
    """Starts the arm at once. `ready` waits for it, `ask` sends a request. Both raise RuntimeError if it fails."""

    def __init__(self, name: str, task: Task, module: str = "asr_app.evaluate.arm") -> None:
        """`module` runs in the process and serves the arm called `name`."""
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # no pipe: without a reader it would fill up
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, name, task.as_json()],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip

    def ready(self) -> Started:
        """Waits until the arm is loaded and returns the cost of that."""
        answer = self._answer()
        if "missing" in answer:
            raise RuntimeError(f"{answer['missing']} is not installed: pip install --no-deps -r tests/peers.txt")
        if "problem" in answer:
            raise RuntimeError(answer["problem"])
        return Started(**answer)

    def ask(self, clips: Sequence[Clip]) -> Answer:
        """Sends the clips and returns one text a clip."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process died: `_answer` raises with the reason
            request = [dataclasses.asdict(clip) for clip in clips]
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        return Answer(**{**answer, "texts": [ArmText(**text) for text in answer["texts"]]})

    def end(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            if status < 0:  # the log's last line is from before
                raise RuntimeError(f"its process was killed by signal {-status}, as when memory runs out")
            self._log.seek(0)
            last = self._log.read().strip().splitlines()
            raise RuntimeError(last[-1] if last else f"exit code {status}")
        answer: dict[str, Any] = json.loads(line)
        return answer

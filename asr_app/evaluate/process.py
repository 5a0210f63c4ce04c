"""An arm's process, as its caller sees it."""

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

from asr_app.evaluate.arms import Clip, Heard, Task

_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Started:
    """What an arm says once it is loaded. Memory is above that of a process that has the libraries and no model.

    `check` is what this app's self-check found, empty where all is well.
    """

    import_s: float
    load_s: float
    weights_mb: float | None
    loaded_mb: float
    check: str


@dataclass(frozen=True)
class Answer:
    """A request's result and cost; `seconds` of wall clock, `rss_mb` at its peak."""

    seconds: float
    cpu_s: float
    rss_mb: float
    heard: list[Heard]


class ArmProcess:
    """Starts the arm at once. `ready` waits for it, `ask` sends a request. Both raise RuntimeError where it fails."""

    def __init__(self, name: str, task: Task, module: str = "asr_app.evaluate.arm") -> None:
        """`module` is what runs there: it serves the arm of that name."""
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # no pipe: what nobody reads would fill it
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, name, task.as_json()],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
        )  # fmt: skip

    def ready(self) -> Started:
        """What loading cost."""
        told = self._answer()
        if "missing" in told:
            raise RuntimeError(f"{told['missing']} is not installed: pip install --no-deps -r tests/peers.txt")
        if "problem" in told:
            raise RuntimeError(told["problem"])
        return Started(**told)

    def ask(self, clips: Sequence[Clip]) -> Answer:
        """One result a clip."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: its answer says of what
            request = [dataclasses.asdict(clip) for clip in clips]
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()
        told = self._answer()
        return Answer(**{**told, "heard": [Heard(**one) for one in told["heard"]]})

    def end(self) -> None:
        """Ends the process, whatever it is at."""
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            last = self._said.read().strip().splitlines()
            raise RuntimeError(last[-1] if last else f"exit code {self._process.returncode}")
        found: dict[str, Any] = json.loads(line)
        return found

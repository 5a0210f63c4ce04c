"""Models in the formats of the peers. A module in a process of its own writes each once, to the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr_app.evaluate.arms import Task
from asr_app.precision import variants


@dataclass(frozen=True)
class Export:
    """`python -m MODULE WEIGHTS TARGET [KIND]` writes a model, whole or not at all."""

    module: str
    kind: str = ""

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.module.rpartition(".")[2], self.kind)))

    def source(self) -> str:
        """Checksum of the module, so that exports of other versions are not reused."""
        file = Path(__file__).with_name(self.module.rpartition(".")[2] + ".py")
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def export(weights: Path, cache: Path, wanted: Export, tell: Callable[[str, str], None]) -> Path:
    """Path of the model in that format. Raises RuntimeError with the exporter's last line if it fails."""
    target = cache / "exported" / variants.fingerprint({"model": weights}) / f"{wanted.name}-{wanted.source()}"
    if not target.exists():
        tell("peers", f"exporting the model: {wanted.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", wanted.module, str(weights), str(target), *filter(None, [wanted.kind])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise RuntimeError(f"the model could not be exported: {last[0]}")
    return target


def exported(task: Task) -> Path:
    """Path of the model in the format of the peer. Raises RuntimeError if it was not exported."""
    if task.exported is None:
        raise RuntimeError("the model could not be exported for it")
    return task.exported

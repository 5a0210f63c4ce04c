"""Measurements of each precision of a model on this machine. They outlast a restart and are shown beside the switch.

An entry holds for one processor, number of threads, version of the libraries and set of weights. It is measured anew
when any of them changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import platform
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_app.notes import Note
from asr_app.precision.enum import Precision

_FORMAT = 3  # of what is measured, too: 3 since CUDA graphs
_LIBRARIES = ("torch", "onnxruntime", "funasr", "openai-whisper")


@dataclass(frozen=True)
class Speed:
    """Speed-up over FP32, measured in alternation: the median and the spread around it."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """Bytes of the weights, reason of a failed self-check (empty if it passed), and speed-up over FP32."""

    weight_bytes: int
    reason: str = ""
    speed: Speed | None = None

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Evidence:
        """Inverse of `dataclasses.asdict`. Raises TypeError or ValueError for anything else."""
        speed = fields.pop("speed", None)
        return cls(**fields, speed=Speed(**speed) if speed else None)


class Table:
    """Evidence for one device and number of threads, in the folder `home` (None: in memory only).

    A failed self-check is not stored, so the next start repeats it. `busy` is True if the last measurement was
    discarded because other programs were busy.
    """

    busy = False

    def __init__(self, home: Path | None, device: str, threads: int) -> None:
        self._home, self._about = home, [device, threads]
        self._lock = threading.Lock()
        self._known: dict[str, dict[Precision, tuple[str, Evidence]]] = {}

    def of(self, model: str) -> Mapping[Precision, Evidence]:
        """Evidence of `model` by precision."""
        with self._lock:
            return {precision: evidence for precision, (_, evidence) in self._read(model).items()}

    def known(self, model: str, precision: Precision, weights: str) -> bool:
        """Whether the precision was measured on weights whose fingerprint is `weights`."""
        with self._lock:
            entry = self._read(model).get(precision)
            return entry is not None and entry[0] == weights

    def note(self, model: str, precision: Precision, weights: str, evidence: Evidence) -> None:
        """Stores a measurement."""
        with self._lock:
            entries = self._read(model)
            # Entries of other weights no longer hold.
            for other in [p for p, (of, _) in entries.items() if of != weights]:
                del entries[other]
            entries[precision] = weights, evidence
            self._write(model)

    def _note(self, model: str) -> Note:
        return Note(self._home and self._home / "measured", [_FORMAT, model, *self._about, *here()])

    def _read(self, model: str) -> dict[Precision, tuple[str, Evidence]]:
        if model not in self._known:
            self._known[model] = {}
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                stored = self._note(model).read() or {}
                self._known[model] = {
                    Precision(p): (e.pop("weights"), Evidence.from_dict(e)) for p, e in stored.items()
                }
        return self._known[model]

    def _write(self, model: str) -> None:
        stored = {
            precision.value: {"weights": weights, **dataclasses.asdict(evidence)}
            for precision, (weights, evidence) in self._known[model].items()
            if not evidence.reason
        }
        self._note(model).write(stored)


def here() -> list[str]:
    """Key of a measurement: the processor, and the versions of the libraries."""
    return [processor(), *versions()]


@functools.cache
def versions() -> tuple[str, ...]:
    """Versions of the libraries that a result depends on."""
    return tuple(map(importlib.metadata.version, _LIBRARIES))


@functools.cache
def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

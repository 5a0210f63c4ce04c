"""What each precision of a model was measured to be on this machine: kept from start to start, shown beside the switch.

An entry holds for one processor, number of threads, version of the libraries and set of weights, and is measured anew
where any of them changes.
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

_FORMAT = 2
_LIBRARIES = ("torch", "onnxruntime", "funasr", "openai-whisper")


@dataclass(frozen=True)
class Speed:
    """How many times as fast as FP32, measured in alternation: the median and the spread around it."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """The bytes of the weights, why the self-check failed (empty where it passed), and the speed beside FP32."""

    weight_bytes: int
    reason: str = ""
    speed: Speed | None = None

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Evidence:
        """From what `dataclasses.asdict` made. Raises TypeError or ValueError where it is something else."""
        speed = told.pop("speed", None)
        return cls(**told, speed=Speed(**speed) if speed else None)


class Table:
    """The evidence of a device and its threads, in the folder `home` (None: only for as long as the process lives).

    What failed its self-check is not kept: the next start looks again. `busy` is whether the last try to measure did not
    count, since other programs were busy.
    """

    busy = False

    def __init__(self, home: Path | None, device: str, threads: int) -> None:
        self._home, self._about = home, [device, threads]
        self._lock = threading.Lock()
        self._known: dict[str, dict[Precision, tuple[str, Evidence]]] = {}

    def of(self, model: str) -> Mapping[Precision, Evidence]:
        """What is known of `model`, by precision."""
        with self._lock:
            return {precision: evidence for precision, (_, evidence) in self._read(model).items()}

    def known(self, model: str, precision: Precision, weights: str) -> bool:
        """Whether the precision was measured on weights whose fingerprint is `weights`."""
        with self._lock:
            found = self._read(model).get(precision)
            return found is not None and found[0] == weights

    def note(self, model: str, precision: Precision, weights: str, evidence: Evidence) -> None:
        """Keeps what was measured."""
        with self._lock:
            found = self._read(model)
            # Of other weights than these nothing is known any more.
            for other in [p for p, (of, _) in found.items() if of != weights]:
                del found[other]
            found[precision] = weights, evidence
            self._write(model)

    def _note(self, model: str) -> Note:
        return Note(self._home and self._home / "measured", [_FORMAT, model, *self._about, *here()])

    def _read(self, model: str) -> dict[Precision, tuple[str, Evidence]]:
        if model not in self._known:
            self._known[model] = {}
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                told = self._note(model).read() or {}
                self._known[model] = {Precision(p): (e.pop("weights"), Evidence.from_dict(e)) for p, e in told.items()}
        return self._known[model]

    def _write(self, model: str) -> None:
        told = {
            precision.value: {"weights": weights, **dataclasses.asdict(evidence)}
            for precision, (weights, evidence) in self._known[model].items()
            if not evidence.reason
        }
        self._note(model).write(told)


def here() -> list[str]:
    """What a measurement holds for: the processor, and the versions of the libraries."""
    return [processor(), *versions()]


@functools.cache
def versions() -> tuple[str, ...]:
    """Those of the libraries that a result depends on."""
    return tuple(map(importlib.metadata.version, _LIBRARIES))


@functools.cache
def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

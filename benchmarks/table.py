"""Output of a bench: a table to read and one line of JSON to keep."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_app.evaluate.rounds import Measured
from asr_app.evaluate.versions import versions
from asr_app.precision import Precision
from asr_app.precision.evidence import processor
from benchmarks.requests import Request


@dataclass(frozen=True)
class Result:
    """All measurements of a model. `short`: the requests are short clips, each timed alone."""

    model: str
    random_weights: bool
    threads: int
    requests: Sequence[Request]
    measured: Mapping[str, Measured]
    short: bool

    @property
    def audio_s(self) -> float:
        """Seconds of one request; the median of short clips."""
        return statistics.median(request.seconds for request in self.requests)

    def head(self) -> str:
        """The table's first line."""
        times = f"{'p50':>8} {'p95':>8}" if self.short else f"{'RTF':>8}"
        return (
            f"{'arm':<32} {times} {'x FP32':>7} {'error':>7} {'CPU s':>7} {'load':>8} {'weights':>10} {'memory':>9}"
        )  # fmt: skip

    def line(self, arm: str) -> str:
        """An arm's row. `x FP32` is its speed-up over this app at FP32."""
        measured = self.measured[arm]
        if measured.problem:
            return f"{arm:<32} {measured.problem}"
        row, full = measured.as_dict(self.audio_s), self.measured.get(Precision.FP32.value)
        times = "" if full is None or not full.seconds else f"{self._seconds(full) / self._seconds(measured):.2f}"
        timed = f"{row['p50_s']:>6.3f} s {row['p95_s']:>6.3f} s" if self.short else f"{row['rtf']:>8.4f}"
        weights = "" if row["weights_mb"] is None else f"{row['weights_mb']:.0f} MB"
        error = self._error(measured)
        return (
            f"{arm:<32} {timed} {times:>7} {'' if error is None else f'{error:.2%}':>7} {row['cpu_s']:>7.1f} "
            f"{row['load_s']:>6.1f} s {weights:>10} {row['rss_mb']:>6.0f} MB"
        )

    def as_dict(self) -> dict[str, Any]:
        """Figures for the JSON, with the machine and the versions."""
        return {
            "arch": self.model,
            "weights": "random: speed and memory only, no accuracy" if self.random_weights else "real",
            "audio_s": round(self.audio_s, 1),
            "clips": len(self.requests) if self.short else 1,
            "threads": self.threads,
            "machine": processor(),
            "versions": versions(),
            "arms": {
                arm: measured.as_dict(self.audio_s) | ({} if measured.problem else {"error": self._error(measured)})
                for arm, measured in self.measured.items()
            },
        }

    def _seconds(self, measured: Measured) -> float:
        return statistics.median(measured.seconds)

    def _error(self, measured: Measured) -> float | None:
        """Error of the last round's text, or of all short clips; None without a reference."""
        pairs = list(zip(self.requests, measured.texts, strict=True))
        scores = [
            request.recording.score(text)
            for request, text in (pairs if self.short else pairs[-1:])
            if request.recording
        ]
        units = sum(score.units for score in scores)
        return round(sum(score.errors for score in scores) / units, 5) if units else None

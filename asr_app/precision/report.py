"""The effective precision of a model, part by part. counting.py makes the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr_app.precision.enum import Precision


@dataclass(frozen=True)
class PartReport:
    """One heavy submodule. `stored`: bytes by dtype name. `multiplied`: weights (elements) by arithmetic, preceded by
    the storage if the weight is widened first (`FP16→FP32`)."""

    name: str
    stored: Mapping[str, int]
    multiplied: Mapping[str, int]

    @property
    def label(self) -> str:
        """Arithmetic of most of its weights."""
        return max(self.multiplied, key=lambda k: self.multiplied[k]) if self.multiplied else "FP32"


@dataclass(frozen=True)
class PrecisionReport:
    """Requested precision and, part by part, the precision of the tensors."""

    requested: Precision
    parts: tuple[PartReport, ...]

    @property
    def stored(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for part in self.parts:
            total.update(part.stored)
        return dict(total)

    @property
    def weight_bytes(self) -> int:
        return sum(self.stored.values())

    @property
    def effective(self) -> str:
        """`INT8 (encoder, decoder), FP32 (predictor)`; a storage that is only widened shows as `FP16→FP32`."""
        groups: dict[str, list[str]] = {}
        for part in self.parts:
            groups.setdefault(part.label, []).append(part.name)
        if len(groups) == 1:
            return next(iter(groups))
        return ", ".join(f"{label} ({', '.join(names)})" for label, names in groups.items())

    def as_dict(self) -> dict[str, Any]:
        return {
            "summary": self.effective,
            "weight_bytes": self.weight_bytes,
            "stored_bytes": self.stored,
            "parts": {
                p.name: {"stored_bytes": dict(p.stored), "multiplied_weights": dict(p.multiplied)} for p in self.parts
            },
        }

    @classmethod
    def from_dict(cls, requested: str, data: Mapping[str, Any]) -> PrecisionReport:
        """Inverse of `as_dict`, for rows of the journal."""
        parts = (PartReport(n, p["stored_bytes"], p["multiplied_weights"]) for n, p in data["parts"].items())
        return cls(Precision(requested), tuple(parts))

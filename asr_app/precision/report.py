"""Counts a model's tensors by storage and arithmetic: the effective precision, never the requested one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from asr_app.precision.enum import Precision
from asr_app.precision.graph import GraphLayers
from asr_app.precision.linears import QuantizedModule, own_tensors

_NAMES = {
    torch.float32: "FP32",
    torch.float16: "FP16",
    torch.bfloat16: "BF16",
    torch.int8: "INT8",
    torch.float64: "FP64",
}


def dtype_name(dtype: torch.dtype) -> str:
    """FP32 for torch.float32, and so on; other dtypes keep torch's name."""
    return _NAMES.get(dtype, str(dtype).removeprefix("torch."))


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


def report(parts: Mapping[str, nn.Module], requested: Precision) -> PrecisionReport:
    """Reads every tensor of `parts` once; a tensor two parts share is counted in the first."""
    seen: set[tuple[int, torch.Size]] = set()
    return PrecisionReport(requested, tuple(_part(name, module, seen) for name, module in parts.items()))


def _part(name: str, part: nn.Module, seen: set[tuple[int, torch.Size]]) -> PartReport:
    stored: Counter[str] = Counter()
    multiplied: Counter[str] = Counter()
    for module in part.modules():
        if isinstance(module, GraphLayers):
            stored.update(module.stored)
            multiplied.update(module.counts.multiplied)
            continue
        for tensor in own_tensors(module).values():
            identity = tensor.data_ptr(), tensor.shape
            if identity in seen:
                continue
            seen.add(identity)
            stored[dtype_name(tensor.dtype)] += tensor.numel() * tensor.element_size()
            # Biases, norms and tables are added or looked up; only matrices and kernels are multiplied.
            if tensor.dim() >= 2 and not isinstance(module, nn.Embedding | QuantizedModule):
                multiplied[dtype_name(tensor.dtype)] += tensor.numel()
        if isinstance(module, QuantizedModule) and module.weight_count:
            storage, arithmetic = dtype_name(module.storage), dtype_name(module.arithmetic)
            multiplied[arithmetic if storage == arithmetic else f"{storage}→{arithmetic}"] += module.weight_count
    return PartReport(name, dict(stored), dict(multiplied))

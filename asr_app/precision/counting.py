"""Counts a model's tensors by storage and arithmetic: the effective precision, never the requested one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import nn

from asr_app.precision.enum import Precision
from asr_app.precision.graph import GraphLayers
from asr_app.precision.linears import QuantizedModule, own_tensors
from asr_app.precision.report import PartReport, PrecisionReport

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

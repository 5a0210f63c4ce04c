"""Makes modules without weights: on the meta device, for a cached variant to fill."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_FILLS = {
    "normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_", "xavier_normal_", "trunc_normal_", "fill_", "triu_",
}  # fmt: skip


class _Unfilled(TorchFunctionMode):
    """Skips functions that fill weights, and computes tables on the CPU. On the meta device torch implements both in
    Python only, and imports 150 MB of its compiler for them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _FILLS:
            return args[0] if args else kwargs["tensor"]
        kwargs = dict(kwargs or {})
        if name == "arange":
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Inside the block, modules are made on the meta device."""
    with torch.device("meta"), _Unfilled():
        yield

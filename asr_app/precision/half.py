"""Layers computed in FP16 or BF16 from the first to the last, norms and sums of residuals included.

A `HalfLinear` among FP32 layers narrows its input and widens its output. On a GPU that is three kernels where FP32 has
one, and a chunk's time there is the number of its kernels. Inside a stack that is in half precision as a whole nothing is
converted: the input of its first layer is narrowed, the output of its last one widened. This is how the models' makers
run them on a GPU.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # by the name in `Recipe.layers`


def layers(part: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The layers in the part's lists of these `names`, in order."""
    # FunASR's decoder has None for a list without layers, and an encoder without the second stack lacks its list.
    lists = [operator.attrgetter(name)(part) for name in names if hasattr(part, name.partition(".")[0])]
    return [layer for some in lists for layer in some or ()]


def lower(layers: Sequence[nn.Module], dtype: torch.dtype) -> None:
    """Puts `layers`, which run one after the other, into `dtype` in place. Their caller goes on with FP32."""
    for layer in layers:
        layer.to(dtype)
        for module in layer.modules():
            if isinstance(module, nn.LayerNorm):
                # The libraries' classes widen the input first. torch's kernel sums in FP32 on its own.
                module.__class__ = nn.LayerNorm
        layer.register_forward_pre_hook(lambda _, args, kwargs: cast((args, kwargs), dtype), with_kwargs=True)
    layers[-1].register_forward_hook(lambda _, __, output: cast(output, torch.float32))


def dtype_in(layer: nn.Module) -> torch.dtype:
    """The dtype in which `layer` takes its input: that of its norms."""
    return next((m.weight.dtype for m in layer.modules() if isinstance(m, nn.LayerNorm)), torch.float32)


def cast(value: Any, dtype: torch.dtype) -> Any:
    """`value` with its floating-point tensors in `dtype`, inside tuples, lists and dictionaries too."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {name: cast(item, dtype) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(cast(item, dtype) for item in value)
    return value

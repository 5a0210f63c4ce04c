"""The layers that a recipe puts in place of a model's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import nn

from asr_app.precision.linears import HalfEmbedding, HalfLinear, Int8CudaLinear, Int8Linear, QuantizedModule
from asr_app.precision.recipes import Recipe
from asr_app.precision.tables import Int8Embedding, Int8Head


def _int8_on_cuda(linear: nn.Linear) -> QuantizedModule:
    """An INT8 layer, or a BF16 layer if the INT8 kernel cannot multiply with the weight."""
    return Int8CudaLinear(linear) if Int8CudaLinear.takes(linear) else HalfLinear(linear, torch.bfloat16)


# By the name in `Recipe.layers`: the replacement of a linear layer, and of an embedding (None leaves it as it is).
_Linear: TypeAlias = Callable[[nn.Linear], QuantizedModule]
_Embedding: TypeAlias = Callable[[nn.Embedding], QuantizedModule]
LAYERS: Mapping[str, tuple[_Linear, _Embedding | None]] = {
    "bf16": (lambda m: HalfLinear(m, torch.bfloat16), lambda m: HalfEmbedding(m, torch.bfloat16)),
    "fp16": (lambda m: HalfLinear(m, torch.float16), lambda m: HalfEmbedding(m, torch.float16)),
    "int8": (Int8Linear, None),
    "int8-cuda": (_int8_on_cuda, None),
}


def replaces(recipe: Recipe, part: str, name: str, module: nn.Module) -> bool:
    """Whether the recipe replaces `module`, called `name` in `part`."""
    _, embedding = LAYERS[recipe.layers]
    tables = embedding is not None or recipe.is_table(part, name)
    return (
        isinstance(module, nn.Linear | nn.Embedding if tables else nn.Linear)
        and module.weight.numel() >= recipe.smallest
        and not recipe.stays_high(part, name)
    )


def replacement(recipe: Recipe, part: str, name: str, module: nn.Module) -> QuantizedModule | None:
    """The replacement of `module`, called `name` in `part`; None leaves it as it is."""
    if not replaces(recipe, part, name, module):
        return None
    linear, embedding = LAYERS[recipe.layers]
    if recipe.is_table(part, name):
        return Int8Head(module) if isinstance(module, nn.Linear) else Int8Embedding(module)  # type: ignore[arg-type]
    return linear(module) if isinstance(module, nn.Linear) else embedding(module)  # type: ignore[misc, arg-type]

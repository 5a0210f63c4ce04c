"""Turns a loaded model into its variant in place, so that only the arithmetic changes and the comparison is fair."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from asr_app.precision.enum import Precision
from asr_app.precision.recipes import Recipes


@torch.no_grad()
def apply(parts: Mapping[str, nn.Module], recipes: Recipes, precision: Precision, device: str) -> int:
    """Swaps the layers the recipe names and returns how many; FP32 is the model as loaded, and swaps none.

    Raises LookupError where `recipes` has none, and RuntimeError if a recipe replaced nothing: an INT8 that is really
    FP32 is the one thing this app must never show.
    """
    if precision is Precision.FP32:
        return 0
    recipe = recipes[precision, torch.device(device).type]
    replaced = 0
    for part in recipe.parts:
        if part not in parts:
            continue
        for name, module in list(parts[part].named_modules()):
            for child_name, child in list(module.named_children()):
                swap = recipe.replacement(f"{name}.{child_name}" if name else child_name, child)
                if swap is not None:
                    setattr(module, child_name, swap.to(child.weight.device) if device != "cpu" else swap)
                    replaced += 1
    if replaced == 0:
        raise RuntimeError(f"{precision.label} replaced nothing in {sorted(parts)}")
    return replaced

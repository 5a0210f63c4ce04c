"""Turns a loaded model into its variant in place, so that only the arithmetic changes and the comparison is fair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from asr_app.precision import graph
from asr_app.precision.enum import Precision
from asr_app.precision.recipes import Recipe, Recipes


@torch.no_grad()
def apply(
    parts: Mapping[str, nn.Module], recipes: Recipes, precision: Precision, device: str, graphs: Path | None = None
) -> int:
    """Swaps the layers the recipe names and returns how many; FP32 is the model as loaded, and swaps none.

    `graphs` is the folder in which the graphs of the recipe's stacks lie or are to be written; without it they stay
    layers of torch. Raises LookupError where `recipes` has none, OSError
    where a graph cannot be written, and RuntimeError if a recipe replaced nothing: an INT8 that is really FP32 is the
    one thing this app must never show.
    """
    if precision is Precision.FP32:
        return 0
    recipe = recipes[precision, torch.device(device).type]
    replaced = 0
    for part in recipe.parts:
        if part not in parts:
            continue
        if graphs is not None:
            replaced += sum(_graph(part, parts[part], stack, recipe, graphs) for stack in recipe.stacks.get(part, ()))
        for name, module in list(parts[part].named_modules()):
            for child_name, child in list(module.named_children()):
                swap = recipe.replacement(f"{name}.{child_name}" if name else child_name, child)
                if swap is not None:
                    setattr(module, child_name, swap.to(child.weight.device) if device != "cpu" else swap)
                    replaced += 1
    if replaced == 0:
        raise RuntimeError(f"{precision.label} replaced nothing in {sorted(parts)}")
    return replaced


def _graph(name: str, part: nn.Module, stack: graph.Stack, recipe: Recipe, graphs: Path) -> int:
    """Puts the stack's graph in, made first where it is not there; 1, or 0 where there are no such layers."""
    if not graph.layers(part, stack):
        return 0
    path = graphs / f"{name}.{stack.name}.onnx"
    if not path.exists():
        full = path.with_suffix(".full")
        graph.export(part, stack, full)
        graph.quantise(full, path, recipe.keep_high)
        full.unlink()
    counts = graph.count(path)
    graph.put(part, stack, graph.GraphLayers(path, stack, counts))
    return int("INT8" in counts.multiplied)

"""Turns a loaded model into its variant in place. Only the arithmetic changes, so the comparison is fair."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_app.precision import graph, graph_export, half
from asr_app.precision.layers import replacement
from asr_app.precision.recipes import Recipe
from asr_app.precision.smoothing import smooth
from asr_app.precision.stack import Stack
from asr_app.precision.tables import Int8Rows

# Called with steps so far and steps in all; may raise to stop.
OnStep = Callable[[int, int], None]


@torch.no_grad()
def apply(
    parts: Mapping[str, nn.Module],
    recipe: Recipe,
    device: str,
    graphs: Path | None = None,
    full: Path | None = None,
    on_step: OnStep | None = None,
    session: Callable[[Path], Any] = graph.session,
) -> int:
    """Swaps the layers that the recipe names and returns their number.

    The graphs of the recipe's stacks are read from the folder `graphs`, or written to it; without it the stacks stay
    torch layers. The folder `full` keeps their FP32 graphs, for another recipe of the same parts. `session` opens a
    graph. Raises OSError if a graph cannot be written. Raises RuntimeError if the recipe replaced nothing: this app
    must never show an INT8 that is really FP32.
    """
    stacks = [
        (part, stack)
        for part in recipe.parts
        if part in parts and graphs is not None
        for stack in recipe.stacks.get(part, ())
        if graph.layers(parts[part], stack)
    ]
    if not any(parameter.is_meta for part in parts.values() for parameter in part.parameters()):
        smooth(parts, recipe.smoothing)  # a cached variant holds the smoothed tensors
    steps = 2 * len(stacks) + 1
    replaced = 0
    for i, (part, stack) in enumerate(stacks):
        assert graphs is not None
        path = graphs / f"{part}.{stack.name}.onnx"
        if not path.exists():
            high = (full or graphs) / f"{part}.{stack.name}.full"
            if on_step:
                on_step(2 * i, steps)
            if not high.exists():
                graph_export.export(parts[part], stack, high)
            if on_step:
                on_step(2 * i + 1, steps)
            _quantise(part, parts[part], stack, recipe, high, path)
            if full is None:
                shutil.rmtree(high)
        counts = graph.counts_of(path)
        graph.put(parts[part], stack, graph.GraphLayers(path, session(path), stack, counts))
        replaced += int("INT8" in counts.multiplied)
    if on_step:
        on_step(steps - 1, steps)
    tables: dict[int, tuple[nn.Module, Int8Rows]] = {}
    for part in recipe.parts:
        if part not in parts:
            continue
        for name, module in list(parts[part].named_modules()):
            for child_name, child in list(module.named_children()):
                swap = replacement(recipe, part, f"{name}.{child_name}" if name else child_name, child)
                if swap is not None:
                    if isinstance(swap, Int8Rows):  # a table that is the head too is one tensor, and stays one
                        _, first = tables.setdefault(id(child.weight), (child, swap))
                        swap.tie(first)
                    setattr(module, child_name, swap.to(child.weight.device) if device != "cpu" else swap)
                    replaced += 1
    for part, runs in recipe.half.items():
        for names in runs if part in parts else ():
            if run := half.layers(parts[part], names):
                half.lower(run, half.DTYPES[recipe.layers])
    if replaced == 0:
        raise RuntimeError(f"nothing was replaced in {sorted(parts)}")
    return replaced


def _quantise(name: str, part: nn.Module, stack: Stack, recipe: Recipe, full: Path, path: Path) -> None:
    names = list(graph.layers(part, stack))

    def stays_high(layer: str) -> bool:
        number, _, rest = layer.partition(".")
        return number.isdigit() and recipe.stays_high(name, f"{names[int(number)]}.{rest}")

    graph_export.quantise(full, path, stays_high, recipe.ranges.get(f"{name}.{stack.name}"))

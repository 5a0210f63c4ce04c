"""The precisions as data: parts, storage, and the layers that stay high. A new precision is a row.

A family names the parts that are re-stored and the layers that stay high. This module holds what is common to all.

Published INT8 results lose about 0.02 points of error, because some things stay in high precision: norms and biases
(only Linear and Embedding are swapped), FSMN memories and the CIF predictor (convolutions and a part that is never
listed), the activations of most vocabulary heads (16 bits), and layers too small to matter.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_app.precision.enum import Precision
from asr_app.precision.stack import Stack

# By `PART.CHILD`, a list of blocks: pairs of a layer of each block, and the linear layers that take its output. Nothing
# else may take it.
Smoothing = Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]
# Runs of layers, each as the names of the lists that hold them. FP32 code stands between two runs.
HalfRuns = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Recipe:
    """`parts` are names in an engine's `parts`; `keep_high` are patterns of module names inside them.

    A pattern may begin with the part: `encoder.*.w_1`. `tables` are patterns of vocabulary heads, and of the token
    embedding if that is the head too: their rows go to 8 bits, their activations to 16. `stacks`, by part, are layers
    that ONNX Runtime computes as one graph instead, if there is a folder for graphs. Their activations are scaled anew
    at each call or, with `ranges`, by calibration: one file a stack. `smoothing` lists the layers whose channels are
    evened out first. `half`, by part, are runs of layers that are in half precision as a whole (half.py).
    """

    parts: tuple[str, ...]
    layers: str
    keep_high: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    smallest: int = 4096  # elements; smaller weights save nothing
    stacks: Mapping[str, tuple[Stack, ...]] = field(default_factory=dict)
    ranges: Mapping[str, Path] = field(default_factory=dict)
    smoothing: Smoothing = field(default_factory=dict)
    half: Mapping[str, HalfRuns] = field(default_factory=dict)

    def about(self) -> list[Any]:
        """Values that identify the recipe among those of its precision and device."""
        stacks = [[part, [[s.children, s.by_token] for s in listed]] for part, listed in sorted(self.stacks.items())]
        ranges = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(self.ranges.items())}
        about = [self.parts, self.keep_high, self.tables, self.smallest, stacks, ranges, sorted(self.smoothing.items())]
        return [*about, sorted(self.half.items())] if self.half else about

    def stays_high(self, part: str, name: str) -> bool:
        """Whether the layer `name` of `part` keeps its FP32."""
        return _matches(part, name, self.keep_high)

    def is_table(self, part: str, name: str) -> bool:
        """Whether the layer `name` of `part` is a vocabulary table."""
        return _matches(part, name, self.tables)


def _matches(part: str, name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(n, pattern) for pattern in patterns for n in (name, f"{part}.{name}"))


Recipes = Mapping[tuple[Precision, str], Recipe]  # by precision and kind of device


def rows(
    parts: tuple[str, ...],
    keep_high: tuple[str, ...] = (),
    stacks: Mapping[str, tuple[Stack, ...]] | None = None,
    tables: tuple[str, ...] = (),
    int8_parts: tuple[str, ...] = (),
    smoothing: Smoothing | None = None,
    half: Mapping[str, HalfRuns] | None = None,
) -> Recipes:
    """The usual recipes. Layers that `keep_high` matches, and parts not in `parts`, stay FP32 in all of them.

    `stacks`, `tables`, `smoothing` and `int8_parts`, beside `parts`, are for INT8 on CPU; elsewhere the tables stay FP32
    too. `half` is for the half precisions on CUDA.
    """
    high = (*keep_high, *tables)
    recipes: dict[tuple[Precision, str], Recipe] = {}
    for precision, layers in ((Precision.BF16, "bf16"), (Precision.FP16, "fp16")):
        recipes[precision, "cpu"] = Recipe(parts, layers, high)
        recipes[precision, "cuda"] = Recipe(parts, layers, high, half=half or {})
    recipes[Precision.INT8, "cpu"] = Recipe(
        (*parts, *int8_parts), "int8", keep_high=keep_high, tables=tables, stacks=stacks or {},
        smoothing=smoothing or {},
    )  # fmt: skip
    recipes[Precision.INT8, "cuda"] = Recipe(parts, "int8-cuda", high)
    return recipes

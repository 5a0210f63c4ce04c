"""Layers of a part that become one ONNX graph, as data. graph.py makes and runs the graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Stack:
    """`children` of a part, in the order they run, whose layers become one graph.

    A layer takes a sequence `(b, t, d)`, then the arguments of `beside`: a name is another sequence, None the mask of
    the sequence before it. `widths` returns the `d` of each sequence, given the part. With `by_token` the input of a
    linear layer is scaled token by token, not as a whole: finer if tokens differ much in size, and a few passes more.
    `exporting` is a context for tracing, in which layers may behave differently.
    """

    children: tuple[str, ...]
    widths: Callable[[Any], tuple[int, ...]]
    beside: tuple[str | None, ...] = ()
    by_token: bool = False
    exporting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    @property
    def name(self) -> str:
        return self.children[-1]

    @property
    def sequences(self) -> tuple[str, ...]:
        return ("x", *(name for name in self.beside if name is not None))

    def given(self, arguments: Sequence[Any]) -> dict[str, np.ndarray]:
        """The sequences among the `arguments` of a layer, by their names."""
        named = {name: value for name, value in zip(("x", *self.beside), arguments, strict=False) if name is not None}
        return {name: value.detach().numpy() for name, value in named.items()}

"""Work that a GPU is given once and then told to repeat: a CUDA graph for each shape, without the launches in between.

A chunk's encoder is a few hundred small kernels, a step of a decoder as many smaller ones: launching them one by one
takes longer than computing them. On a CPU the same is called anew each time, which is how it is tested.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from asr_app.precision.graph import Stack, layers, put

log = logging.getLogger(__name__)

_BUCKET = 32  # frames: about 2 s of a SAN-M encoder's. A chunk is filled up to a multiple of it, a tenth as a rule
_LONGEST = 512  # frames; what is longer pays for its launches
_WARM_UP = 3  # calls before the capture, in which libraries allocate and choose


class Captured:
    """`run` of tensors that stay where they are. A call copies what it is given there; its result is overwritten by the
    next. Those that never run at once may share a `pool` of memory."""

    def __init__(self, run: Callable[..., torch.Tensor], *given: torch.Tensor, pool: Any = None) -> None:
        self._pool = pool
        self._run, self._given = run, [tensor.clone() for tensor in given]
        self._graph: torch.cuda.CUDAGraph | None = None
        if given[0].is_cuda:
            with torch.cuda.device(given[0].device):
                self._capture()

    def _capture(self) -> None:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                self._run(*self._given)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        try:
            # What other threads do on the device meanwhile is none of the capture's.
            with torch.cuda.graph(graph, pool=self._pool, stream=beside, capture_error_mode="thread_local"):
                self._result = self._run(*self._given)
        except RuntimeError as error:  # the launches are slower, and as right
            log.warning("no CUDA graph could be captured: %s", error)
            return
        self._graph = graph

    def __call__(self, *given: torch.Tensor) -> torch.Tensor:
        for place, tensor in zip(self._given, given, strict=True):
            place.copy_(tensor)
        if self._graph is None:
            return self._run(*self._given)
        self._graph.replay()
        return self._result


class CapturedLayers(nn.Module):
    """The layers of a stack that takes one sequence and its mask, captured for each bucket of lengths."""

    def __init__(self, inner: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(inner)
        self._captured: dict[tuple[int, int], Captured] = {}
        self._pool: Any = None

    def forward(self, x: torch.Tensor, mask: torch.Tensor, *rest: Any) -> tuple[Any, ...]:
        """As the last layer: `x` `(b, t, d)` and `mask` `(b, 1, t)`, 0 where a row is filled up."""
        length = x.shape[1]
        filled = -length % _BUCKET
        if length + filled > _LONGEST:
            return (self._all(x, mask), mask, *rest, None)
        x, wide = nn.functional.pad(x, (0, 0, 0, filled)), nn.functional.pad(mask, (0, filled))
        key = len(x), length + filled
        if key not in self._captured:
            if x.is_cuda and self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            self._captured[key] = Captured(self._all, x, wide, pool=self._pool)
        return (self._captured[key](x, wide)[:, :length].clone(), mask, *rest, None)

    def _all(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, mask)[0]
        return x


def capture(parts: Mapping[str, nn.Module], stacks: Mapping[str, Sequence[Stack]]) -> None:
    """Puts captured layers where the layers of the `stacks` of each part are, if they take one sequence and its mask.

    The layers stay modules of their part: what is counted in them is the same.
    """
    for name, of_part in stacks.items():
        for stack in of_part:
            if name in parts and stack.beside == (None,) and (inner := layers(parts[name], stack)):
                put(parts[name], stack, CapturedLayers(list(inner.values())))

"""CUDA graphs: kernels that were launched once, one by one, and are then repeated by a single launch.

A chunk's encoder is some thousand small kernels, and a decoder's step hundreds. Launching each takes longer than
computing it. A graph repeats the work on the same memory, so there is one for each shape. On a CPU the work is called
again each time, which is how the tests run it.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from asr_app.errors import Cancelled
from asr_app.precision.graph import layers, put
from asr_app.precision.stack import Stack

log = logging.getLogger(__name__)
# Held by a capture, and by whoever waits for the whole device, which would make a capture invalid.
ALONE = threading.Lock()

# Positions: some 2 s of a SAN-M encoder's. A sequence is padded to a multiple of them, by a tenth as a rule.
_BUCKET = 32
_LONGEST = 512  # positions; a longer sequence is launched kernel by kernel
_WARM_UP = 2  # calls before the capture, in which libraries allocate and choose their kernels


class Captured:
    """`run` on tensors that stay where they are.

    A call copies its arguments there. Its result is overwritten by the next call. Those that never run at the same time
    may share a `pool` of memory. If nothing can be captured, `run` is called each time.
    """

    def __init__(self, run: Callable[..., torch.Tensor], *given: torch.Tensor, pool: Any = None) -> None:
        self._run, self._given = run, [tensor.clone() for tensor in given]
        self._graph: torch.cuda.CUDAGraph | None = None
        if given[0].is_cuda:
            with torch.cuda.device(given[0].device):
                self._capture(pool)

    def _capture(self, pool: Any) -> None:
        before, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(before)
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                self._run(*self._given)
        before.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the device meanwhile. They may neither capture nor wait for all of it.
            with ALONE, torch.cuda.graph(graph, pool=pool, stream=beside, capture_error_mode="thread_local"):
                self._result = self._run(*self._given)
        except RuntimeError as error:
            if isinstance(error.__context__, Cancelled):
                raise error.__context__ from None
            log.warning("no CUDA graph could be captured, so kernels are launched one by one: %s", error)
            return
        finally:
            torch.cuda.set_stream(before)  # an invalid capture leaves its own stream current
        self._graph = graph

    def __call__(self, *given: torch.Tensor) -> torch.Tensor:
        for own, tensor in zip(self._given, given, strict=True):
            own.copy_(tensor)
        if self._graph is None:
            return self._run(*self._given)
        self._graph.replay()
        return self._result


class CapturedLayers(nn.Module):
    """The layers of a stack as CUDA graphs, one for each bucket of lengths. They stay modules, and are counted as before.

    A length is captured when it comes again, since the capture takes longer than the layers launched one by one.
    """

    def __init__(self, inner: Sequence[nn.Module], stack: Stack) -> None:
        super().__init__()
        self.layers = nn.ModuleList(inner)
        self._is_mask = [False, *(name is None for name in stack.beside)]
        self._captured: dict[tuple[torch.Size, ...], Captured | None] = {}
        self._pool: Any = None

    def forward(self, x: torch.Tensor, *beside: torch.Tensor) -> tuple[Any, ...]:
        """Replaces the stack's last layer: takes `x` `(b, t, d)` and the arguments beside it, returned unchanged."""
        given = [_padded(tensor, mask) for tensor, mask in zip((x, *beside), self._is_mask, strict=True)]
        shapes = tuple(tensor.shape for tensor in given)
        captured = self._captured.get(shapes)
        if captured is None and shapes in self._captured:
            if x.is_cuda and self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            captured = self._captured[shapes] = Captured(self._all, *given, pool=self._pool)
        elif all(shape[1] <= _LONGEST for shape in shapes):
            self._captured.setdefault(shapes, None)
        y = self._all(x, *beside) if captured is None else captured(*given)[:, : x.shape[1]].clone()
        return (y, *beside, None)

    def _all(self, *given: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            given = layer(*given)[: len(given)]
        return given[0]


def _padded(tensor: torch.Tensor, is_mask: bool) -> torch.Tensor:
    """A sequence `(b, t, d)`, or a mask `(b, 1, t)` or `(b, t, 1)`, with zeros up to a multiple of `_BUCKET` positions."""
    if is_mask and tensor.shape[1] == 1:
        return nn.functional.pad(tensor, (0, -tensor.shape[2] % _BUCKET))
    return nn.functional.pad(tensor, (0, 0, 0, -tensor.shape[1] % _BUCKET))


def capture(parts: Mapping[str, nn.Module], stacks: Mapping[str, Sequence[Stack]]) -> None:
    """Puts captured layers in place of those of the `stacks` of each part.

    A stack that takes one sequence without a mask is left: it is called on one shape, whose layers are large.
    """
    for name, of_part in stacks.items():
        for stack in of_part:
            if name in parts and stack.beside and (inner := layers(parts[name], stack)):
                put(parts[name], stack, CapturedLayers(list(inner.values()), stack))


def kept(steps: dict[Any, Any], key: Any, most: int, make: Callable[[], Any]) -> Any:
    """The captured step of `key` among `steps`, made if there is none. The one unused for longest gives way to it."""
    step = steps.pop(key, None)
    if step is None:
        if len(steps) == most:
            del steps[next(iter(steps))]  # before the new one takes its memory
        step = make()
    steps[key] = step
    return step


def begin(room: torch.Tensor, first: torch.Tensor) -> None:
    """Copies `first` `(b, heads, n, d)` to the beginning of `room`, whose other places become 0.

    Numbers that are not finite, left there by another text, would pass the mask.
    """
    room[:, :, : first.shape[2]] = first
    room[:, :, first.shape[2] :] = 0


def release(parts: Mapping[str, nn.Module]) -> None:
    """Drops the captured steps of `parts`, which hold the keys and values of a batch."""
    for part in parts.values():
        vars(part).get("captured_steps", {}).clear()

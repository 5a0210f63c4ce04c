"""Layers of a part as one ONNX graph, computed by ONNX Runtime: INT8 for stacks that are faster so.

Only the layers are replaced. The code around them (positions, masks, final norms, heads, decoding) stays the library's
own and calls the graph as it called the layers. Each row of a padded batch is cut to its length and runs alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_app.precision.stack import Stack

# Size of a graph that may have two sessions: a smaller one runs in milliseconds, a larger one costs too much memory.
_LEAST_BYTES, _SMALL_BYTES = 5_000_000, 128_000_000
_PRODUCTS = {
    "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "QLinearMatMul",
}  # fmt: skip


def layers(part: nn.Module, stack: Stack) -> dict[str, nn.Module]:
    """Layers of a stack by their names in the part, in order; empty if the part has none of its children."""
    children = {name: getattr(part, name) for name in stack.children}
    # FunASR's decoder has no `decoders2` if all its layers have cross-attention.
    return {
        f"{name}.{i}": layer for name, child in children.items() if child is not None for i, layer in enumerate(child)
    }


@dataclass(frozen=True)
class Counts:
    """Bytes of a graph's weights by dtype name, and the number of weights that are multiplied, by arithmetic."""

    stored: dict[str, int]
    multiplied: dict[str, int]


def session_options() -> Any:
    """ONNX Runtime's options for a graph: one thread, and no memory that is kept between two calls."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Layer by layer. Otherwise the cross-attention keys of all decoder layers are computed first and held at once.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_pattern = False  # plans are kept for lengths that do not recur: memory, and no time won
    return options


def session(path: Path, threads: int = 1) -> Any:
    """Session of the graph at `path`. Opening it packs INT8 weights anew."""
    import onnxruntime

    options = session_options()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def sessions(folder: Path) -> Iterator[Callable[[Path], Any]]:
    """A function like `session` for the graphs in `folder`, which other threads start to open at once."""
    paths = sorted(folder.glob("*.onnx"))
    with ThreadPoolExecutor(max(1, len(paths)), "session") as pool:
        begun = {path: pool.submit(session, path) for path in paths}
        yield lambda path: begun[path].result()


def counts_of(path: Path) -> Counts:
    """Counts that were written beside a graph. Reading the graph itself would import another library."""
    if not _note(path).exists():  # the folder was made by an older version
        return count(path)
    return Counts(**json.loads(_note(path).read_text(encoding="utf-8")))


def write_counts(path: Path) -> None:
    """Counts the graph at `path`, and writes the counts beside it."""
    _note(path).write_text(json.dumps(dataclasses.asdict(count(path))), encoding="utf-8")


def _note(path: Path) -> Path:
    return path.with_suffix(".counts.json")


def count(path: Path) -> Counts:
    """Counts the weights of a graph, without reading the external weights file."""
    import onnx

    names = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.INT8: "INT8", onnx.TensorProto.UINT8: "INT8"}
    sizes = {"FP32": 4, "INT8": 1}
    graph = onnx.load(path, load_external_data=False).graph
    weights: dict[str, tuple[str, int]] = {}
    stored: Counter[str] = Counter()
    for tensor in graph.initializer:
        name = names.get(tensor.data_type)
        if name is None:  # shapes and axes, in 64 bits: a few numbers each
            continue
        elements = 1
        for size in tensor.dims:
            elements *= size
        weights[tensor.name] = name, elements if len(tensor.dims) > 1 else 0
        stored[name] += sizes[name] * elements
    for node in graph.node:  # weights that are widened before they are multiplied
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            name, elements = weights[node.input[0]]
            weights[node.output[0]] = f"{name}→FP32", elements
    multiplied: Counter[str] = Counter()
    for node in graph.node:
        for given in node.input if node.op_type in _PRODUCTS else ():
            name, elements = weights.get(given, ("", 0))
            if elements:
                multiplied[name] += elements
    return Counts(dict(stored), dict(multiplied))


def is_held_twice(weights: int, threads: int) -> bool:
    """Whether a graph with this many bytes of weights has a second session, for single rows."""
    return threads > 1 and _LEAST_BYTES <= weights <= _SMALL_BYTES


class GraphLayers(nn.Module):
    """A stack computed by ONNX Runtime. Several threads may call it at once. One thread computes each row.

    A single row uses the torch threads of the caller if the graph is small: a second session holds the weights once more.
    Whisper base's encoder, 30 s on two cores: 0.56 s with one thread, 0.30 s with two. One session for both uses made
    two rows at once 9 % slower, and two threads that call it, each on two threads, a fifth slower.
    """

    def __init__(self, path: Path, narrow: Any, stack: Stack, counts: Counts) -> None:
        """`narrow` is the session of the graph at `path` with one thread."""
        super().__init__()
        self._narrow, self._stack, self.counts = narrow, stack, counts
        threads = torch.get_num_threads()
        self._wide = session(path, threads) if is_held_twice(sum(counts.stored.values()), threads) else narrow

    @property
    def stored(self) -> dict[str, int]:
        """Bytes of its weights by dtype name, in all its sessions."""
        times = 1 if self._wide is self._narrow else 2
        return {name: times * size for name, size in self.counts.stored.items()}

    def forward(self, x: torch.Tensor, *rest: Any) -> Any:
        """Replaces the stack's last layer: takes `x` `(b, t, d)` and the arguments beside it, returned unchanged."""
        sequences: list[torch.Tensor] = [x]
        masks: list[torch.Tensor | None] = [None]
        for name, value in zip(self._stack.beside, rest, strict=False):
            if name is None:
                masks[-1] = value
            else:
                sequences.append(value)
                masks.append(None)
        if len(x) == 1:
            # Torch counts its threads for each calling thread: one that recognises beside others has one.
            y = self._run(self._wide if torch.get_num_threads() > 1 else self._narrow, sequences)
        else:
            rows = []
            for row in range(len(x)):
                lengths = [s.size(1) if m is None else int(m[row].sum()) for s, m in zip(sequences, masks, strict=True)]
                rows.append([s[row : row + 1, :n].contiguous() for s, n in zip(sequences, lengths, strict=True)])
            run = functools.partial(self._run, self._narrow)
            with ThreadPoolExecutor(min(torch.get_num_threads(), len(rows)), "row") as pool:
                y = nn.utils.rnn.pad_sequence([y[0] for y in pool.map(run, rows)], batch_first=True)
        return (y, *rest, None) if self._stack.beside else y

    def _run(self, by: Any, sequences: Sequence[torch.Tensor]) -> torch.Tensor:
        given = {n: s.detach().numpy() for n, s in zip(self._stack.sequences, sequences, strict=True)}
        return torch.from_numpy(by.run(None, given)[0])


class _Identity(nn.Module):
    """Placeholder for layers that are fused into the following ONNX graph."""

    def forward(self, *given: Any) -> Any:
        return (*given, None) if len(given) > 1 else given[0]


def put(part: nn.Module, stack: Stack, instead: nn.Module) -> None:
    """Replaces the layers of a stack by `instead`, which computes all of them."""
    for name in stack.children:
        child = getattr(part, name)
        if child is not None:
            layer = instead if name == stack.name else _Identity()
            kind = type(child)
            setattr(part, name, kind([layer]) if issubclass(kind, nn.ModuleList) else kind(layer))

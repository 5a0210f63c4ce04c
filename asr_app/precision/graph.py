"""Layers of a part as one ONNX graph, quantised and computed by ONNX Runtime: INT8 for stacks that are faster so.

Only the layers are replaced. The code around them (positions, masks, final norms, heads, decoding) stays the library's
own and calls the graph as it called the layers. The graph has no mask, since a mask changes nothing for one sequence
without padding. Each row of a padded batch is cut to its length and runs alone.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (dynamic quantisation).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asr_app.precision.linears import cpu_has_vnni

FULL = "graph.onnx"  # in the folder of a graph that is not quantised
_OPSET = 17
# Size of a graph that may have two sessions: a smaller one runs in milliseconds, a larger one costs too much memory.
_LEAST_BYTES, _SMALL_BYTES = 5_000_000, 128_000_000
_PRODUCTS = {
    "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Conv", "FusedConv", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "QLinearMatMul",
}  # fmt: skip


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


def layers(part: nn.Module, stack: Stack) -> dict[str, nn.Module]:
    """Layers of a stack by their names in the part, in order; empty if the part has none of its children."""
    children = {name: getattr(part, name) for name in stack.children}
    # FunASR's decoder has no `decoders2` if all its layers have cross-attention.
    return {
        f"{name}.{i}": layer for name, child in children.items() if child is not None for i, layer in enumerate(child)
    }


class _Layers(nn.Module):
    """Module to trace: the layers of a stack, one after another, on one sequence without a mask."""

    def __init__(self, part: nn.Module, stack: Stack) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers(part, stack).values())
        self._beside = stack.beside

    def forward(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        given = iter(others)
        arguments = [None if name is None else next(given) for name in self._beside]
        for layer in self.layers:
            out = layer(x, *arguments)
            x = out[0] if isinstance(out, tuple) else out
        return x


class FusedAttention(torch.autograd.Function):
    """Attention without a mask as one node, which ONNX Runtime computes block by block.

    Without it the scores are nodes of their own: 72 MB a layer for 30 s at Whisper base, written and read three times.
    """

    @staticmethod
    def forward(_: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
        """`(b, n, d)` each -> `(b, n, d)`."""
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(graph: Any, q: Any, k: Any, v: Any, heads: int) -> Any:
        return graph.op("com.microsoft::MultiHeadAttention", q, k, v, num_heads_i=heads).setType(q.type())


@contextlib.contextmanager
def _scaled(within: Iterable[nn.Module]) -> Iterator[None]:
    """Inside the block, linear layers divide each token by its largest value and multiply their output by it."""
    linears = [module for layer in within for module in layer.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        linear.forward = functools.partial(_token_by_token, linear)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for linear in linears:
            del linear.forward


def _token_by_token(linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    largest = x.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    y = nn.functional.linear(x / largest, linear.weight) * largest
    return y if linear.bias is None else y + linear.bias


def export(part: nn.Module, stack: Stack, folder: Path) -> None:
    """Writes the layers as an FP32 graph for sequences of any length, to a new folder: one file cannot hold 2 GB."""
    folder.mkdir()
    lengths = (23, 31)  # of the sequences to trace with
    given = tuple(torch.randn(1, t, d) for t, d in zip(lengths, stack.widths(part), strict=False))
    names = list(stack.sequences)
    scaled = _scaled(layers(part, stack).values()) if stack.by_token else contextlib.nullcontext()
    with torch.no_grad(), scaled, stack.exporting(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about code that tracing cannot follow: these layers have none
        torch.onnx.export(
            _Layers(part, stack).eval(), given, str(folder / FULL), dynamo=False, opset_version=_OPSET,
            input_names=names, output_names=["y"],
            dynamic_axes={name: {1: f"{name}_length"} for name in (*names, "y")},
            custom_opsets={"com.microsoft": 1},
        )  # fmt: skip


def calibrate(full: Path, ranges: Path, inputs: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Writes to `ranges` the range of each input of the graph's products, over all `inputs`.

    `full` is the folder of the exported graph. `inputs` are the graph's inputs by name.
    """
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

    class Inputs(CalibrationDataReader):
        def __init__(self) -> None:
            self._inputs = iter(inputs)

        def get_next(self) -> Mapping[str, np.ndarray] | None:
            return next(self._inputs, None)

    with tempfile.TemporaryDirectory(prefix=".augmented-", dir=full) as work:
        augmented = str(Path(work) / FULL)
        calibrator = create_calibrator(full / FULL, ["MatMul"], augmented, use_external_data_format=True)
        calibrator.collect_data(Inputs())
        save_tensors_data(calibrator.compute_data(), ranges)


def quantise(full: Path, target: Path, stays_high: Callable[[str], bool], ranges: Path | None = None) -> None:
    """Writes the graph to `target` with INT8 weights, scaled by output channel, and INT8 activations, scaled by tensor.

    `full` is the folder of the exported graph. The counts are written beside `target`.

    `stays_high` is called with the layer of each node: `3.feed_forward.w_1` in the layer 3 of the stack. Activations
    are scaled anew at each call or, with the file `ranges`, as calibrated.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

    nodes = onnx.load(full / FULL, load_external_data=False).graph.node
    alike: dict[str, Any] = dict(
        op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, per_channel=True,
        # Without VNNI two products of 8 bits overflow the 16 in which they are summed: 7 bits do not.
        reduce_range=not cpu_has_vnni(),
        nodes_to_exclude=[node.name for node in nodes if stays_high(_layer_name(node.name))],
        use_external_data_format=True,  # with many layers in FP32 it may reach 2 GB, too
    )  # fmt: skip
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises to preprocess through the root logger
    try:
        with tempfile.TemporaryDirectory(prefix=".raw-", dir=target.parent) as work:
            raw = Path(work) / FULL
            if ranges is None:
                quantize_dynamic(full / FULL, raw, **alike)
            else:
                quantize_static(
                    full / FULL, raw, activation_type=QuantType.QUInt8, calibration_cache_path=ranges,
                    # Outputs of products stay FP32. Products of two sequences, as in attention, stay FP32 entirely.
                    extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]}, **alike,
                )  # fmt: skip
            _optimise(raw, target)
        _note(target).write_text(json.dumps(dataclasses.asdict(count(target))), encoding="utf-8")
    finally:
        root.setLevel(level)


def _optimise(raw: Path, target: Path) -> None:
    """Writes the graph as the runtime fuses it, so that the counts match the computation and it starts sooner."""
    import onnxruntime

    options = _session_options()
    # No further level: the next one is specific to the processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    # Beside the graph, weights are mapped from their file, and not held twice while they are made ready.
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", target.name + ".weights"
    )
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(raw), options, providers=["CPUExecutionProvider"])


def _session_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Layer by layer. Otherwise the cross-attention keys of all decoder layers are computed first and held at once.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_pattern = False  # plans are kept for lengths that do not recur: memory, and no time won
    return options


def _layer_name(node: str) -> str:
    """`/layers.3/feed_forward/w_1/MatMul` -> `3.feed_forward.w_1`."""
    return ".".join(node.strip("/").split("/")[:-1]).removeprefix("layers.")


@dataclass(frozen=True)
class Counts:
    """Bytes of a graph's weights by dtype name, and the number of weights that are multiplied, by arithmetic."""

    stored: dict[str, int]
    multiplied: dict[str, int]


def session(path: Path, threads: int = 1) -> Any:
    """Session of the graph at `path`. Opening it packs INT8 weights anew."""
    import onnxruntime

    options = _session_options()
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

    A single row uses all torch threads if the graph is small: a second session holds the weights once more.
    Whisper base's encoder, 30 s on two cores: 0.56 s with one thread, 0.30 s with two. One session for both uses made
    two rows at once 9 % slower.
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
            y = self._run(self._wide, sequences)
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

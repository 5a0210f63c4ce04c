"""Exports a stack of layers as an ONNX graph, and quantises it.

The graph has no mask, since a mask changes nothing for one sequence without padding.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (dynamic quantisation).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asr_app.precision.graph import layers, session_options, write_counts
from asr_app.precision.linears import cpu_has_vnni
from asr_app.precision.stack import Stack

FULL = "graph.onnx"  # in the folder of a graph that is not quantised
_OPSET = 17


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
        write_counts(target)
    finally:
        root.setLevel(level)


def _optimise(raw: Path, target: Path) -> None:
    """Writes the graph as the runtime fuses it, so that the counts match the computation and it starts sooner."""
    import onnxruntime

    options = session_options()
    # No further level: the next one is specific to the processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    # Beside the graph, weights are mapped from their file, and not held twice while they are made ready.
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", target.name + ".weights"
    )
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(raw), options, providers=["CPUExecutionProvider"])


def _layer_name(node: str) -> str:
    """`/layers.3/feed_forward/w_1/MatMul` -> `3.feed_forward.w_1`."""
    return ".".join(node.strip("/").split("/")[:-1]).removeprefix("layers.")

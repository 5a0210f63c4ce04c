"""Whisper as a CTranslate2 folder, as faster-whisper uses it: `model.bin` of version 6, and config.json.

Source: https://github.com/OpenNMT/CTranslate2 (python/ctranslate2/specs/model_spec.py, whisper_spec.py).
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from asr_app.families._whisper_checkpoint import (
    Checkpoint,
    Dimensions,
    Tensors,
    damaged,
    head_pairs,
    misfit,
    quantised,
    read_json,
    refused,
    require_whispers,
)

_SPEC = "WhisperSpec"
# CTranslate2's numbers for its types; 1, 2 and 3 are INT8, INT16 and INT32.
_TYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16, 5: torch.bfloat16}


@dataclass(frozen=True)
class _Variable:
    """One entry of `model.bin`: shape, dtype and offset of its data."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int


class _Reader:
    """Reads the header fields of a `model.bin`, one after the other."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize("<" + kind)
        return int(value)

    def text(self) -> str:
        length = self.number("H")
        content = self.data[self.at : self.at + length]
        self.at += length
        return content.rstrip(b"\0").decode("utf-8")

    def variable(self) -> _Variable:
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        dtype, size, offset = _TYPES[self.number("B")], self.number("I"), self.at
        if size != math.prod(shape) * dtype.itemsize or offset + size > len(self.data):
            raise ValueError("a variable does not fit its size")
        self.at += size
        return _Variable(shape, dtype, offset)


def _mapped(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        # Copy on write, since torch needs a writable buffer; nothing is written.
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)


def is_folder(folder: Path) -> bool:
    """Whether `model.bin` begins with CTranslate2's header: a version, then the name of a specification."""
    try:
        with (folder / "model.bin").open("rb") as file:
            return bool(re.fullmatch(rb"\w+Spec\0", file.read(64)[6:].split(b"\0")[0] + b"\0"))
    except OSError:
        return False


def open_folder(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises UserError if it is damaged, of another architecture, or quantised."""
    file = folder / "model.bin"
    data = _mapped(file)
    reader = _Reader(data)
    try:
        version, spec, _revision = reader.number("I"), reader.text(), reader.number("I")
        if spec != _SPEC:
            raise refused(folder.name, f"its architecture is {spec!r}, not Whisper", f"其架构为 {spec!r}，不是 Whisper")
        if version != 6:
            raise refused(folder.name, f"model.bin has version {version}; version 6 is needed",
                           f"model.bin 版本为 {version}，需要版本 6")  # fmt: skip
        variables = {reader.text(): reader.variable() for _ in range(reader.number("I"))}
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise damaged(f"{folder.name}/model.bin") from error
    for variable in variables.values():
        if variable.shape and not variable.dtype.is_floating_point:
            raise quantised(folder.name, str(variable.dtype).removeprefix("torch."))
    dims = _dims(folder, variables, data)
    heads = head_pairs(read_json(folder / "config.json").get("alignment_heads"), dims)
    return Checkpoint((file,), dims, heads, lambda: _tensors(variables, data, dims))


def _dims(folder: Path, variables: Mapping[str, _Variable], data: mmap.mmap) -> Dimensions:
    def layers(side: str) -> int:
        return len({m[1] for key in variables if (m := re.match(rf"{side}/layer_(\d+)/", key))})

    def heads(side: str, state: int) -> int:
        scalar = variables.get(f"{side}/num_heads")
        return state // 64 if scalar is None else int(_tensor(scalar, data))

    try:
        vocabulary, state = variables["decoder/embeddings/weight"].shape
        dims = Dimensions(
            n_mels=variables["encoder/conv1/weight"].shape[1],
            n_audio_ctx=variables["encoder/position_encodings/encodings"].shape[0],
            n_audio_state=variables["encoder/conv1/weight"].shape[0],
            n_audio_head=heads("encoder", state),
            n_audio_layer=layers("encoder"),
            n_vocab=vocabulary,
            n_text_ctx=variables["decoder/position_encodings/encodings"].shape[0],
            n_text_state=state,
            n_text_head=heads("decoder", state),
            n_text_layer=layers("decoder"),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise misfit(f"{folder.name}/model.bin", f"a variable is missing or has another shape ({error})",
                      f"缺少变量或形状不符（{error}）") from error  # fmt: skip
    require_whispers(folder.name, dims)
    return dims


def _tensor(variable: _Variable, data: mmap.mmap) -> torch.Tensor:
    count = math.prod(variable.shape)
    return torch.frombuffer(data, dtype=variable.dtype, count=count, offset=variable.offset).reshape(variable.shape)


def _tensors(variables: Mapping[str, _Variable], data: mmap.mmap, dims: Dimensions) -> Tensors:
    """Yields openai-whisper's keys and tensors. CTranslate2 stacks the projections of queries, keys and values."""

    def get(name: str) -> torch.Tensor:
        return _tensor(variables[name], data)

    def plain(to: str, name: str, kinds: tuple[str, str] = ("weight", "bias")) -> Tensors:
        for kind, own in zip(("weight", "bias"), kinds, strict=True):
            yield f"{to}.{kind}", get(f"{name}/{own}")

    def norm(to: str, name: str) -> Tensors:
        return plain(to, name, ("gamma", "beta"))

    def stacked(to: str, name: str, projections: tuple[str, ...]) -> Tensors:
        weight, bias = (get(f"{name}/{kind}").chunk(len(projections)) for kind in ("weight", "bias"))
        for projection, w, b in zip(projections, weight, bias, strict=True):
            yield f"{to}.{projection}.weight", w
            # Whisper's keys have no bias: the same bias on all keys would not change the attention.
            if projection != "key":
                yield f"{to}.{projection}.bias", b

    for side, count in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
        for i in range(count):
            of, to = f"{side}/layer_{i}", f"{side}.blocks.{i}"
            yield from norm(f"{to}.attn_ln", f"{of}/self_attention/layer_norm")
            yield from stacked(f"{to}.attn", f"{of}/self_attention/linear_0", ("query", "key", "value"))
            yield from plain(f"{to}.attn.out", f"{of}/self_attention/linear_1")
            if side == "decoder":
                yield from norm(f"{to}.cross_attn_ln", f"{of}/attention/layer_norm")
                yield from plain(f"{to}.cross_attn.query", f"{of}/attention/linear_0")
                yield from stacked(f"{to}.cross_attn", f"{of}/attention/linear_1", ("key", "value"))
                yield from plain(f"{to}.cross_attn.out", f"{of}/attention/linear_2")
            yield from norm(f"{to}.mlp_ln", f"{of}/ffn/layer_norm")
            yield from plain(f"{to}.mlp.0", f"{of}/ffn/linear_0")
            yield from plain(f"{to}.mlp.2", f"{of}/ffn/linear_1")
        yield f"{side}.positional_embedding", get(f"{side}/position_encodings/encodings")
    yield from plain("encoder.conv1", "encoder/conv1")
    yield from plain("encoder.conv2", "encoder/conv2")
    yield from norm("encoder.ln_post", "encoder/layer_norm")
    yield from norm("decoder.ln", "decoder/layer_norm")
    yield "decoder.token_embedding.weight", get("decoder/embeddings/weight")

"""`python -m benchmarks.ggml_export WEIGHTS TARGET KIND`: Whisper's weights in whisper.cpp's format.

The layout is that of whisper.cpp's models/convert-pt-to-ggml.py (magic, dimensions, mel filters, tokens, tensors); the
blocks are those of its ggml-quants.c, and the tensors quantised those of its quantize example: every matrix but the
positional embeddings (https://github.com/ggml-org/whisper.cpp).
"""

from __future__ import annotations

import base64
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from benchmarks import checkpoint

_MAGIC, _VERSION = 0x67676D6C, 2 * 1000  # the version of the blocks stands in the thousands of the file's type
_F32, _F16 = 0, 1
_BLOCK = 32  # values of a row that share a scale
_HIGH = {"encoder.conv1.bias", "encoder.conv2.bias", "encoder.positional_embedding", "decoder.positional_embedding"}
_DIMENSIONS = (
    "n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx", "n_text_state",
    "n_text_head", "n_text_layer", "n_mels",
)  # fmt: skip


def q8_0(rows: np.ndarray) -> bytes:
    """Blocks of an FP16 scale and 32 signed bytes, of float32 `(n, d)`, d a multiple of 32."""
    x = rows.reshape(-1, _BLOCK)
    scale = np.abs(x).max(1, keepdims=True) / np.float32(127)
    y = x * _inverse(scale)
    packed = np.empty(len(x), dtype=[("d", "<f2"), ("q", "i1", _BLOCK)])
    packed["d"], packed["q"] = scale[:, 0], np.trunc(y + np.copysign(np.float32(0.5), y))
    return packed.tobytes()


def q5_1(rows: np.ndarray) -> bytes:
    """Blocks of FP16 scale and minimum, 32 fifth bits and 32 nibbles, of float32 `(n, d)`, d a multiple of 32."""
    x = rows.reshape(-1, _BLOCK)
    low = x.min(1, keepdims=True)
    scale = (x.max(1, keepdims=True) - low) / np.float32(31)
    q = ((x - low) * _inverse(scale) + np.float32(0.5)).astype(np.uint8)
    first, second = q[:, : _BLOCK // 2], q[:, _BLOCK // 2 :]
    packed = np.empty(len(x), dtype=[("d", "<f2"), ("m", "<f2"), ("h", "u1", 4), ("q", "u1", _BLOCK // 2)])
    packed["d"], packed["m"] = scale[:, 0], low[:, 0]
    packed["h"] = np.packbits(q >> 4, axis=1, bitorder="little")
    packed["q"] = (first & 15) | ((second & 15) << 4)
    return packed.tobytes()


def _inverse(scale: np.ndarray) -> np.ndarray:
    return np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)


@dataclass(frozen=True)
class _Kind:
    """Type numbers of the file and of a tensor, and the function that makes its blocks."""

    file: int
    tensor: int
    blocks: Callable[[np.ndarray], bytes]


KINDS: Mapping[str, _Kind] = {"q8_0": _Kind(7, 8, q8_0), "q5_1": _Kind(9, 7, q5_1)}


def main(weights: Path, target: Path, kind: str) -> None:
    """Writes the file `target`, whole or not at all."""
    import whisper

    dims, state = checkpoint.read(weights)
    assets = Path(whisper.__file__).parent / "assets"
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.write(struct.pack("<i", _MAGIC))
        file.write(struct.pack("<11i", *(dims[name] for name in _DIMENSIONS), _VERSION + KINDS[kind].file))
        with np.load(assets / "mel_filters.npz") as filters:
            mel = filters[f"mel_{dims['n_mels']}"].astype("<f4")
        file.write(struct.pack("<2i", *mel.shape) + mel.tobytes())
        lines = (assets / "multilingual.tiktoken").read_bytes().splitlines()
        tokens = [base64.b64decode(line.split()[0]) for line in lines if line]
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, tensor in state.items():
            _write(file, name, tensor.numpy(), KINDS[kind])
    part.replace(target)


def _write(file: BinaryIO, name: str, values: np.ndarray, kind: _Kind) -> None:
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        values = values[:, None]
    if values.ndim == 2 and name not in _HIGH:
        type_, data = kind.tensor, kind.blocks(values)
    elif values.ndim > 2:
        type_, data = _F16, values.astype("<f2").tobytes()
    else:
        type_, data = _F32, values.astype("<f4").tobytes()
    encoded = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(encoded), type_))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + encoded + data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

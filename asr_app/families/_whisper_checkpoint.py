"""The common form of Whisper's weights, whatever the file format, and the errors for other files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from asr_app.errors import UserError

Tensors = Iterator[tuple[str, torch.Tensor]]
# Vocabularies with known language tokens: English-only, 99 languages, 100 (large-v3 on).
_VOCABULARIES = (51864, 51865, 51866)
_WINDOW = 1500  # positions of an encoder's 30 s
_MOST, _MOST_LAYERS = 1_000_000, 256


@dataclass(frozen=True)
class Dimensions:
    """Same as openai-whisper's `ModelDimensions`, whose import takes a second."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    def __post_init__(self) -> None:
        """Raises ValueError for dimensions that no Whisper has, before a module of that size is made."""
        for name, value in asdict(self).items():
            if not isinstance(value, int) or not 0 < value <= (_MOST_LAYERS if name.endswith("layer") else _MOST):
                raise ValueError(f"{name} is {value!r}")
        if self.n_audio_state % self.n_audio_head or self.n_text_state % self.n_text_head:
            raise ValueError("the heads do not divide the state")


@dataclass(frozen=True)
class Checkpoint:
    """A model's files, with dimensions read and weights not read yet.

    `tensors` yields each weight by openai-whisper's key, in the file's own dtype. `heads` are the (layer, head) pairs
    whose attention times words; None if they are not published.
    """

    files: tuple[Path, ...]
    dims: Dimensions
    heads: tuple[tuple[int, int], ...] | None
    tensors: Callable[[], Tensors]

    @property
    def megabytes(self) -> int:
        return round(sum(file.stat().st_size for file in self.files) / 1e6)


def damaged(name: str) -> UserError:
    """The error for a file in none of the formats, or an incomplete one."""
    return UserError(
        f"{name} is damaged or no Whisper checkpoint. Download it again, or choose another one.",
        f"{name} 已损坏或不是 Whisper 检查点。请重新下载或选择其他模型。",
    )


def refused(name: str, en: str, zh: str) -> UserError:
    return UserError(
        f"{name}: {en}. It was not loaded: choose another model.",
        f"{name}：{zh}。未加载，请选择其他模型。",
    )


def misfit(name: str, en: str, zh: str) -> UserError:
    return UserError(
        f"{name}: the checkpoint does not fit its own dimensions: {en}. It was not loaded: download it again.",
        f"{name}：检查点与其自身的维度不符：{zh}。未加载，请重新下载。",
    )


def quantised(name: str, kind: str) -> UserError:
    return refused(
        name,
        f"its weights are {kind.upper()}. Precisions are made from and compared with full-precision weights, and this "
        "file has none; take the float16 or float32 one",
        f"权重为 {kind.upper()}。各精度都由全精度权重生成并与之比较，而该文件没有全精度权重；请使用 float16 或 float32 版本",
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def head_pairs(content: object, dims: Dimensions) -> tuple[tuple[int, int], ...] | None:
    """(layer, head) pairs from JSON; None if they are missing or do not fit."""
    if not isinstance(content, list) or not content:
        return None
    pairs = []
    for pair in content:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair)):
            return None
        if not (0 <= pair[0] < dims.n_text_layer and 0 <= pair[1] < dims.n_text_head):
            return None
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def load_pickle(file: Path, device: str) -> Any:
    # A checkpoint that is no zip file was written before torch 1.6 and cannot be mapped.
    return torch.load(file, map_location=device, weights_only=True, mmap=zipfile.is_zipfile(file) and device == "cpu")


def require_whispers(name: str, dims: Dimensions) -> None:
    """Raises UserError for a vocabulary or a window that openai-whisper would misinterpret."""
    if dims.n_audio_ctx != _WINDOW:
        raise refused(name, f"it hears {dims.n_audio_ctx} positions; Whisper's hear {_WINDOW}",
                       f"其窗口为 {dims.n_audio_ctx} 个位置；Whisper 为 {_WINDOW}")  # fmt: skip
    if dims.n_vocab not in _VOCABULARIES:
        known = ", ".join(map(str, _VOCABULARIES))
        raise refused(name, f"its vocabulary has {dims.n_vocab} tokens; Whisper's have {known}",
                       f"其词表有 {dims.n_vocab} 个词元；Whisper 的词表为 {known}")  # fmt: skip

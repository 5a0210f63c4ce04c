"""Reads Whisper's weights in their usual formats, as data, into openai-whisper's module.

OpenAI's `.pt` (a pickle, read with `weights_only=True`), a Hugging Face folder, and a CTranslate2 folder. No key of a
file names a class or code. Weights are mapped, not read twice, and become FP32 one after the other.

Source of OpenAI's form: https://github.com/openai/whisper (whisper/__init__.py, whisper/model.py).
"""

from __future__ import annotations

import base64
import gzip
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from asr_app.families import _whisper_ct2, _whisper_hf
from asr_app.families._whisper_checkpoint import (
    Checkpoint,
    Dimensions,
    Tensors,
    damaged,
    head_pairs,
    load_pickle,
    misfit,
    quantised,
)


def recognises(path: Path) -> bool:
    """Whether `path` has one of the three formats, even if it is refused later."""
    if _whisper_ct2.is_folder(path) or _whisper_hf.is_folder(path):
        return not (path / "config.yaml").exists()  # a FunASR folder has one
    file = _single_pt(path)
    return file is not None and _openai_dims(file) is not None


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`. Raises UserError if it is damaged, of another architecture, or quantised."""
    if path.is_dir() and _whisper_ct2.is_folder(path):
        return _whisper_ct2.open_folder(path)
    if path.is_dir() and _whisper_hf.is_folder(path):  # checked first, since it may hold an optimizer.pt
        return _whisper_hf.open_folder(path)
    file = _single_pt(path)
    if file is None:
        raise damaged(path.name)
    return _openai(file)


def write_stub(path: Path, folder: Path) -> None:
    """Writes an OpenAI checkpoint of the dimensions and heads alone, for a variant to fill. Raises OSError."""
    checkpoint = open_checkpoint(path)
    heads = [list(pair) for pair in checkpoint.heads] if checkpoint.heads else None
    name = path.stem if path.is_file() else path.name
    torch.save(
        {"dims": asdict(checkpoint.dims), "model_state_dict": {}, "alignment_heads": heads}, folder / f"{name}.pt"
    )


def weights(checkpoint: Checkpoint, expected: Mapping[str, torch.Size], device: str) -> dict[str, torch.Tensor]:
    """Every weight in FP32 on `device`, by its key. Raises UserError unless keys and shapes are those `expected`."""
    name = checkpoint.files[0].name
    got: dict[str, torch.Tensor] = {}
    for key, tensor in _read(name, checkpoint.tensors):
        shape = expected.get(key)
        if shape is None:
            raise misfit(name, f"it has a weight {key} that Whisper lacks", f"多出权重 {key}")
        if tensor.shape != shape:
            was, due = list(tensor.shape), list(shape)
            raise misfit(name, f"{key} is {was} where {due} is due", f"{key} 的形状为 {was}，应为 {due}")
        if not tensor.is_floating_point():
            raise quantised(name, str(tensor.dtype).removeprefix("torch."))
        got[key] = tensor.to(device, torch.float32, copy=True)  # a copy: the file is mapped
    if missing := expected.keys() - got.keys():
        raise misfit(
            name,
            f"{len(missing)} weights are missing ({min(missing)})",
            f"缺少 {len(missing)} 个权重（{min(missing)}）",
        )
    return got


def _read(name: str, tensors: Callable[[], Tensors]) -> Tensors:
    """Yields the tensors. Errors of the reader on a damaged file become UserErrors."""
    from safetensors import SafetensorError

    try:
        for key, tensor in tensors():
            if not isinstance(tensor, torch.Tensor):
                raise damaged(name)
            yield key, tensor
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise damaged(name) from error


def _single_pt(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".pt" else None
    files = [] if (path / "config.yaml").exists() else sorted(path.glob("*.pt"))
    return files[0] if len(files) == 1 else None


def _openai_dims(file: Path) -> tuple[Dimensions, object] | None:
    """The checkpoint's dimensions and heads; None if it is no Whisper checkpoint. Reads no weight."""
    try:
        checkpoint = load_pickle(file, "meta")
        if isinstance(checkpoint, dict) and "model_state_dict" in checkpoint:
            return Dimensions(**checkpoint["dims"]), checkpoint.get("alignment_heads")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
        return None
    return None


def _openai(file: Path) -> Checkpoint:
    read = _openai_dims(file)
    if read is None:
        raise damaged(file.name)
    dims, heads = read

    def tensors() -> Tensors:
        yield from load_pickle(file, "cpu")["model_state_dict"].items()

    return Checkpoint((file,), dims, head_pairs(heads, dims) or _published_heads(file.stem, dims), tensors)


def _published_heads(size: str, dims: Dimensions) -> tuple[tuple[int, int], ...] | None:
    """The heads of a published model, which openai-whisper lists by its name; None for another name."""
    import whisper

    dump = whisper._ALIGNMENT_HEADS.get(size)
    if dump is None:
        return None
    mask = np.frombuffer(gzip.decompress(base64.b85decode(dump)), dtype=bool)
    if mask.size != dims.n_text_layer * dims.n_text_head:  # a checkpoint of other layers or heads under that name
        return None
    return tuple((int(layer), int(head)) for layer, head in np.argwhere(mask.reshape(dims.n_text_layer, -1)))

"""Whisper's weights in the forms that people have them, read as data into openai-whisper's module.

OpenAI's `.pt` (a pickle, read with `weights_only=True`), a Hugging Face folder (safetensors), and a CTranslate2 folder
(`model.bin` version 6, as faster-whisper uses it). No key of a file names a class or code. Weights are mapped, not read
twice, and become FP32 one after the other.

Sources: https://github.com/openai/whisper (whisper/model.py); https://github.com/huggingface/transformers
(models/whisper/convert_openai_to_hf.py); https://github.com/OpenNMT/CTranslate2 (python/ctranslate2/specs).
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import mmap
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_app.errors import UserError

Tensors = Iterator[tuple[str, torch.Tensor]]
_SPEC = "WhisperSpec"
# Only for these it is known which language a token stands for: English-only, 99 languages, 100 (large-v3 on).
_VOCABULARIES = (51864, 51865, 51866)
# CTranslate2's numbers for its types; 1, 2 and 3 are INT8, INT16 and INT32.
_CT2_TYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16, 5: torch.bfloat16}


@dataclass(frozen=True)
class Dimensions:
    """openai-whisper's `ModelDimensions`, which importing takes a second."""

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


@dataclass(frozen=True)
class Checkpoint:
    """A model's files: dimensions are known, weights not read yet.

    `tensors` gives each weight by openai-whisper's key, in the file's own dtype. `heads` are the (layer, head) pairs
    whose attention times words; None where nobody published them.
    """

    files: tuple[Path, ...]
    dims: Dimensions
    heads: tuple[tuple[int, int], ...] | None
    tensors: Callable[[], Tensors]

    @property
    def megabytes(self) -> int:
        return round(sum(file.stat().st_size for file in self.files) / 1e6)


def recognises(path: Path) -> bool:
    """Whether `path` is one of the three forms, be it one that is refused."""
    if path.is_file() or (path / "config.yaml").exists():  # which is FunASR's
        return path.suffix == ".pt" and _openai_dims(path) is not None
    return (
        (path / "config.json").is_file() and (_is_ct2(path) or "model_type" in _json(path / "config.json"))
    ) or _single_pt(path) is not None


def open_checkpoint(path: Path) -> Checkpoint:
    """Raises UserError where the file or folder is damaged, of another architecture, or quantised."""
    file = _single_pt(path)
    if file is not None:
        return _openai(file)
    if path.is_dir() and _is_ct2(path):
        return _ctranslate2(path)
    if (path / "config.json").is_file():
        return _hugging_face(path)
    raise damaged(path.name)


def damaged(name: str) -> UserError:
    """The error for a file that is none of the forms, or half of one."""
    return UserError(
        f"{name} is damaged or no Whisper checkpoint. Download it again, or choose another one.",
        f"{name} 已损坏或不是 Whisper 检查点。请重新下载或选择其他模型。",
    )


def _refused(name: str, en: str, zh: str) -> UserError:
    return UserError(
        f"{name}: {en}. It was not loaded: choose another model.", f"{name}：{zh}。未加载，请选择其他模型。"
    )


def _misfit(name: str, en: str, zh: str) -> UserError:
    return UserError(
        f"{name}: the checkpoint does not fit its own dimensions: {en}. It was not loaded: download it again.",
        f"{name}：检查点与其自身的维度不符：{zh}。未加载，请重新下载。",
    )


def weights(checkpoint: Checkpoint, expected: Mapping[str, torch.Size], device: str) -> dict[str, torch.Tensor]:
    """Every weight in FP32 on `device`, by its key. Raises UserError unless keys and shapes are those `expected`."""
    name = checkpoint.files[0].name
    got: dict[str, torch.Tensor] = {}
    for key, tensor in _checked(name, checkpoint.tensors):
        shape = expected.get(key)
        if shape is None:
            raise _misfit(name, f"it has a weight {key} that Whisper lacks", f"多出权重 {key}")
        if tensor.shape != shape:
            was, due = list(tensor.shape), list(shape)
            raise _misfit(name, f"{key} is {was} where {due} is due", f"{key} 的形状为 {was}，应为 {due}")
        if not tensor.is_floating_point():
            raise _quantised(name, str(tensor.dtype).removeprefix("torch."))
        got[key] = tensor.to(device, torch.float32, copy=True)  # a copy: the file is mapped
    if missing := expected.keys() - got.keys():
        raise _misfit(
            name,
            f"{len(missing)} weights are missing ({min(missing)})",
            f"缺少 {len(missing)} 个权重（{min(missing)}）",
        )
    return got


def _checked(name: str, tensors: Callable[[], Tensors]) -> Tensors:
    """The tensors; what a damaged file makes its reader raise becomes a UserError."""
    from safetensors import SafetensorError

    try:
        yield from tensors()
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise damaged(name) from error


def _quantised(name: str, kind: str) -> UserError:
    return _refused(
        name,
        f"its weights are {kind.upper()}. Precisions are made from and compared with full-precision weights, and this "
        "file has none; take the float16 or float32 one",
        f"权重为 {kind.upper()}。各精度都由全精度权重生成并与之比较，而该文件没有全精度权重；请使用 float16 或 float32 版本",
    )


def _json(path: Path) -> dict[str, Any]:
    """An object in a JSON file; empty where there is none, or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _pairs(found: object, dims: Dimensions) -> tuple[tuple[int, int], ...] | None:
    """(layer, head) pairs from JSON; None where it has none that fit."""
    if not isinstance(found, list) or not found:
        return None
    pairs = []
    for pair in found:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(n, int) for n in pair)):
            return None
        if not (0 <= pair[0] < dims.n_text_layer and 0 <= pair[1] < dims.n_text_head):
            return None
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


# OpenAI


def _single_pt(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".pt" else None
    files = [] if (path / "config.yaml").exists() else sorted(path.glob("*.pt"))
    return files[0] if len(files) == 1 else None


def _load_pickle(file: Path, device: str) -> Any:
    # What is no zip file is of before torch 1.6, and cannot be mapped.
    return torch.load(file, map_location=device, weights_only=True, mmap=zipfile.is_zipfile(file) and device == "cpu")


def _openai_dims(file: Path) -> tuple[Dimensions, object] | None:
    """The checkpoint's dimensions and heads; None where it is no checkpoint of Whisper's. Reads no weight."""
    try:
        found = _load_pickle(file, "meta")
        if isinstance(found, dict) and "model_state_dict" in found:
            return Dimensions(**found["dims"]), found.get("alignment_heads")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
        return None
    return None


def _openai(file: Path) -> Checkpoint:
    read = _openai_dims(file)
    if read is None:
        raise damaged(file.name)
    dims, heads = read

    def tensors() -> Tensors:
        yield from _load_pickle(file, "cpu")["model_state_dict"].items()

    return Checkpoint((file,), dims, _pairs(heads, dims) or _published_heads(file.stem, dims), tensors)


def _published_heads(size: str, dims: Dimensions) -> tuple[tuple[int, int], ...] | None:
    """openai-whisper knows the heads by the name of a published model, not by its file."""
    import whisper

    dump = whisper._ALIGNMENT_HEADS.get(size)
    if dump is None:
        return None
    mask = np.frombuffer(gzip.decompress(base64.b85decode(dump)), dtype=bool)
    if mask.size != dims.n_text_layer * dims.n_text_head:  # a checkpoint of other layers or heads under that name
        return None
    return tuple((int(layer), int(head)) for layer, head in np.argwhere(mask.reshape(dims.n_text_layer, -1)))


# Hugging Face

_HF_KEYS = tuple(
    (re.compile(pattern), to)
    for pattern, to in (
        (r"^model\.", ""),
        (r"^(en|de)coder\.layers\.", r"\1coder.blocks."),
        (r"\.self_attn\.", ".attn."),
        (r"\.self_attn_layer_norm\.", ".attn_ln."),
        (r"\.encoder_attn\.", ".cross_attn."),
        (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
        (r"\.(q|k|v|out)_proj\.", lambda m: {"q": ".query.", "k": ".key.", "v": ".value.", "out": ".out."}[m[1]]),
        (r"\.fc1\.", ".mlp.0."),
        (r"\.fc2\.", ".mlp.2."),
        (r"\.final_layer_norm\.", ".mlp_ln."),
        (r"^encoder\.layer_norm\.", "encoder.ln_post."),
        (r"^decoder\.layer_norm\.", "decoder.ln."),
        (r"\.embed_tokens\.", ".token_embedding."),
        (r"\.embed_positions\.weight$", ".positional_embedding"),
    )
)
_HEAD, _TABLE = "proj_out.weight", "decoder.token_embedding.weight"


def _hugging_face(folder: Path) -> Checkpoint:
    config = _json(folder / "config.json")
    kind = config.get("model_type")
    if kind != "whisper":
        raise _refused(folder.name, f"its architecture is {kind!r}, not Whisper", f"其架构为 {kind!r}，不是 Whisper")
    for key, due in (("activation_function", "gelu"), ("scale_embedding", False)):
        if config.get(key, due) != due:
            raise _refused(folder.name, f"its {key} is {config[key]!r}, Whisper's is {due!r}",
                           f"其 {key} 为 {config[key]!r}，Whisper 为 {due!r}")  # fmt: skip
    names = (
        "num_mel_bins", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers", "vocab_size",
        "max_target_positions", "d_model", "decoder_attention_heads", "decoder_layers",
    )  # fmt: skip
    wrong = [name for name in names if not (isinstance(config.get(name), int) and config[name] > 0)]
    if wrong:
        raise _refused(folder.name, f"config.json has no {wrong[0]}", f"config.json 缺少 {wrong[0]}")
    dims = Dimensions(*(config[name] for name in names))
    _require_vocabulary(folder.name, dims)
    heads = _pairs(_json(folder / "generation_config.json").get("alignment_heads"), dims)
    files = _hf_files(folder)

    def tensors() -> Tensors:
        head = table = None
        for key, tensor in _hf_tensors(files):
            if key == _HEAD:
                head = tensor
                continue
            for pattern, to in _HF_KEYS:
                key = pattern.sub(to, key)
            table = tensor if key == _TABLE else table
            yield key, tensor
        if head is not None and (table is None or not torch.equal(head, table)):
            raise _refused(folder.name, "its vocabulary head is not its table of tokens",
                           "其输出词表与词嵌入表不一致")  # fmt: skip

    return Checkpoint(files, dims, heads, tensors)


def _hf_files(folder: Path) -> tuple[Path, ...]:
    """The files of weights, safetensors before pickles. Raises UserError where there are none, or a shard is missing."""
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (folder / single).is_file():
            return (folder / single,)
        if (folder / index).is_file():
            shards = _json(folder / index).get("weight_map")
            names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
            for name in names:
                # The index of a stranger names no file outside its folder.
                if Path(name).name != name or not (folder / name).is_file():
                    raise _refused(folder.name, f"its shard {name} is missing", f"缺少分片 {name}")
            if names:
                return tuple(folder / name for name in names)
    raise damaged(folder.name)


def _hf_tensors(files: tuple[Path, ...]) -> Tensors:
    from safetensors import safe_open

    for file in files:
        if file.suffix == ".bin":
            yield from _load_pickle(file, "cpu").items()
            continue
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118
                yield key, opened.get_tensor(key)


def _require_vocabulary(name: str, dims: Dimensions) -> None:
    if dims.n_vocab not in _VOCABULARIES:
        known = ", ".join(map(str, _VOCABULARIES))
        raise _refused(name, f"its vocabulary has {dims.n_vocab} tokens; Whisper's have {known}",
                       f"其词表有 {dims.n_vocab} 个词元；Whisper 的词表为 {known}")  # fmt: skip


# CTranslate2


@dataclass(frozen=True)
class _Variable:
    """One entry of `model.bin`: where its data lies."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int


class _Reader:
    """Reads the header fields of a `model.bin`, one after the other."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def number(self, kind: str) -> int:
        (found,) = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize("<" + kind)
        return int(found)

    def text(self) -> str:
        length = self.number("H")
        found = self.data[self.at : self.at + length]
        self.at += length
        return found.rstrip(b"\0").decode("utf-8")

    def variable(self) -> _Variable:
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        dtype, size, offset = _CT2_TYPES[self.number("B")], self.number("I"), self.at
        if size != math.prod(shape) * dtype.itemsize or offset + size > len(self.data):
            raise ValueError("a variable does not fit its size")
        self.at += size
        return _Variable(shape, dtype, offset)


def _mapped(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        # Copy on write, so that torch takes it for its own; nothing is written.
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)


def _is_ct2(folder: Path) -> bool:
    """Whether `model.bin` begins as CTranslate2's do: its version, then the name of a specification."""
    try:
        with (folder / "model.bin").open("rb") as file:
            return bool(re.fullmatch(rb"\w+Spec\0", file.read(64)[6:].split(b"\0")[0] + b"\0"))
    except OSError:
        return False


def _ctranslate2(folder: Path) -> Checkpoint:
    file = folder / "model.bin"
    data = _mapped(file)
    reader = _Reader(data)
    try:
        version, spec, _revision = reader.number("I"), reader.text(), reader.number("I")
        if spec != _SPEC:
            raise _refused(
                folder.name, f"its architecture is {spec!r}, not Whisper", f"其架构为 {spec!r}，不是 Whisper"
            )
        if version != 6:
            raise _refused(folder.name, f"model.bin has version {version}; version 6 is needed",
                           f"model.bin 版本为 {version}，需要版本 6")  # fmt: skip
        found = {reader.text(): reader.variable() for _ in range(reader.number("I"))}
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise damaged(f"{folder.name}/model.bin") from error
    for variable in found.values():
        if variable.shape and not variable.dtype.is_floating_point:
            raise _quantised(folder.name, str(variable.dtype).removeprefix("torch."))
    dims = _ct2_dims(folder, found, data)
    heads = _pairs(_json(folder / "config.json").get("alignment_heads"), dims)
    return Checkpoint((file,), dims, heads, lambda: _ct2_tensors(found, data, dims))


def _ct2_dims(folder: Path, found: Mapping[str, _Variable], data: mmap.mmap) -> Dimensions:
    def layers(side: str) -> int:
        return len({m[1] for key in found if (m := re.match(rf"{side}/layer_(\d+)/", key))})

    def heads(side: str, state: int) -> int:
        scalar = found.get(f"{side}/num_heads")
        return state // 64 if scalar is None else int(_tensor(scalar, data))

    try:
        vocabulary, state = found["decoder/embeddings/weight"].shape
        dims = Dimensions(
            n_mels=found["encoder/conv1/weight"].shape[1],
            n_audio_ctx=found["encoder/position_encodings/encodings"].shape[0],
            n_audio_state=found["encoder/conv1/weight"].shape[0],
            n_audio_head=heads("encoder", state),
            n_audio_layer=layers("encoder"),
            n_vocab=vocabulary,
            n_text_ctx=found["decoder/position_encodings/encodings"].shape[0],
            n_text_state=state,
            n_text_head=heads("decoder", state),
            n_text_layer=layers("decoder"),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise _misfit(f"{folder.name}/model.bin", "variables are missing", "缺少变量") from error
    _require_vocabulary(folder.name, dims)
    return dims


def _tensor(variable: _Variable, data: mmap.mmap) -> torch.Tensor:
    count = math.prod(variable.shape)
    return torch.frombuffer(data, dtype=variable.dtype, count=count, offset=variable.offset).reshape(variable.shape)


def _ct2_tensors(found: Mapping[str, _Variable], data: mmap.mmap, dims: Dimensions) -> Tensors:
    """openai-whisper's keys and tensors. A projection of several is stacked: queries, keys, values."""

    def get(name: str) -> torch.Tensor:
        return _tensor(found[name], data)

    def plain(to: str, name: str, kinds: tuple[str, str] = ("weight", "bias")) -> Tensors:
        for kind, own in zip(("weight", "bias"), kinds, strict=True):
            yield f"{to}.{kind}", get(f"{name}/{own}")

    def norm(to: str, name: str) -> Tensors:
        return plain(to, name, ("gamma", "beta"))

    def stacked(to: str, name: str, projections: tuple[str, ...]) -> Tensors:
        weight, bias = (get(f"{name}/{kind}").chunk(len(projections)) for kind in ("weight", "bias"))
        for projection, w, b in zip(projections, weight, bias, strict=True):
            yield f"{to}.{projection}.weight", w
            # Whisper's keys have no bias; a bias of all keys would not change the attention either.
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
    yield _TABLE, get("decoder/embeddings/weight")


# The module


def stub(checkpoint: Checkpoint) -> dict[str, Any]:
    """An OpenAI checkpoint of the dimensions and heads alone, for a variant to fill."""
    heads = [list(pair) for pair in checkpoint.heads] if checkpoint.heads else None
    return {"dims": asdict(checkpoint.dims), "model_state_dict": {}, "alignment_heads": heads}

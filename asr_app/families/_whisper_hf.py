"""Whisper as a Hugging Face folder: config.json, and weights in safetensors, whole or in shards, or in a pickle.

Source: https://github.com/huggingface/transformers (src/transformers/models/whisper/convert_openai_to_hf.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from asr_app.families._whisper_checkpoint import (
    Checkpoint,
    Dimensions,
    Tensors,
    head_pairs,
    load_pickle,
    read_json,
    refused,
    require_whispers,
)

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


def is_folder(folder: Path) -> bool:
    """Whether config.json names an architecture, Whisper or another one."""
    return "model_type" in read_json(folder / "config.json")


def open_folder(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises UserError for another architecture or other settings than Whisper's."""
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind != "whisper":
        raise refused(folder.name, f"its architecture is {kind!r}, not Whisper", f"其架构为 {kind!r}，不是 Whisper")
    for key, due in (("activation_function", "gelu"), ("scale_embedding", False)):
        if config.get(key, due) != due:
            raise refused(folder.name, f"its {key} is {config[key]!r}, Whisper's is {due!r}",
                           f"其 {key} 为 {config[key]!r}，Whisper 为 {due!r}")  # fmt: skip
    names = (
        "num_mel_bins", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers", "vocab_size",
        "max_target_positions", "d_model", "decoder_attention_heads", "decoder_layers",
    )  # fmt: skip
    if missing := [name for name in names if name not in config]:
        raise refused(folder.name, f"config.json has no {missing[0]}", f"config.json 缺少 {missing[0]}")
    try:
        dims = Dimensions(*(config[name] for name in names))
    except ValueError as error:
        raise refused(folder.name, f"in config.json {error}", f"config.json 中 {error}") from error
    require_whispers(folder.name, dims)
    heads = head_pairs(read_json(folder / "generation_config.json").get("alignment_heads"), dims)
    files = _files(folder)

    def tensors() -> Tensors:
        head = table = None
        for key, tensor in _tensors(files):
            if key == _HEAD:
                head = tensor
                continue
            for pattern, to in _HF_KEYS:
                key = pattern.sub(to, key)
            table = tensor if key == _TABLE else table
            yield key, tensor
        if head is not None and (table is None or not torch.equal(head, table)):
            raise refused(folder.name, "its vocabulary head is not its table of tokens",
                           "其输出词表与词嵌入表不一致")  # fmt: skip

    return Checkpoint(files, dims, heads, tensors)


def _files(folder: Path) -> tuple[Path, ...]:
    """The files of weights, safetensors before pickles. Raises UserError if there are none, or a shard is missing."""
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (folder / single).is_file():
            return (folder / single,)
        if (folder / index).is_file():
            shards = read_json(folder / index).get("weight_map")
            names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
            for name in names:
                # The index is not trusted: it must not name files outside its folder.
                if Path(name).name != name or not (folder / name).is_file():
                    raise refused(folder.name, f"its shard {name} is missing", f"缺少分片 {name}")
            if names:
                return tuple(folder / name for name in names)
    raise refused(folder.name, "it has no model.safetensors", "缺少 model.safetensors")


def _tensors(files: tuple[Path, ...]) -> Tensors:
    from safetensors import safe_open

    for file in files:
        if file.suffix == ".bin":
            weights = load_pickle(file, "cpu")
            if not isinstance(weights, dict):
                raise ValueError("no table of weights")
            yield from weights.items()
            continue
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118
                yield key, opened.get_tensor(key)

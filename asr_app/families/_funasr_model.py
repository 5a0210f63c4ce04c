"""Builds FunASR's models from local folders, with FunASR's own modules and without its AutoModel.

Every class comes from a fixed table, every file of the folder has a fixed name, and weights are only read as tensors.
No code of a folder runs, and no file outside of it is opened. Source: https://github.com/modelscope/FunASR
(funasr/auto/auto_model.py).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import logging
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asr_app.errors import UserError
from asr_app.families._empty import without_weights
from asr_app.families._funasr_config import Layout, arguments, check_top_level, read_config
from asr_app.memory import Needs

log = logging.getLogger(__name__)

# Classes and the modules that define and register them.
_MODULES = {
    "BiCifParaformer": "funasr.models.bicif_paraformer.model",
    "CAMPPlus": "funasr.models.campplus.model",
    "CTTransformer": "funasr.models.ct_transformer.model",
    "CharTokenizer": "funasr.tokenizer.char_tokenizer",
    "CifPredictorV2": "funasr.models.paraformer.cif_predictor",
    "CifPredictorV3": "funasr.models.bicif_paraformer.cif_predictor",
    "FSMN": "funasr.models.fsmn_vad_streaming.encoder",
    "FsmnVADStreaming": "funasr.models.fsmn_vad_streaming.model",
    "FunASRNano": "asr_app.families._funasr_nano",
    "Paraformer": "funasr.models.paraformer.model",
    "ParaformerSANMDecoder": "funasr.models.paraformer.decoder",
    "SANMEncoder": "funasr.models.sanm.encoder",
    "SeacoParaformer": "asr_app.families._funasr_seaco",
    "SenseVoiceEncoderSmall": "funasr.models.sense_voice.model",
    "SenseVoiceSmall": "funasr.models.sense_voice.model",
    "SentencepiecesTokenizer": "funasr.tokenizer.sentencepiece_tokenizer",
    "Transformer": "funasr.models.llm_asr.adaptor",
    "WavFrontend": "funasr.frontends.wav_frontend",
    "WavFrontendOnline": "funasr.frontends.wav_frontend",
}
# Arguments that a class takes beyond those its constructor names.
_FURTHER = {
    "SenseVoiceEncoderSmall": {"feat_permute", "freeze", "freeze_layer_num"},
    "Transformer": {
        "attention_dropout_rate", "attention_heads", "dropout_rate", "freeze", "n_layer", "use_low_frame_rate",
    },
    "Qwen3-0.6b": {"freeze", "hub", "llm_dtype", "lora_conf", "use_lora"},
    "CharTokenizer": {"split_with_space", "unk_symbol"},
    "SentencepiecesTokenizer": {"split_with_space", "unk_symbol"},
    "HuggingfaceTokenizer": {"unk_symbol"},
}  # fmt: skip


def _one(name: str) -> frozenset[str]:
    return frozenset({name})


_PARAFORMER = Layout(
    frozenset({
        "blank_id", "ctc_weight", "eos", "ignore_id", "length_normalized_loss", "lsm_weight", "predictor_bias",
        "predictor_weight", "sampling_ratio", "share_embedding", "sos", "use_1st_decoder_loss",
    }),
    {
        "encoder": _one("SANMEncoder"),
        "decoder": _one("ParaformerSANMDecoder"),
        "predictor": frozenset({"CifPredictorV2", "CifPredictorV3"}),
        "frontend": _one("WavFrontend"),
        "tokenizer": _one("CharTokenizer"),
    },
)  # fmt: skip
LAYOUTS = {
    "Paraformer": _PARAFORMER,
    "BiCifParaformer": _PARAFORMER,
    "SeacoParaformer": Layout(
        _PARAFORMER.conf
        | {
            "NO_BIAS", "bias_encoder_bid", "bias_encoder_dropout_rate", "bias_encoder_type", "inner_dim",
            "seaco_length_normal", "seaco_length_normalized_loss", "seaco_lsm_weight", "seaco_weight", "train_decoder",
        },
        {**_PARAFORMER.parts, "seaco_decoder": _one("ParaformerSANMDecoder")},
    ),
    "SenseVoiceSmall": Layout(
        frozenset({"blank_id", "eos", "ignore_id", "length_normalized_loss", "lsm_weight", "sos"}),
        {
            "encoder": _one("SenseVoiceEncoderSmall"),
            "frontend": _one("WavFrontend"),
            "tokenizer": _one("SentencepiecesTokenizer"),
        },
    ),
    "FunASRNano": Layout(
        frozenset({"length_normalized_loss", "lsm_weight"}),
        {
            "audio_encoder": _one("SenseVoiceEncoderSmall"),
            "audio_adaptor": _one("Transformer"),
            "llm": _one("Qwen3-0.6b"),
            "frontend": _one("WavFrontend"),
            "tokenizer": _one("HuggingfaceTokenizer"),
        },
        # A head that times words. Not every copy of the weights has it, and it is not built.
        frozenset({
            "ctc_decoder", "ctc_decoder_conf", "ctc_tokenizer", "ctc_tokenizer_conf", "ctc_vocab_size", "ctc_weight",
            "detach_ctc_decoder",
        }),
    ),
    "CTTransformer": Layout(
        frozenset({
            "att_unit", "dropout_rate", "embed_unit", "eos", "ignore_id", "punc_list", "punc_weight", "sentence_end_id",
            "sos",
        }),
        {"encoder": _one("SANMEncoder"), "tokenizer": _one("CharTokenizer")},
    ),
    "FsmnVADStreaming": Layout(
        frozenset({
            "dcd_block_size", "decibel_thres", "detect_mode", "do_end_point_detection", "do_extend",
            "do_start_point_detection", "fe_prior_thres", "frame_in_ms", "frame_length_ms", "lookahead_time_end_point",
            "lookback_time_start_point", "max_end_silence_time", "max_single_segment_time", "max_start_silence_time",
            "nn_eval_block_size", "noise_frame_num_used_for_snr", "output_frame_probs", "sample_rate", "sil_pdf_ids",
            "sil_to_speech_time_thres", "silence_pdf_num", "snr_mode", "snr_thres", "speech_2_noise_ratio",
            "speech_noise_thres", "speech_noise_thresh_high", "speech_noise_thresh_low", "speech_to_sil_time_thres",
            "window_size_ms",
        }),
        {"encoder": _one("FSMN"), "frontend": _one("WavFrontendOnline")},
    ),
}  # fmt: skip

LLM_FOLDER = "Qwen3-0.6B"  # configuration and tokenizer of Fun-ASR-Nano's language model
_lock = threading.Lock()


@dataclass(frozen=True)
class FunAsrModel:
    """A module of FunASR with its front end and tokenizer. On a CPU several threads may call `infer` at once."""

    module: Any
    tokenizer: Any
    frontend: Any
    device: str

    @torch.no_grad()
    def infer(self, samples: np.ndarray, **options: Any) -> list[dict[str, Any]]:
        """FunASR's results for one chunk, float32 `(n,)` at 16 kHz."""
        returned = self.module.inference(
            [torch.from_numpy(samples)], key=["-"], tokenizer=self.tokenizer, frontend=self.frontend,
            device=self.device, **options,
        )  # fmt: skip
        results: list[dict[str, Any]] = returned[0] if returned else []
        return results


def load_model(
    folder: Path, classes: tuple[str, ...], device: str, threads: int, *, empty: bool = False
) -> FunAsrModel:
    """The model of `folder`, in evaluation mode on `device`. Sets the number of torch's threads.

    With `empty` no weight is read and all tensors are on the meta device, for a cached variant to fill.

    Raises UserError if the folder is not of one of `classes`, if its configuration or checkpoint is missing, damaged or
    foreign, or if config.yaml has a key that is not allowed.
    """
    config = read_config(folder) or {}
    name = config.get("model")
    if name not in classes:
        what = f"a {name} model" if name else "no FunASR model (there is no readable config.yaml)"
        raise UserError(
            f"{folder.name}: expected one of {', '.join(classes)}, found {what}. Choose another directory.",
            f"{folder.name}：需要 {', '.join(classes)} 之一，实际为 {name or '非 FunASR 模型'}。请选择其他目录。",
        )
    check_top_level(folder, config, LAYOUTS[name])
    state = {} if empty else read_checkpoint(folder)
    torch.set_num_threads(threads)
    try:
        built = build(folder, config, "meta" if empty else device, empty=empty)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{folder.name} does not fit into the memory of {device}. Choose a lower precision, or --device cpu.",
            f"{device} 的显存不足以加载 {folder.name}。请选择更低的精度，或使用 --device cpu。",
        ) from error
    except (AssertionError, ArithmeticError, LookupError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise UserError(
            f"{folder.name}: FunASR cannot build this model ({type(error).__name__}: {error}). "
            "The directory is incomplete or damaged: download it again.",
            f"{folder.name}：FunASR 无法构建该模型（{type(error).__name__}）。目录不完整或已损坏，请重新下载。",
        ) from error
    if not empty:
        refuse_misfit(folder.name, built.module, state)
        built.module.load_state_dict(state, strict=False)
    return FunAsrModel(built.module, built.tokenizer, built.frontend, device)


def build(folder: Path, config: Mapping[str, Any], device: str, *, empty: bool = False) -> FunAsrModel:
    """The model that `config` describes, with fresh weights. The folder's model.pt is not read.

    Raises UserError for an argument that is not allowed, and the errors of FunASR's constructors for wrong values.
    """
    layout = LAYOUTS[config["model"]]
    given: dict[str, Any] = arguments(folder, config, "model_conf", layout.conf)
    conf = {part: _part_arguments(folder, config, part) for part in layout.parts}
    tokenizer, given["vocab_size"] = _tokenizer(folder, config, conf.pop("tokenizer", {}))
    frontend = None
    if "frontend" in conf:
        normalisation = folder / "am.mvn"
        file = str(normalisation) if normalisation.is_file() else None
        frontend = class_of(config["frontend"])(**conf.pop("frontend"), cmvn_file=file)
        given["input_size"] = frontend.output_size()
    from funasr.register import tables

    for part, own in conf.items():
        given |= {part: config[part], f"{part}_conf": own}
        if part != "llm":  # two modules of FunASR may register one name, and the last one imported has it
            getattr(tables, f"{part.rpartition('_')[2]}_classes")[config[part]] = class_of(config[part])
    if "llm" in conf:
        given["llm_folder"] = folder / LLM_FOLDER
    if "seaco_decoder" in conf:
        given["seg_dict"] = folder / "seg_dict"
    with without_weights() if empty else contextlib.nullcontext():
        module = class_of(config["model"])(**given)
    return FunAsrModel(module.to(device).eval(), tokenizer, frontend, device)


def _part_arguments(folder: Path, config: Mapping[str, Any], part: str) -> dict[str, Any]:
    known = set(_FURTHER.get(config[part], ()))
    if part not in ("tokenizer", "llm"):
        names = inspect.signature(class_of(config[part])).parameters
        known |= {name for name, p in names.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
    return arguments(folder, config, f"{part}_conf", known)


def class_of(name: str) -> Any:
    """The class of that name, its module imported, which registers it with FunASR.

    FunASR's own `__init__` imports every package it has and takes four times as long, so it is not run.
    """
    with _lock:
        if "funasr" not in sys.modules and (spec := importlib.util.find_spec("funasr")) is not None:
            sys.modules["funasr"] = importlib.util.module_from_spec(spec)
        return getattr(importlib.import_module(_MODULES[name]), name)


def _tokenizer(folder: Path, config: Mapping[str, Any], conf: dict[str, Any]) -> tuple[Any, int]:
    """The tokenizer and the size of its vocabulary; None and -1 for a model that needs none."""
    name = config.get("tokenizer")
    if name is None:
        return None, -1
    if name == "CharTokenizer":
        tokens = [folder / file for file in ("tokens.json", "tokens.txt") if (folder / file).is_file()]
        tokenizer = class_of(name)(**conf, token_list=str(_only(folder, tokens[:1], "tokens.json")))
        return tokenizer, len(tokenizer.token_list)
    if name == "SentencepiecesTokenizer":
        tokenizer = class_of(name)(
            **conf, bpemodel=str(_only(folder, sorted(folder.glob("*bpe.model")), "*.bpe.model"))
        )
        return tokenizer, tokenizer.get_vocab_size()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / LLM_FOLDER, local_files_only=True, trust_remote_code=False)
    return tokenizer, len(tokenizer)


def _only(folder: Path, files: list[Path], wanted: str) -> Path:
    if len(files) != 1:
        raise UserError(
            f"{folder.name}: there must be one {wanted}, found {len(files)}. Download the model again.",
            f"{folder.name}：应有一个 {wanted}，实际有 {len(files)} 个。请重新下载模型。",
        )
    return files[0]


def needs(folders: Mapping[str, Path]) -> Needs:
    """Memory of all roles at FP32, by the shapes in each model.pt, whose data is not read. Raises UserError."""
    parts: Counter[str] = Counter()
    for folder in folders.values():
        # Tensors that share memory, as a table that is the head too, are one.
        declared = {t.untyped_storage()._cdata: (name, t) for name, t in read_checkpoint(folder, device="meta").items()}
        for name, tensor in declared.values():
            parts[name.partition(".")[0]] += 4 * tensor.numel()
    # The file is read into memory beside the module that it is for.
    return Needs(parts.total(), 2 * parts.total(), parts=parts)


def read_checkpoint(folder: Path, file: str = "model.pt", *, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The tensors of `file`. Reading them checks the checksums that the file has of them. Raises UserError."""
    path = folder / file
    if not path.is_file():
        raise UserError(
            f"{folder.name}: {file} is missing. Download the model again.",
            f"{folder.name}：缺少 {file}。请重新下载模型。",
        )
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{folder.name}: {file} is damaged or no checkpoint ({type(error).__name__}). Download it again.",
            f"{folder.name}：{file} 已损坏或不是检查点（{type(error).__name__}）。请重新下载。",
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise UserError(
            f"{folder.name}: {file} holds no weights. Download it again.",
            f"{folder.name}：{file} 中没有权重。请重新下载。",
        )
    return {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, torch.Tensor)}


def refuse_misfit(name: str, model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Raises UserError unless every weight of `model` is in `state` with its shape, and `state` has no more of them.

    Keys under a name the model has no child of (another training's extra head) only make a line in the log.
    """
    wanted = model.state_dict()
    # A checkpoint may have only one of tensors that share memory, as a token table that is also the head.
    held = {wanted[k].data_ptr() for k in wanted if k in state}
    missing = [k for k in wanted if k not in state and wanted[k].data_ptr() not in held]
    shapes = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    children = {child for child, _ in model.named_children()}
    surplus = [k for k in state if k not in wanted]
    foreign = [k for k in surplus if k.split(".")[0] in children]
    if missing or shapes or foreign:
        example = (missing or shapes or foreign)[0]
        raise UserError(
            f"{name}: the checkpoint does not fit the model: {len(missing)} weights missing, {len(shapes)} of another "
            f"shape, {len(foreign)} unknown (first: {example}). It belongs to another model and was not loaded: download it again, or choose another directory.",
            f"{name}：检查点与模型不符：缺少 {len(missing)} 个权重，{len(shapes)} 个形状不同，"
            f"{len(foreign)} 个未知（例如 {example}）。它属于其他模型，未加载：请重新下载或选择其他目录。",
        )
    if surplus:
        log.warning("%s: %d weights of the checkpoint are not used (first: %s)", name, len(surplus), surplus[0])

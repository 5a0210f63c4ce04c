"""What the FunASR families share: loading a local folder through AutoModel, and refusing one that does not fit.

FunASR loads a checkpoint leniently: a key that is missing or has another shape leaves random weights behind a line of
log that says all is well. So keys and shapes are compared here, and anything short of equal is refused.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import pickle
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Repository
from asr_app.errors import UserError
from asr_app.families._empty import without_weights
from asr_app.families._funasr_import import auto_model, import_all
from asr_app.precision.enum import Precision
from asr_app.precision.graph import Stack

log = logging.getLogger(__name__)

# Layers take the sequence and its mask; the decoder's the encoder's output and its mask as well.
SANM_ENCODER = Stack(("encoders0", "encoders"), lambda encoder: (encoder.encoders0[0].in_size,), (None,))
SANM_SECOND = Stack(("tp_encoders",), lambda encoder: (encoder.output_size(),), (None,))  # of SenseVoice's encoder
SANM_DECODER = Stack(
    ("decoders", "decoders2", "decoders3"), lambda decoder: (decoder.decoders[0].size,) * 2, (None, "memory", None)
)


def repositories(modelscope: str, revision: str, huggingface: str | None = None) -> tuple[Repository, ...]:
    """A model of FunASR's on ModelScope and, where it is there too, on Hugging Face."""
    found = Repository("modelscope", modelscope, revision)
    return (found, Repository("huggingface", huggingface, "main")) if huggingface else (found,)


FSMN_VAD = repositories("iic/speech_fsmn_vad_zh-cn-16k-common-pytorch", "v2.0.4", "funasr/fsmn-vad")
_SHORTEST = SAMPLE_RATE // 5  # FunASR's frontend divides by the number of stacked frames


def model_class(folder: Path) -> str | None:
    """The `model:` of the folder's config.yaml; None if there is no readable one."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return config.get("model") if isinstance(config, dict) else None


def local_card(
    folder: Path,
    family: str,
    languages: tuple[str, ...],
    precisions: tuple[Precision, ...],
    capabilities: frozenset[str],
) -> ModelCard:
    """The card of a local folder: what its files say, with the family's defaults for the rest."""
    weights = folder / "model.pt"
    return ModelCard(
        id=folder.name,
        family=family,
        title=folder.name,
        sources={},
        size_mb=round(weights.stat().st_size / 1e6) if weights.is_file() else 0,
        languages=languages,
        licence="",
        max_chunk_s=20.0,
        precisions=precisions,
        capabilities=capabilities,
        vad="fsmn" if (folder / "vad").is_dir() else "silero",
        directory=str(folder),
    )


def weighted_parts(model: nn.Module) -> dict[str, nn.Module]:
    """The children of a FunASR model that hold weights."""
    return {name: child for name, child in model.named_children() if any(True for _ in child.parameters())}


def long_enough(samples: np.ndarray) -> np.ndarray:
    """`samples`, with silence after them where FunASR would find them too short."""
    return samples if len(samples) >= _SHORTEST else np.pad(samples, (0, _SHORTEST - len(samples)))


def load_auto_model(folder: Path, classes: tuple[str, ...], device: str, threads: int, *, empty: bool = False) -> Any:
    """A `funasr.AutoModel` of the folder, its checkpoint known to fit.

    With `empty` no weight is read: its tensors are on the meta device, for a cached variant to fill.

    Raises UserError if the folder is not of one of `classes`, or config or checkpoint are missing, damaged or foreign.
    """
    found = model_class(folder)
    if found not in classes:
        what = f"a {found} model" if found else "no FunASR model (there is no readable config.yaml)"
        raise UserError(
            f"{folder.name}: expected one of {', '.join(classes)}, found {what}. Choose another directory.",
            f"{folder.name}：需要 {', '.join(classes)} 之一，实际为 {found or '非 FunASR 模型'}。请选择其他目录。",
        )
    state = {} if empty else _checkpoint(folder)
    try:
        try:
            auto = _built(folder, device, threads, empty)
        except (AssertionError, TypeError):  # what FunASR raises for a class that it does not know
            import_all()
            auto = _built(folder, device, threads, empty)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{folder.name} does not fit into the memory of {device}. Choose a lower precision, or --device cpu.",
            f"{device} 的显存不足以加载 {folder.name}。请选择更低的精度，或使用 --device cpu。",
        ) from error
    except (AssertionError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise UserError(
            f"{folder.name}: FunASR cannot build this model ({type(error).__name__}: {error}). "
            "The directory is incomplete or damaged: download it again.",
            f"{folder.name}：FunASR 无法构建该模型（{type(error).__name__}）。目录不完整或已损坏，请重新下载。",
        ) from error
    if empty:
        auto.kwargs["device"] = device
        frontend = auto.kwargs.get("frontend")
        if getattr(frontend, "cmvn", None) is not None:  # a part of no model, read from its own file
            from funasr.frontends.wav_frontend import load_cmvn

            frontend.cmvn = load_cmvn(frontend.cmvn_file)
        auto._store_base_configs()  # what every call begins with
    else:
        refuse_misfit(folder.name, auto.model, state)
    return auto


def _built(folder: Path, device: str, threads: int, empty: bool) -> Any:
    make = auto_model()
    with _quiet(), without_weights() if empty else contextlib.nullcontext():
        return make(
            **_resolved(folder) if empty else {"model": str(folder)}, device="meta" if empty else device,
            ncpu=threads, disable_update=True, disable_pbar=True, disable_log=True, trust_remote_code=False,
        )  # fmt: skip


class Copies:
    """An AutoModel for `workers` threads at once, each with as many threads of torch as it has set for itself.

    FunASR's keeps the state of a call in itself, so each call has a copy of it alone; they share the module. On a GPU
    one call at a time is all there is room for.
    """

    def __init__(self, auto: Any, device: str, threads: int) -> None:
        self.model, self._free = auto.model, queue.SimpleQueue[Any]()
        self.workers = threads if torch.device(device).type == "cpu" else 1
        for _ in range(self.workers):
            one = copy.copy(auto)
            one._base_kwargs_map = {name: dict(value) for name, value in auto._base_kwargs_map.items()}
            self._free.put(one)

    def generate(self, **asked: Any) -> list[dict[str, Any]]:
        """As AutoModel's."""
        auto = self._free.get()
        try:
            # It sets torch's threads at each call, to what it was loaded with.
            auto._base_kwargs_map["kwargs"]["ncpu"] = torch.get_num_threads()
            found: list[dict[str, Any]] = auto.generate(**asked)
            return found
        finally:
            self._free.put(auto)


def _resolved(folder: Path) -> dict[str, Any]:
    """What FunASR makes of a local folder, without the weights, which it would read wherever `init_param` points."""
    from funasr.download.download_model_from_hub import download_model

    # It wants a checkpoint to be there, and takes any file for one: a folder that was carried here has none.
    found: dict[str, Any] = download_model(model=str(folder), init_param=str(folder / "config.yaml"))
    found.pop("init_param", None)
    return {"model_conf": {}} | found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """FunASR logs its configuration through the root logger and prints every key it misses; errors still show."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def _checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    """Keys and shapes of model.pt, on the meta device: no weight is read."""
    path = folder / "model.pt"
    if not path.is_file():
        raise UserError(
            f"{folder.name}: model.pt is missing. Download the model again.",
            f"{folder.name}：缺少 model.pt。请重新下载模型。",
        )
    try:
        state = torch.load(path, map_location="meta", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{folder.name}: model.pt is damaged or no checkpoint ({type(error).__name__}). Download it again.",
            f"{folder.name}：model.pt 已损坏或不是检查点（{type(error).__name__}）。请重新下载。",
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise UserError(
            f"{folder.name}: model.pt holds no weights. Download it again.",
            f"{folder.name}：model.pt 中没有权重。请重新下载。",
        )
    return {k.removeprefix("module."): v for k, v in state.items() if isinstance(v, torch.Tensor)}


def refuse_misfit(name: str, model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Raises UserError unless every weight of `model` is in `state` with its shape, and `state` has no more of them.

    Keys under a name the model has no child of (another training's extra head) only make a line in the log.
    """
    wanted = model.state_dict()
    # Of tensors that are one in memory, as a table of tokens that is the head too, a checkpoint may have only one.
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

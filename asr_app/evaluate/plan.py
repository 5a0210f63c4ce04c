"""The arms of an evaluation, and the key of the results of each."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_app import catalog
from asr_app.datatypes import ModelCard
from asr_app.evaluate.arms import FP32_NO_VAD, SHORT_WINDOWS, Task
from asr_app.evaluate.process import ArmProcess
from asr_app.families._whisper_files import open_checkpoint
from asr_app.precision import Precision, refusal, variants
from asr_app.precision.evidence import here

# A table of sines, which each format rounds differently.
_COMPUTED = "encoder.positional_embedding"
_PACKAGE = Path(__file__).resolve().parent.parent
# Modules and folders of this package that no text of an engine depends on.
_BESIDE = {
    "evaluate",
    "compare",
    "speeds",
    "ui",
    "quantize",
    "cli",
    "server",
    "jobs",
    "journal",
    "formats",
    "docx",
    "subtitles",
    "scoring",
    "selfbench",
    "datasets",
    "report",
    "bench",
}


@dataclass(frozen=True)
class EvaluationArm:
    """A system on a model's weights. `problem` is the reason why it cannot run. `key` identifies its results.

    `start` starts its process, and raises RuntimeError if that fails. `own` is True for this app. `weights` is a hash of
    the weights that the arm is made of.
    """

    name: str
    start: Callable[[], ArmProcess]
    key: str = ""
    problem: str = ""
    own: bool = True
    weights: str = ""


# Makes the arms of other programs for a card, its task and the digest of its weights.
Others = Callable[[ModelCard, Task, str], list[EvaluationArm]]


def arms_of(
    card: ModelCard, task: Task, asked: Sequence[Precision] | None, windows: bool, others: Others | None
) -> list[EvaluationArm]:
    """This app at each of the model's precisions, or at those `asked` for, and the `others`.

    With others, this app's engine at FP32 on the same samples is added. With `windows`, FP32 and INT8 with short
    encoder windows are added.
    """
    weights, code = _content(card, task), _own_code()
    arms = []
    allowed = card.precisions
    for precision in allowed if asked is None else asked:
        problem = refusal(precision, catalog.recipes(card), allowed, task.device)
        if problem is not None and asked is None:
            continue
        names = [precision.value]
        if precision is Precision.FP32 and others and problem is None:
            names.append(FP32_NO_VAD)
        if windows and precision in SHORT_WINDOWS and "short_windows" in card.capabilities:
            names.append(SHORT_WINDOWS[precision])
        for name in names:
            key = digest(name, task.device, weights, code, *here())
            start = functools.partial(ArmProcess, name, task)
            arms.append(EvaluationArm(name, start, key, problem.en if problem else "", weights=weights))
    return arms + (others(card, task, weights) if others else [])


def _content(card: ModelCard, task: Task) -> str:
    """A hash of the weights. Whisper's are hashed by value, so that it is the same in every format and folder."""
    if card.family == "whisper":
        return _whisper_content(task.weights)
    return digest(json.dumps(variants.weights({"model": task.weights}, task.cache), sort_keys=True))


def _whisper_content(weights: Path) -> str:
    """A hash of dimensions and values, independent of format and file."""
    checkpoint = open_checkpoint(weights)
    hashed = hashlib.sha256(repr(sorted(asdict(checkpoint.dims).items())).encode())
    for name, tensor in sorted(checkpoint.tensors(), key=lambda pair: pair[0]):
        if name != _COMPUTED:
            hashed.update(name.encode())
            hashed.update(tensor.float().contiguous().numpy().data)
    return hashed.hexdigest()[:32]


@functools.cache
def _own_code() -> str:
    """A hash of the code that this app's texts depend on."""
    files = sorted(_PACKAGE.rglob("*.py"))
    names = [path.relative_to(_PACKAGE).with_suffix("") for path in files]
    return digest(
        *(f"{name} {checksum(path)}" for name, path in zip(names, files, strict=True) if name.parts[0] not in _BESIDE)
    )


def checksum(path: Path) -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(*texts: str) -> str:
    """A short hash of the texts."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]

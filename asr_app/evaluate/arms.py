"""The systems that an evaluation runs, and the key of the results of each."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import catalog
from asr_app.bench import checkpoint
from asr_app.bench.arms import APP, FP32_NO_VAD, SHORT_WINDOWS, Task
from asr_app.bench.export import export
from asr_app.bench.peers import PEERS
from asr_app.bench.process import ArmProcess
from asr_app.datatypes import ModelCard
from asr_app.precision import Precision, refusal, variants
from asr_app.precision.evidence import here, processor

Tell = Callable[[str, str], None]
_PACKAGE = Path(__file__).resolve().parent.parent
# Rooms of this package that no text of an engine depends on.
_BESIDE = {"evaluate", "ui", "demo", "quantize", "cli", "server", "jobs", "journal", "formats", "scoring", "selfbench"}


@dataclass(frozen=True)
class EvaluationArm:
    """A system on a model's weights. `problem` is why it cannot run; `key` tells its results from all others'."""

    name: str
    task: Task
    key: str = ""
    problem: str = ""

    @property
    def own(self) -> bool:
        return self.name in APP


def peers_of(card: ModelCard) -> list[str]:
    """The peers that `verify --peers` runs on the card's family."""
    return [name for name, peer in PEERS.items() if peer.evaluated and card.family in peer.families]


def arms_of(
    card: ModelCard, task: Task, asked: Sequence[Precision] | None, peers: Sequence[str], windows: bool
) -> list[EvaluationArm]:
    """This app at each precision it has or that is `asked` for, and the `peers`.

    With peers goes this app's engine at FP32 on the samples that they get, with `windows` FP32 and INT8 with encoder
    windows of the other length.
    """
    weights, code = _content(card, task), _own_code()
    found = []
    allowed = card.precisions
    for precision in allowed if asked is None else asked:
        problem = refusal(precision, catalog.recipes(card), allowed, task.device)
        if problem is not None and asked is None:
            continue
        names = [precision.value]
        if precision is Precision.FP32 and peers and problem is None:
            names.append(FP32_NO_VAD)
        if windows and precision in SHORT_WINDOWS and "short_windows" in card.capabilities:
            names.append(SHORT_WINDOWS[precision])
        for name in names:
            key = _digest(name, task.device, weights, code, *here())
            found.append(EvaluationArm(name, task, key, problem.en if problem else ""))
    return found + [_peer(name, task, weights) for name in peers]


def _peer(name: str, task: Task, weights: str) -> EvaluationArm:
    peer = PEERS[name]
    if not peer.here:
        return EvaluationArm(name, task, problem=f"{peer.library} is not installed: see tests/peers.txt")
    key = _digest(
        name, repr(getattr(peer.make, "keywords", "")), weights, processor(), *(importlib.metadata.version(library) for library in peer.distributions),
        _checksum(Path(inspect.getfile(getattr(peer.make, "func", peer.make)))),
        peer.export.source() if peer.export else "",
    )  # fmt: skip
    return EvaluationArm(name, task, key)


def started(arm: EvaluationArm, tell: Tell) -> ArmProcess:
    """The arm's process, a peer's with the model in its own format. Raises RuntimeError where that cannot be written."""
    task, peer = arm.task, PEERS.get(arm.name)
    if peer is not None and peer.export is not None:
        task = dataclasses.replace(task, exported=export(task.weights, task.cache, peer.export, tell))
    return ArmProcess(arm.name, task)


def _content(card: ModelCard, task: Task) -> str:
    """A hash of the weights: of Whisper's by value, so that the same ones in another format or folder are the same."""
    if card.family == "whisper":
        return checkpoint.content(task.weights)
    return _digest(json.dumps(variants.weights({"model": task.weights}, task.cache), sort_keys=True))


@functools.cache
def _own_code() -> str:
    """A hash of the code that this app's texts depend on."""
    files = sorted(_PACKAGE.rglob("*.py"))
    rooms = [path.relative_to(_PACKAGE).with_suffix("") for path in files]
    return _digest(
        *(
            f"{room} {_checksum(path)}"
            for room, path in zip(rooms, files, strict=True)
            if room.parts[0] not in _BESIDE and room.parts[:2] != ("bench", "peers")
        )
    )


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(*told: str) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

"""The arms of `error`: each peer with the model in its own format, and the key of its results."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import inspect
import sys
from pathlib import Path

from asr_app.datatypes import ModelCard
from asr_app.evaluate.arms import Task
from asr_app.evaluate.plan import EvaluationArm, checksum, digest
from asr_app.evaluate.process import ArmProcess
from asr_app.precision.evidence import processor
from benchmarks.export import export
from benchmarks.peers import PEERS, Peer


def peers_of(card: ModelCard, task: Task, weights: str) -> list[EvaluationArm]:
    """Arms of the peers evaluated on the card's family. `weights` is the digest of the weights."""
    return [
        _arm(name, peer, task, weights)
        for name, peer in PEERS.items()
        if peer.evaluated and card.family in peer.families
    ]


def process(name: str, task: Task) -> ArmProcess:
    """Exports the model and starts the peer's process. Raises RuntimeError if the export fails."""
    peer = PEERS[name]
    if peer.export is not None:
        task = dataclasses.replace(task, exported=export(task.weights, task.cache, peer.export, _tell))
    return ArmProcess(name, task, "benchmarks.arm")


def _arm(name: str, peer: Peer, task: Task, weights: str) -> EvaluationArm:
    start = functools.partial(process, name, task)
    if not peer.here:
        problem = f"{peer.library} is not installed: see tests/peers.txt"
        return EvaluationArm(name, start, problem=problem, own=False)
    key = digest(
        name, repr(getattr(peer.make, "keywords", "")), weights, processor(), *(importlib.metadata.version(library) for library in peer.distributions),
        checksum(Path(inspect.getfile(getattr(peer.make, "func", peer.make)))),
        peer.export.source() if peer.export else "",
    )  # fmt: skip
    return EvaluationArm(name, start, key, own=False)


def _tell(arm: str, doing: str) -> None:
    print(f"{arm}: {doing}", file=sys.stderr, flush=True)

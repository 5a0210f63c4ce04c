"""`python -m benchmarks speed`: what is asked for -> what is run -> what is printed."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from asr_app import catalog, config
from asr_app.datatypes import ModelCard
from asr_app.engines import usable_cores
from asr_app.errors import UserError
from asr_app.evaluate.arms import SHORT_WINDOWS, Task
from asr_app.loading import locate
from asr_app.precision import Precision
from asr_app.recordings import reference_of, references
from benchmarks.export import export
from benchmarks.peers import PEERS
from benchmarks.requests import Request, cut, of_length, request_of
from benchmarks.requests import speech as spoken
from benchmarks.rounds import Measured, measure
from benchmarks.table import Result
from training.published import MODELS


def speed(found: argparse.Namespace) -> int:
    """Prints the table, and one line of JSON last. Raises UserError where what is asked for is not there."""
    threads = config.threads(found) or usable_cores()
    if found.data and not found.clips:
        raise UserError("--data is for short clips: add --clips N.", "--data 用于短片段：请加 --clips N。")
    cache = config.cache()
    model, weights, name = _model(found, cache)
    card = catalog.find(model)
    arms = _arms(card, found)
    task = Task(model, weights, threads, cache, found.hub, "cpu", found.vad.resolve() if found.vad else None)
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as folder:
        requests = _requests(found, card, arms, Path(folder))
        tasks, problems = _tasks(arms, task)
        measured = measure(tasks, [request.clip for request in requests], _tell)
    measured = {arm: problems.get(arm) or measured[arm] for arm in arms}
    told = Result(name, bool(found.random_weights), threads, requests, measured, bool(found.clips))
    if found.random_weights:
        print("Random weights: speed and memory only, never accuracy.")
    print(told.head())
    for arm in measured:
        print(told.line(arm))
    print(json.dumps(told.as_dict(), ensure_ascii=False))
    return 0


def _arms(card: ModelCard, found: argparse.Namespace) -> list[str]:
    """The arms asked for, in the order of the table. Raises UserError for a name that none of them has."""
    asked = [Precision.parse(p) for p in found.precision or ("fp32", "int8")]
    asked = [p for p in asked if p in card.precisions]
    arms = [p.value for p in asked]
    if found.windows and "short_windows" in card.capabilities:
        arms += [SHORT_WINDOWS[p] for p in asked if p in SHORT_WINDOWS]
    if found.peers:
        arms += [name for name, peer in PEERS.items() if card.family in peer.families]
    for name in found.arm or ():
        if name not in arms:
            choices = ", ".join(arms)
            raise UserError(
                f"There is no arm {name!r}. Choose from: {choices}. Peers need --peers.",
                f"没有名为 {name!r} 的对比项。可选：{choices}。其他系统需加 --peers。",
            )
    return [arm for arm in arms if not found.arm or arm in found.arm]


def _requests(found: argparse.Namespace, card: ModelCard, arms: Sequence[str], folder: Path) -> list[Request]:
    """One recording as often as there are rounds, or short clips."""
    if found.clips and found.data:
        return of_length(references(found.data), found.clips, found.seconds, card, config.cache() / "sounds")
    audio = found.audio or folder / "speech.wav"
    if found.audio is None:
        spoken(audio, found.minutes)
    if found.clips:
        return cut(audio, found.clips, found.seconds, card, folder)
    recording = reference_of(audio, found.reference)
    with_chunks = any(arm in PEERS and PEERS[arm].chunked for arm in arms)
    return [request_of(audio, card, recording, with_chunks=with_chunks)] * int(found.rounds)


def _tasks(arms: Sequence[str], task: Task) -> tuple[dict[str, Task], dict[str, Measured]]:
    """Each arm's task, with the model in the format of the peer that has its own; and the arms that have no model."""
    tasks, problems = {}, {}
    for arm in arms:
        peer = PEERS.get(arm)
        tasks[arm] = task
        if peer is not None and peer.export is not None and peer.here:
            try:
                tasks[arm] = dataclasses.replace(task, exported=export(task.weights, task.cache, peer.export, _tell))
            except RuntimeError as error:
                problems[arm] = Measured(str(error))
                del tasks[arm]
    return tasks, problems


def _tell(arm: str, doing: str) -> None:
    """Says on stderr what is going on, on a terminal in one line."""
    begin, end = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{begin}{arm}: {doing}", end=end, file=sys.stderr, flush=True)


def _model(found: argparse.Namespace, cache: Path) -> tuple[str, Path, str]:
    """The model as the catalog finds it, where its weights lie, built if they are to be random, and what it is called."""
    if bool(found.arch) == bool(found.model):
        raise UserError(
            "Name a model, or an --arch with --random-weights.", "请指定模型，或 --arch 加 --random-weights。"
        )
    if found.model:
        return found.model, locate(catalog.find(found.model), found.hub)["model"], found.model
    if found.arch not in MODELS or not found.random_weights:
        choices = ", ".join(MODELS)
        raise UserError(
            f"--arch takes one of {choices}, with --random-weights; a model with its weights is named without --arch.",
            f"--arch 需为 {choices} 之一，并加 --random-weights；带权重的模型直接写模型名。",
        )
    place = cache / "random" / found.arch
    done = place / "path.txt"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with contextlib.redirect_stdout(sys.stderr):  # FunASR prints a line for each weight there is not
            made = MODELS[found.arch](place)
        done.write_text(str(made.relative_to(place)), encoding="utf-8")
    built = (place / done.read_text(encoding="utf-8")).resolve()
    return str(built), built, found.arch

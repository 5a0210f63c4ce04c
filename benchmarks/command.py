"""`python -m benchmarks speed`: runs the arms that the arguments ask for and prints the table."""

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
from asr_app.datasets import references
from asr_app.datatypes import ModelCard
from asr_app.devices import usable_cores
from asr_app.errors import UserError
from asr_app.evaluate.arms import APP, SHORT_WINDOWS, Task
from asr_app.evaluate.process import ArmProcess
from asr_app.evaluate.rounds import Measured, measure
from asr_app.loading import locate
from asr_app.precision import Precision
from asr_app.recordings import reference_of
from benchmarks.export import export
from benchmarks.peers import PEERS
from benchmarks.requests import Request, cut, of_length, request_of
from benchmarks.requests import speech as spoken
from benchmarks.table import Result
from training.published import MODELS


def speed(args: argparse.Namespace) -> int:
    """Prints the table, and one line of JSON last. Raises UserError for wrong arguments."""
    threads = config.threads(args) or usable_cores()
    if args.data and not args.clips:
        raise UserError("--data is for short clips: add --clips N.", "--data 用于短片段：请加 --clips N。")
    cache = config.cache()
    model, weights, name = _model(args, cache)
    card = catalog.find(model)
    arms = _arms(card, args)
    task = Task(model, weights, threads, cache, args.hub, "cpu", args.vad.resolve() if args.vad else None)
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as folder:
        requests = _requests(args, card, arms, Path(folder))
        tasks, problems = _tasks(arms, task)
        measured = measure(tasks, [request.clip for request in requests], _tell, start=start)
    measured = {arm: problems.get(arm) or measured[arm] for arm in arms}
    result = Result(name, bool(args.random_weights), threads, requests, measured, bool(args.clips))
    if args.random_weights:
        print("Random weights: speed and memory only, never accuracy.")
    print(result.head())
    for arm in measured:
        print(result.line(arm))
    print(json.dumps(result.as_dict(), ensure_ascii=False))
    return 0


def _arms(card: ModelCard, args: argparse.Namespace) -> list[str]:
    """The requested arms, in the order of the table. Raises UserError for an unknown name."""
    asked = [Precision.parse(p) for p in args.precision or ("fp32", "int8")]
    asked = [p for p in asked if p in card.precisions]
    arms = [p.value for p in asked]
    if args.windows and "short_windows" in card.capabilities:
        arms += [SHORT_WINDOWS[p] for p in asked if p in SHORT_WINDOWS]
    if args.peers:
        arms += [name for name, peer in PEERS.items() if card.family in peer.families]
    for name in args.arm or ():
        if name not in arms:
            choices = ", ".join(arms)
            raise UserError(
                f"There is no arm {name!r}. Choose from: {choices}. Peers need --peers.",
                f"没有名为 {name!r} 的对比项。可选：{choices}。其他系统需加 --peers。",
            )
    return [arm for arm in arms if not args.arm or arm in args.arm]


def _requests(args: argparse.Namespace, card: ModelCard, arms: Sequence[str], folder: Path) -> list[Request]:
    """One recording, repeated once a round, or short clips."""
    if args.clips and args.data:
        return of_length(references(args.data), args.clips, args.seconds, card, config.cache() / "sounds")
    audio = args.audio or folder / "speech.wav"
    if args.audio is None:
        spoken(audio, args.minutes)
    if args.clips:
        return cut(audio, args.clips, args.seconds, card, folder)
    recording = reference_of(audio, args.reference)
    with_chunks = any(arm in PEERS and PEERS[arm].chunked for arm in arms)
    return [request_of(audio, card, recording, with_chunks=with_chunks)] * int(args.rounds)


def _tasks(arms: Sequence[str], task: Task) -> tuple[dict[str, Task], dict[str, Measured]]:
    """Each arm's task, with the model exported for peers with a format of their own; and the arms without a model."""
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


def start(name: str, task: Task) -> ArmProcess:
    """Starts the process of this app's arm or of a peer."""
    return ArmProcess(name, task, "asr_app.evaluate.arm" if name in APP else "benchmarks.arm")


def _tell(arm: str, doing: str) -> None:
    """Prints the progress to stderr, in one line on a terminal."""
    begin, end = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{begin}{arm}: {doing}", end=end, file=sys.stderr, flush=True)


def _model(args: argparse.Namespace, cache: Path) -> tuple[str, Path, str]:
    """The model's name for the catalog, its weights and its title. With --random-weights the model is built."""
    if bool(args.arch) == bool(args.model):
        raise UserError(
            "Name a model, or an --arch with --random-weights.", "请指定模型，或 --arch 加 --random-weights。"
        )
    if args.model:
        return args.model, locate(catalog.find(args.model), args.hub)["model"], args.model
    if args.arch not in MODELS or not args.random_weights:
        choices = ", ".join(MODELS)
        raise UserError(
            f"--arch takes one of {choices}, with --random-weights; a model with its weights is named without --arch.",
            f"--arch 需为 {choices} 之一，并加 --random-weights；带权重的模型直接写模型名。",
        )
    folder = cache / "random" / args.arch
    done = folder / "path.txt"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with contextlib.redirect_stdout(sys.stderr):  # FunASR prints a line for each weight there is not
            made = MODELS[args.arch](folder)
        done.write_text(str(made.relative_to(folder)), encoding="utf-8")
    built = (folder / done.read_text(encoding="utf-8")).resolve()
    return str(built), built, args.arch

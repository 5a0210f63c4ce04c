"""Runs models at their precisions on a dataset: texts first, then speed in alternation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asr_app import catalog, hub
from asr_app.datasets import Dataset, LeftOut, Reason, read_dataset
from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.evaluate.arms import Clip, Task
from asr_app.evaluate.figures import ArmFigures, figures
from asr_app.evaluate.plan import EvaluationArm, arms_of
from asr_app.evaluate.rounds import Measured, measure, steps
from asr_app.evaluate.run import ArmResult, clip_of, evaluate
from asr_app.hub import OnProgress
from asr_app.loading import disk_bytes, locate, needs
from asr_app.memory import Needs, free_bytes
from asr_app.precision import Precision
from asr_app.recordings import Recording, Sound, sound_of, spread
from asr_app.report.articles import CLIP_S
from asr_app.report.results import FORMAT, SpeedPart, audio_digest, data_entry, model_entry, recipe

_SPEED_CLIPS = 5


@dataclass(frozen=True)
class BenchRequest:
    """The models, precisions (empty: all) and recordings of a benchmark. `limit` is recordings of each language.

    `rounds` and `users` are of the speed part. `only` are names of recordings, `languages` codes of theirs, of all that
    are in `data`. `numbers` is a key of NUMBERS.
    """

    models: tuple[str, ...]
    data: Path
    threads: int
    precisions: tuple[str, ...] = ()
    limit: int | None = None
    rounds: int = 3
    users: tuple[int, ...] = (1, 2, 4, 8)
    device: str = "cpu"
    hub: str = hub.HUBS[0]
    detect_language: bool = False
    only: tuple[str, ...] = ()
    numbers: str = "as-written"
    languages: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For the JSON; `from_dict` is the inverse."""
        return dataclasses.asdict(self) | {"data": str(self.data)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> BenchRequest:
        """Inverse of `as_dict`. Raises TypeError for anything else."""
        lists = {name: tuple(fields[name]) for name in ("models", "precisions", "users", "only")}
        languages = tuple(fields.get("languages", ()))  # earlier versions had none
        return cls(**{**fields, **lists, "languages": languages, "data": Path(fields["data"])})


@dataclass(frozen=True)
class Step:
    """Progress: `done` of `total` steps of a phase ("decoding", "texts", "speed"), and what is being done.

    `model` and `arm` are those of the step, empty while decoding.
    """

    phase: str
    done: int
    total: int
    doing: str = ""
    model: str = ""
    arm: str = ""


OnStep = Callable[[Step], None]


@dataclass
class Chosen:
    """The decoded recordings of a benchmark; those that cannot be decoded are among `left_out`."""

    dataset: Dataset
    recordings: list[Recording] = field(default_factory=list)
    sounds: list[Sound] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def run(
    request: BenchRequest, cache: Path, home: Path, on_step: OnStep, downloading: OnProgress | None = None,
    *, fresh: bool = False, earlier: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yields the results so far: after the texts of each arm, and after the speed of each model.

    Finished clips are kept in the folder `home`, so that an interrupted run goes on; `fresh` forgets them. `earlier` are
    the results of the interrupted run: a model that was finished with the same recipe and weights is taken over. A model
    that cannot be run is an entry with its `problem`. Raises UserError for an unknown model or precision, and for data
    without a usable recording.
    """
    cards = [catalog.find(name) for name in request.models]
    precisions = [Precision.parse(name) for name in request.precisions] or None
    chosen = choose(request, cache, on_step)
    results: dict[str, Any] = {
        "format": FORMAT, "made": datetime.now(UTC).isoformat(timespec="seconds"), "request": request.as_dict(),
        "recipe": recipe(request.threads, request.device, audio_digest(chosen.sounds), request.numbers),
        "data": data_entry(chosen.dataset, chosen.recordings, chosen.sounds, chosen.left_out), "models": [],
    }  # fmt: skip
    same = earlier if earlier and earlier["recipe"] == results["recipe"] else {"models": []}
    finished = {(model["model"], model["weights"]): model for model in same["models"] if model.get("finished")}
    for name, card in zip(request.models, cards, strict=True):
        try:
            folders = locate(card, request.hub, downloading)
            task = Task(
                card.directory or card.id, folders["model"], request.threads, cache, request.hub, request.device
            )
            arms = [_fitting(arm, folders, card, task) for arm in arms_of(card, task, precisions, False, None)]
        except UserError as error:  # the other models are still wanted
            results["models"].append({"model": name, "family": card.family, "problem": error.en, "arms": []})
            yield results
            continue
        results["models"].append(finished.get((card.id, arms[0].weights if arms else ""), {}))
        if results["models"][-1]:
            yield results
            continue
        for entry in _model(request, card, folders, task, arms, chosen, home, on_step, fresh):
            results["models"][-1] = entry | {"family": card.family}
            yield results


def choose(request: BenchRequest, cache: Path, on_step: OnStep) -> Chosen:
    """Reads and decodes the recordings of `request`. Raises UserError if none is left."""
    dataset = read_dataset(request.data)
    recordings: Sequence[Recording] = dataset.recordings
    if request.only:
        only = set(request.only)
        recordings = [recording for recording in recordings if dataset.name_of(recording) in only]
    if request.languages:
        recordings = [recording for recording in recordings if recording.language in request.languages]
    if request.limit is not None:
        recordings = spread(recordings, request.limit)
    chosen = Chosen(dataset, left_out=list(dataset.left_out))
    for done, recording in enumerate(recordings):
        name = dataset.name_of(recording)
        on_step(Step("decoding", done, len(recordings), name))
        try:
            sound = sound_of(recording.path, cache / "sounds")
        except UserError as error:
            chosen.left_out.append(LeftOut(name, Reason.UNREADABLE, detail=error.en))
            continue
        chosen.recordings.append(dataclasses.replace(recording, by_value=request.numbers == "by-value"))
        chosen.sounds.append(sound)
    if not chosen.recordings:
        raise UserError(
            f"{request.data.name}: none of the {len(recordings)} recordings can be decoded. Check the files.",
            f"{request.data.name}：{len(recordings)} 个录音均无法解码。请检查文件。",
        )
    on_step(Step("decoding", len(recordings), len(recordings)))
    return chosen


def _model(
    request: BenchRequest, card: ModelCard, folders: Mapping[str, Path], task: Task, arms: Sequence[EvaluationArm],
    chosen: Chosen, home: Path, on_step: OnStep, fresh: bool,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The results of one model: its texts, arm by arm, then with its speed."""
    clips = [clip_of(recording, card, request.detect_language) for recording in chosen.recordings]
    total, done = len(arms) * len(clips), 0

    def finished(arm: EvaluationArm, count: int) -> None:
        nonlocal done
        done += count
        on_step(Step("texts", done, total, f"{card.id} {arm.name}", card.id, arm.name))

    results: list[ArmResult] = []
    made: list[ArmFigures] = []

    def entry(speed: SpeedPart) -> dict[str, Any]:
        names = [result.arm.name for result in results]
        disk = {name: disk_bytes(folders, card, Precision(name), task.device, task.cache) for name in names}
        weights = arms[0].weights if arms else ""
        return model_entry(card.id, weights, made, chosen.recordings, chosen.sounds, speed, disk)

    for result in evaluate(arms, clips, [sound.digest for sound in chosen.sounds], home, fresh, finished):
        results.append(result)
        made = figures(results, chosen.recordings, [sound.seconds for sound in chosen.sounds])
        yield entry(SpeedPart({}, [], 0, True)) | {"finished": False}
    speed = _speed(request, card, folders, task, results, clips, chosen.sounds, on_step)
    yield entry(speed) | {"finished": True}


def _speed(
    request: BenchRequest, card: ModelCard, folders: Mapping[str, Path], task: Task, results: Sequence[ArmResult],
    clips: Sequence[Clip], sounds: Sequence[Sound], on_step: OnStep,
) -> SpeedPart:  # fmt: skip
    """Times the arms that have texts: in alternation if they fit in memory together, else one after the other."""
    names = [result.arm.name for result in results if result.texts and not result.problem]
    picked = speed_clips([sound.seconds for sound in sounds])
    # Without the reference the arm does not compute its loss, which is no part of recognition.
    requests = [dataclasses.replace(clips[i], reference="") for i in picked] * request.rounds
    together = len(names) < 2 or _fit_together(names, folders, card, task)
    total, done = steps(len(names), len(requests), request.users, request.rounds), 0

    def tell(arm: str, doing: str) -> None:
        nonlocal done
        on_step(Step("speed", min(done, total), total, f"{card.id} {arm}: {doing}", card.id, arm))
        done += 1

    measured: dict[str, Measured] = {}
    for group in [names] if together else [[name] for name in names]:
        if group:
            measured |= measure(
                dict.fromkeys(group, task), requests, tell, request.users, request.rounds, prepared=True
            )
    on_step(Step("speed", total, total))
    return SpeedPart(measured, picked, request.rounds, together)


def speed_clips(seconds: Sequence[float]) -> list[int]:
    """Indices of at most five clips from the shortest to the longest, with the one nearest to ten seconds among them."""
    by_length = sorted(range(len(seconds)), key=lambda i: seconds[i])
    count = min(_SPEED_CLIPS, len(by_length))
    ranks = [round(k * (len(by_length) - 1) / max(1, count - 1)) for k in range(count)]
    near = min(range(len(by_length)), key=lambda rank: abs(seconds[by_length[rank]] - CLIP_S))
    if near not in ranks:  # the shortest and the longest stay
        ranks[min(range(1, count - 1), key=lambda k: abs(ranks[k] - near))] = near
    return [by_length[rank] for rank in ranks]


def _fit_together(names: Sequence[str], folders: Mapping[str, Path], card: ModelCard, task: Task) -> bool:
    needed = [_needs(folders, card, Precision(name), task) for name in names]
    known = [need for need in needed if need is not None]
    most = sum(need.resident for need in known) + max(need.peak - need.resident for need in known) if known else 0
    return most <= free_bytes(task.device)


def _fitting(arm: EvaluationArm, folders: Mapping[str, Path], card: ModelCard, task: Task) -> EvaluationArm:
    """The arm, with a problem if it needs more memory than is free."""
    needed = None if arm.problem else _needs(folders, card, Precision(arm.name), task)
    if needed is None or needed.peak <= (free := free_bytes(task.device, needed.mapped)):
        return arm
    return dataclasses.replace(
        arm, problem=f"It needs {needed.peak / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free."
    )


def _needs(folders: Mapping[str, Path], card: ModelCard, precision: Precision, task: Task) -> Needs | None:
    """Memory of the arm; None if its checkpoint cannot be read, which the arm itself reports."""
    try:
        return needs(folders, card, precision, task.device, task.threads, task.cache)
    except UserError:
        return None

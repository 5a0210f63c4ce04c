"""`python -m asr_app verify`: what is asked for -> what is run -> what is printed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr_app import catalog, config, hub
from asr_app.bench.arms import Task
from asr_app.bench.table import versions
from asr_app.datatypes import ModelCard
from asr_app.engines import pick_device, usable_cores
from asr_app.errors import UserError
from asr_app.evaluate.arms import EvaluationArm, arms_of, peers_of, started
from asr_app.evaluate.figures import figures, same_texts
from asr_app.evaluate.run import ArmResult, clip_of, evaluate
from asr_app.evaluate.sounds import sound_of
from asr_app.evaluate.table import tables
from asr_app.hub import OnProgress
from asr_app.loading import locate
from asr_app.precision import Precision
from asr_app.precision.evidence import processor
from asr_app.recordings import Recording, examples, references, spread


def verify(found: argparse.Namespace, downloading: OnProgress) -> int:
    """Prints the tables of each model and one line of JSON last; 1 where an arm did not hold.

    Raises UserError where what is asked for is not there.
    """
    if found.limit is not None and found.limit < 1:
        raise UserError("--limit must be more than 0.", "--limit 需大于 0。")
    cards = [catalog.find(name) for name in found.models]
    if not cards:
        cards = [card for card in catalog.CARDS.values() if hub.on_disk(card, found.hub)]
    precisions = [Precision.parse(name) for name in found.precision] if found.precision else None
    recordings = references(found.data) if found.data else examples()
    if found.limit is not None:
        recordings = spread(recordings, found.limit)
    sounds = [sound_of(recording.path, config.cache() / "sounds") for recording in _shown(recordings)]
    seconds = [sound.seconds for sound in sounds]
    device = pick_device(found.device)
    if found.peers and device != "cpu":
        raise UserError("Peers run on the CPU: add --device cpu.", "对比系统在 CPU 上运行：请加 --device cpu。")
    threads = config.number("--threads", found.threads) if found.threads else usable_cores()
    failed, told = False, []
    for card in cards:
        name = card.directory or card.id
        try:
            weights = locate(card, found.hub, downloading)["model"]
        except UserError as error:  # the other models are still wanted
            print(f"{name}: {error.en}", flush=True)
            failed = True
            continue
        task = Task(name, weights, threads, config.cache(), found.hub, device)
        arms = _chosen(arms_of(card, task, precisions, peers_of(card) if found.peers else []), found.arm)
        results = _evaluate(arms, recordings, [sound.digest for sound in sounds], card, found)
        made = figures(results, recordings, seconds)
        same = same_texts(results, recordings)
        for line in tables(card.id, made, same):
            print(line, flush=True)
        failed |= any(result.problem for result in results)
        told.append({"model": card.id, "arms": [arm.as_dict() for arm in made], "same_text_as_openai_whisper": same})
    _result(told, recordings, seconds, threads, found)
    return 1 if failed else 0


def _evaluate(
    arms: Sequence[EvaluationArm],
    recordings: Sequence[Recording],
    digests: Sequence[str],
    card: ModelCard,
    found: argparse.Namespace,
) -> list[ArmResult]:
    clips = [clip_of(recording, card, found.detect_language) for recording in recordings]
    bar = tqdm(total=len(arms) * len(clips), desc=card.id, unit="clip", file=sys.stderr, disable=None, leave=False)

    def done(arm: EvaluationArm, count: int) -> None:
        bar.set_postfix_str(arm.name, refresh=False)
        bar.update(count)

    with bar:
        return list(
            evaluate(
                arms, clips, digests, config.cache() / "evaluations", found.fresh,
                lambda arm: started(arm, _tell), done,
            )
        )  # fmt: skip


def _chosen(arms: list[EvaluationArm], names: Sequence[str] | None) -> list[EvaluationArm]:
    """The arms of those names; all without any. Raises UserError for a name that none of them has."""
    known = {arm.name: arm for arm in arms}
    for name in names or ():
        if name not in known:
            choices = ", ".join(known)
            raise UserError(
                f"There is no arm {name!r}. Choose from: {choices}. Peers need --peers.",
                f"没有名为 {name!r} 的对比项。可选：{choices}。其他系统需加 --peers。",
            )
    return [known[name] for name in dict.fromkeys(names)] if names else arms


def _shown(recordings: Sequence[Recording]) -> Iterable[Recording]:
    """All are decoded before any model runs, so that a damaged one is named at once."""
    return tqdm(recordings, desc="decoding", unit="clip", file=sys.stderr, disable=None, leave=False)


def _tell(arm: str, doing: str) -> None:
    print(f"{arm}: {doing}", file=sys.stderr, flush=True)


def _result(
    told: list[dict[str, Any]], recordings: Sequence[Recording], seconds: Sequence[float], threads: int,
    found: argparse.Namespace,
) -> None:  # fmt: skip
    """Every figure, with what it was measured on: to --output, or as the last line."""
    everything = {
        "clips": len(recordings), "audio_s": round(sum(seconds), 1), "threads": threads, "machine": processor(),
        "versions": versions(), "language": "detected" if found.detect_language else "given", "models": told,
    }  # fmt: skip
    line = json.dumps(everything, ensure_ascii=False)
    if found.output is None:
        print(line)
        return
    try:
        Path(found.output).write_text(line + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{found.output} cannot be written ({error.strerror}). Choose another --output.",
            f"无法写入 {found.output}（{error.strerror}）。请换一个 --output。",
        ) from error

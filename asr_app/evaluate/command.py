"""`python -m asr_app verify`: runs the arms that the arguments ask for and prints the tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_app import catalog, config, hub
from asr_app.datasets import references
from asr_app.datatypes import ModelCard
from asr_app.devices import pick_device, usable_cores
from asr_app.errors import UserError
from asr_app.evaluate.arms import Task
from asr_app.evaluate.figures import figures, same_texts
from asr_app.evaluate.plan import EvaluationArm, Others, arms_of
from asr_app.evaluate.run import ArmResult, clip_of, evaluate
from asr_app.evaluate.table import tables
from asr_app.evaluate.versions import versions
from asr_app.hub import OnProgress
from asr_app.loading import locate
from asr_app.precision import Precision
from asr_app.precision.evidence import processor
from asr_app.recordings import Recording, Sound, examples, sound_of, spread
from asr_app.terminal import progress_bar

Pairs = Sequence[tuple[Recording, Sound]]


def verify(args: argparse.Namespace, downloading: OnProgress, others: Others | None = None) -> int:
    """Prints the tables of each model and one line of JSON last. Returns 1 if an arm failed, else 0.

    `others` makes the arms of other programs. Raises UserError for a model, arm or folder that does not exist.
    """
    if args.limit is not None and args.limit < 1:
        raise UserError("--limit must be more than 0.", "--limit 需大于 0。")
    cards = [catalog.find(name) for name in args.models]
    if not cards:
        cards = [card for card in catalog.CARDS.values() if hub.on_disk(card, args.hub)]
    precisions = [Precision.parse(name) for name in args.precision] if args.precision else None
    device = pick_device(args.device)
    threads = config.threads(args) or usable_cores()
    given = _with_sounds(references(args.data), args.limit) if args.data else None
    failed, models = False, []
    for card in cards:
        pairs = given or _with_sounds(examples(card), args.limit)
        name = card.directory or card.id
        try:
            weights = locate(card, args.hub, downloading)["model"]
            task = Task(name, weights, threads, config.cache(), args.hub, device)
            arms = arms_of(card, task, precisions, args.windows, others)
        except UserError as error:  # the other models are still wanted
            print(f"{name}: {error.en}", flush=True)
            failed = True
            continue
        recordings = [recording for recording, _ in pairs]
        results = _evaluate(_chosen(arms, args.arm), pairs, card, args)
        made = figures(results, recordings, [sound.seconds for _, sound in pairs])
        same = same_texts(results, recordings)
        for line in tables(card.id, made, same):
            print(line, flush=True)
        failed |= any(result.problem for result in results)
        models.append({
            "model": card.id, "clips": len(pairs), "audio_s": round(sum(sound.seconds for _, sound in pairs), 1),
            "arms": [arm.as_dict() for arm in made], "same_text_as_openai_whisper": same,
        })  # fmt: skip
    _result(models, threads, args)
    return 1 if failed else 0


def _with_sounds(recordings: Sequence[Recording], limit: int | None) -> Pairs:
    """The recordings, at most `limit` of each language. All are decoded first, so that a damaged one fails at once."""
    chosen = recordings if limit is None else spread(recordings, limit)
    pairs = []
    with progress_bar("decoding", len(chosen), "clip") as bar:
        for recording in chosen:
            pairs.append((recording, sound_of(recording.path, config.cache() / "sounds")))
            bar.update()
    return pairs


def _evaluate(
    arms: Sequence[EvaluationArm], pairs: Pairs, card: ModelCard, args: argparse.Namespace
) -> list[ArmResult]:
    clips = [clip_of(recording, card, args.detect_language) for recording, _ in pairs]
    digests = [sound.digest for _, sound in pairs]
    with progress_bar(card.id, len(arms) * len(clips), "clip") as bar:

        def done(arm: EvaluationArm, count: int) -> None:
            bar.set_postfix_str(arm.name, refresh=False)
            bar.update(count)

        home = config.cache() / "evaluations"
        return list(evaluate(arms, clips, digests, home, args.fresh, done))


def _chosen(arms: list[EvaluationArm], names: Sequence[str] | None) -> list[EvaluationArm]:
    """The arms with these names; all arms without names. Raises UserError for an unknown name."""
    known = {arm.name: arm for arm in arms}
    for name in names or ():
        if name not in known:
            choices = ", ".join(known)
            raise UserError(
                f"There is no arm {name!r}. Choose from: {choices}.",
                f"没有名为 {name!r} 的对比项。可选：{choices}。",
            )
    return [known[name] for name in dict.fromkeys(names)] if names else arms


def _result(models: list[dict[str, Any]], threads: int, args: argparse.Namespace) -> None:
    """Writes every figure, the machine and the versions as JSON to --output, or as the last line."""
    everything = {
        "threads": threads, "machine": processor(), "versions": versions(),
        "language": "detected" if args.detect_language else "given", "models": models,
    }  # fmt: skip
    line = json.dumps(everything, ensure_ascii=False)
    if args.output is None:
        print(line)
        return
    try:
        Path(args.output).write_text(line + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{args.output} cannot be written ({error.strerror}). Choose another --output.",
            f"无法写入 {args.output}（{error.strerror}）。请换一个 --output。",
        ) from error

"""`python -m benchmarks doubt`: prints what each sign of doubt is worth, and what a second pass at FP32 buys."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr_app import catalog, config
from asr_app.datasets import references
from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.loading import load
from asr_app.precision import Precision
from asr_app.recordings import Recording, spread
from asr_app.scoring import base_language, units_in
from benchmarks.doubt.collect import Heard, Rows, collect
from benchmarks.doubt.figures import Sample, auc, base_rate, best_threshold, detect
from benchmarks.doubt.labels import shared, wrong
from benchmarks.doubt.signs import NAMES
from benchmarks.doubt.verify import Pair, verified

DISAGREEMENT = "fp32_agrees"  # 1 for a word that FP32 writes too, else 0; the only sign that needs a second pass
GROUPS = {
    "English": ("en",), "Chinese": ("zh", "yue"), "European": ("de", "fr", "es", "pt", "it", "ru", "nl", "pl", "sv", "el"),
}  # fmt: skip
OTHERS = "others"
SHARES = (0.1, 0.2, 0.3, 0.5, 1.0)
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclasses.dataclass(frozen=True)
class Judged:
    """A clip with its words at INT8 judged by the reference; `signs` `(n, len(NAMES) + 1)`, the last is DISAGREEMENT."""

    group: str
    wrong: np.ndarray
    signs: np.ndarray
    pair: Pair

    def sample(self, sign: int) -> Sample:
        return Sample(self.wrong, self.signs[:, sign])


def doubt(args: argparse.Namespace) -> int:
    """Prints the tables, and one line of JSON last. Raises UserError for a model without this decoder."""
    card = catalog.find(args.model)
    if card.family != "whisper":
        raise UserError(
            f"{card.id}: only Whisper's decoder has signs to record. Name a Whisper model.",
            f"{card.id}：只有 Whisper 的解码器可记录这些指标。请指定 Whisper 模型。",
        )
    recordings = [
        dataclasses.replace(r, language=r.language or args.language) for r in references(args.data)
    ]  # fmt: skip
    if not all(recording.language for recording in recordings):
        raise UserError(
            "The references name no language. Add --language CODE.", "参考文本没有标明语言。请加 --language 代码。"
        )
    if args.limit is not None:
        recordings = spread(recordings, args.limit)
    rows = {p: _rows(recordings, card, p, args) for p in (Precision.INT8, Precision.FP32)}
    halves = _halves(recordings, rows[Precision.INT8], rows[Precision.FP32])
    made = figures(*halves)
    for line in table(made):
        print(line)
    print(json.dumps(made, ensure_ascii=False))
    return 0


def _rows(recordings: Sequence[Recording], card: ModelCard, precision: Precision, args: argparse.Namespace) -> Rows:
    folder: Path = args.rows
    folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(folder / f"{precision.value}.jsonl")
    if any(str(recording.path) not in rows for recording in recordings):
        loaded = load(card, precision, "cpu", config.threads(args) or 1, args.hub, cache=config.cache())
        collect(recordings, card, loaded, rows)
    return rows


def _halves(recordings: Sequence[Recording], int8: Rows, fp32: Rows) -> tuple[list[Judged], list[Judged]]:
    """The clips in two halves, every second one of a language in each."""
    by_language: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_language[recording.language].append(recording)
    halves: tuple[list[Judged], list[Judged]] = ([], [])
    for same in by_language.values():
        for i, recording in enumerate(same):
            name = str(recording.path)
            if (judged := judge(recording, int8[name], fp32[name])) is not None:
                halves[i % 2].append(judged)
    return halves


def judge(recording: Recording, low: Heard, full: Heard) -> Judged | None:
    """The clip with its words at INT8 (`low`) judged; None if no word can be."""
    labels = wrong(low.words, recording.texts[0], recording.language)
    if not labels:
        return None
    agree = shared(low.words, full.words, recording.language)
    signs = np.array([[*dataclasses.astuple(s), float(a)] for s, a in zip(low.signs, agree, strict=True)])
    low_text, full_text = " ".join(low.words), " ".join(full.words)
    one, two = recording.score(low_text), recording.score(full_text)
    differs = units_in(low_text, recording.language) != units_in(full_text, recording.language)
    sure = float(signs[:, 0].min())
    language = base_language(recording.language)
    group = next((name for name, codes in GROUPS.items() if language in codes), OTHERS)
    return Judged(
        group, np.array(labels), signs, Pair(one.errors, two.errors, one.units, low.cpu_s, full.cpu_s, sure, differs)
    )  # fmt: skip


def figures(first: Sequence[Judged], second: Sequence[Judged]) -> dict[str, Any]:
    """All figures. Thresholds are chosen on the clips of `first`; precision and recall are of those of `second`.

    AUC and the second pass have no threshold to choose, and are counted on all clips.
    """
    groups = [*GROUPS, OTHERS]
    made: dict[str, Any] = {"clips": [len(first), len(second)], "groups": {}, "verify": {}, "thresholds": {}}
    for name in ("all", *groups):
        chosen = [clip for clip in first if name in ("all", clip.group)]
        tested = [clip for clip in second if name in ("all", clip.group)]
        if chosen and tested:
            made["groups"][name] = _group(chosen, tested)
            both = [clip.pair for clip in (*chosen, *tested)]
            made["verify"][name] = [dataclasses.asdict(verified(both, share)) for share in SHARES] + [
                {"clips": len(both), "differ": sum(pair.differs for pair in both) / len(both)}
            ]
            samples = [clip.sample(0) for clip in tested]
            made["thresholds"][name] = [
                dataclasses.asdict(detect(samples, math.log(least))) | {"confidence": least} for least in THRESHOLDS
            ]
    return made


def _group(chosen: Sequence[Judged], tested: Sequence[Judged]) -> dict[str, Any]:
    signs = {}
    for i, sign in enumerate((*NAMES, DISAGREEMENT)):
        first, second = [clip.sample(i) for clip in chosen], [clip.sample(i) for clip in tested]
        threshold = 0.5 if sign == DISAGREEMENT else best_threshold(first)
        signs[sign] = {"auc": auc([*first, *second]), **dataclasses.asdict(detect(second, threshold))}
    samples = [clip.sample(0) for clip in (*chosen, *tested)]
    words = sum(len(sample.wrong) for sample in samples)
    return {"clips": len(samples), "words": words, "wrong": base_rate(samples), "signs": signs}


def table(made: dict[str, Any]) -> Iterator[str]:
    """The figures as Markdown."""
    yield "| words | clips, words, wrong | sign | AUC (95 %) | precision | recall | marked |"
    yield "|---|---|---|---|---|---|---|"
    for name, group in made["groups"].items():
        head = f"{group['clips']}, {group['words']}, {group['wrong']:.1%}"
        for sign, got in group["signs"].items():
            area, low, high = got["auc"]
            yield (
                f"| {name} | {head} | {sign} | {area:.3f} [{low:.3f}, {high:.3f}] | {got['precision']:.1%} | "
                f"{got['recall']:.1%} | {got['marked']:.1%} |"
            )
    yield ""
    yield "| words | confidence below | precision | recall | marked |"
    yield "|---|---|---|---|---|"
    for name, rows in made["thresholds"].items():
        for got in rows:
            yield f"| {name} | {got['confidence']} | {got['precision']:.1%} | {got['recall']:.1%} | {got['marked']:.1%} |"
    yield ""
    yield "| clips | texts differ | done again | error | difference from INT8, points (95 %) | at random | CPU |"
    yield "|---|---|---|---|---|---|---|"
    for name, (*rows, last) in made["verify"].items():
        for got in rows:
            delta, low, high = (100 * x for x in got["difference"])
            yield (
                f"| {name} | {last['differ']:.0%} of {last['clips']} | {got['share']:.0%} | {got['error']:.2%} | "
                f"{delta:+.2f} [{low:+.2f}, {high:+.2f}] | {100 * got['chance']:+.2f} | {got['cpu']:.2f} x |"
            )

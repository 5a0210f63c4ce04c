"""The difference of two runs of the same benchmark: what they ran on first, then texts, then figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asr_app.evaluate.figures import ALL

Entry = Mapping[str, Any]
_RECIPE = ("processor", "threads", "device", "normaliser")


@dataclass(frozen=True)
class Comparison:
    """Lines that say what differs. `texts` has the texts that differ or are missing; empty if all are the same."""

    audio: list[str]
    weights: list[str]
    recipe: list[str]
    texts: list[str]
    figures: list[str]

    @property
    def lines(self) -> Iterator[str]:
        """All lines, under a line for each kind."""
        for title, lines in (
            ("audio", self.audio), ("weights", self.weights), ("machine and versions", self.recipe), ("texts", self.texts),
        ):  # fmt: skip
            yield f"{title}: {f'{len(lines)} differ' if lines else 'the same'}"
            yield from (f"  {line}" for line in lines)
        yield "figures, before -> now"
        yield from (f"  {line}" for line in self.figures)


def compare(before: Entry, now: Entry) -> Comparison:
    """Compares two values of results.json; recordings are matched by their names."""
    names = [clip["file"] for clip in before["data"]["clips"]]
    hashes = {clip["file"]: clip["sha256"] for clip in now["data"]["clips"]}
    audio = [
        f"{clip['file']}: {'another sound' if clip['file'] in hashes else 'not there'}"
        for clip in before["data"]["clips"]
        if hashes.get(clip["file"]) != clip["sha256"]
    ]
    models = {model["model"]: model for model in now["models"]}
    weights: list[str] = []
    texts: list[str] = []
    figures: list[str] = []
    for model in before["models"]:
        other = models.get(model["model"])
        if model["problem"]:  # then it has no arms to compare
            continue
        if other is None or other["problem"]:
            weights.append(f"{model['model']}: {other['problem'] if other else 'not run'}")
        elif other["weights"] != model["weights"]:
            weights.append(f"{model['model']}: {model['weights']} -> {other['weights']}")
        arms = {arm["arm"]: arm for arm in other["arms"]} if other else {}
        for arm in model["arms"]:
            again = arms.get(arm["arm"], {"texts": [], "languages": {}, "speed": None})
            title = f"{model['model']} {arm['arm']}"
            texts += _texts(title, arm, again, names, [clip["file"] for clip in now["data"]["clips"]])
            figures += _figures(title, arm, again)
    return Comparison(audio, weights, list(_recipe(before["recipe"], now["recipe"])), texts, figures)


def _texts(title: str, arm: Entry, again: Entry, names: list[str], names_again: list[str]) -> Iterator[str]:
    found = {names_again[text["clip"]]: text["text"] for text in again["texts"]}
    for text in arm["texts"]:
        file = names[text["clip"]]
        if file not in found:
            yield f"{title}, {file}: no text"
        elif found[file] != text["text"]:
            yield f"{title}, {file}: {text['text']!r} -> {found[file]!r}"


def _figures(title: str, arm: Entry, again: Entry) -> Iterator[str]:
    if ALL in arm["languages"] and ALL in again["languages"]:
        pairs = [f"error {arm['languages'][ALL]['error']:.4%} -> {again['languages'][ALL]['error']:.4%}"]
        if all(entry["speed"] and not entry["speed"]["problem"] for entry in (arm, again)):
            one, two = arm["speed"], again["speed"]
            pairs.append(f"RTF {one['rtf']:.4f} -> {two['rtf']:.4f}")
            pairs.append(f"p95 {one['latency_s']['p95']:.2f} s -> {two['latency_s']['p95']:.2f} s")
            pairs.append(f"peak {one['peak_mb']:.0f} MB -> {two['peak_mb']:.0f} MB")
        yield f"{title}: {', '.join(pairs)}"


def _recipe(before: Entry, now: Entry) -> Iterator[str]:
    for key in _RECIPE:
        if before[key] != now[key]:
            yield f"{key}: {before[key]} -> {now[key]}"
    for library in dict.fromkeys((*before["versions"], *now["versions"])):
        pair = [entry["versions"].get(library, "none") for entry in (before, now)]
        if pair[0] != pair[1]:
            yield f"{library}: {pair[0]} -> {pair[1]}"

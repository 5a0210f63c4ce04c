"""The tables of the report, made from results.json alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_app.datasets import Reason
from asr_app.evaluate.figures import ALL
from asr_app.precision import Precision
from asr_app.report.advice import FEWEST_CLIPS
from asr_app.report.labels import label
from asr_app.scoring import CHARACTERS, base_language

_SHOWN_NAMES = 5
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of texts. Numbers are right-aligned from the second column on, if `numeric`."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numeric: bool = True


def model_tables(model: Entry, language: str) -> Iterator[Table]:
    """The tables of one entry of "models"."""
    ran = [arm for arm in model["arms"] if arm["texts"]]
    timed = [arm for arm in ran if arm["speed"] and not arm["speed"]["problem"]]
    if ran:
        yield _errors(ran, language)
    if timed:
        yield _speed(model, timed, language)
        yield _size(timed, language)
        if any(arm["speed"]["users"] for arm in timed):
            yield _users(timed, language)
    if any(name != ALL for arm in ran for name in arm["languages"]):
        yield from _by_language(ran, language)
    failed = [
        (name(arm), str(len(arm["texts"])), problem)
        for arm in model["arms"]
        if (problem := arm["problem"] or (arm["speed"] or {}).get("problem", ""))
    ]
    if failed:
        columns = [label(key, language) for key in ("arm", "finished", "problem")]
        yield Table(label("failed_table", language), columns, failed, numeric=False)


def left_out(results: Entry, language: str) -> Table:
    """The entries of the data that are not used, with their reasons."""
    rows = []
    for key, entry in results["data"]["left_out"].items():
        reason = next(reason for reason in Reason if reason.key == key)
        shown = [_entry(e, language) for e in entry["entries"][:_SHOWN_NAMES]]
        if entry["count"] > len(shown):
            shown.append(label("and_more", language, count=entry["count"] - len(shown)))
        rows.append((reason.zh if language == "zh" else reason.en, str(entry["count"]), "; ".join(shown)))
    columns = [label(key, language) for key in ("reason", "count", "which")]
    note = "" if rows else label("left_none", language)
    return Table(label("left_table", language), columns, rows, note, numeric=False)


def recipe(results: Entry, language: str) -> Table:
    """All that is needed to run it again."""
    made, request = results["recipe"], results["request"]
    rows = [
        (label("hash_weights", language, model=model["model"]), model["weights"])
        for model in results["models"]
        if not model["problem"]
    ]
    detected = "detected" if request["detect_language"] else "given"
    rows += [
        (label("hash_audio", language), made["audio"]),
        (label("processor", language), made["processor"]),
        (label("threads", language), f"{made['threads']}, {made['device']}"),
        (label("versions", language), ", ".join(f"{name} {version}" for name, version in made["versions"].items())),
        (label("normaliser", language), made["normaliser"]),
        (label("spoken", language), label(detected, language)),
        (label("made", language), results["made"]),
    ]
    return Table(
        label("recipe_table", language), [label(key, language) for key in ("item", "value")], rows, numeric=False
    )


def language_name(code: str, language: str) -> str:
    """`zh (CER)`, `en`, or the word for all languages."""
    if code == ALL:
        return label("all", language)
    return f"{code} (CER)" if base_language(code) in CHARACTERS else code


def name(arm: Entry) -> str:
    """The arm's name to read: `INT8`."""
    return str(arm["arm"]).upper()


def points(difference: Sequence[float] | None, clips: int = FEWEST_CLIPS) -> str:
    """`+0.01 [-0.05, +0.07]`, in percentage points; of too few clips without the interval."""
    if difference is None:
        return ""
    if clips < FEWEST_CLIPS:
        return f"{100 * difference[0]:+.2f}"
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * value for value in difference))


def _errors(arms: Sequence[Entry], language: str) -> Table:
    full: Entry = next((arm["languages"][ALL] for arm in arms if arm["arm"] == Precision.FP32.value), {})
    rows = []
    for arm in arms:
        group = arm["languages"][ALL]
        change, before = group.get("loss_difference_from_fp32"), full.get("loss")
        rows.append((
            name(arm), str(group["clips"]), f"{group['error']:.2%}", f"{group['deletion_rate']:.2%}",
            points(group.get("difference_from_fp32"), group["clips"]), "" if arm["no_worse"] is None else f"{arm['no_worse']:.1%}",
            f"{group['loss']:.4f}" if "loss" in group else "",
            points([value / before for value in change], group["clips"]) if change and before else "",
        ))  # fmt: skip
    keys = ("arm", "clips", "error", "deleted", "from_fp32", "no_worse", "loss", "loss_change")
    columns = [label(key, language) for key in keys]
    return _without_empty(Table(label("error_table", language), columns, rows, label("error_note", language)))


def _speed(model: Entry, arms: Sequence[Entry], language: str) -> Table:
    rows = []
    for arm in arms:
        speed = arm["speed"]
        latency = speed["latency_s"]
        rows.append((
            name(arm), f"{speed['rtf']:.4f}", f"{speed['rtfx']:.1f}",
            "" if arm["speedup"] is None else f"{arm['speedup']:.2f}", *(seconds(latency[k]) for k in ("mean", "p50", "p95")),
            f"{speed['cpu_s']:.2f}", seconds(speed["cold_start_s"]), seconds(speed["load_s"]),
        ))  # fmt: skip
    keys = ("arm", "rtf", "rtfx", "speedup", "mean", "p50", "p95", "cpu", "cold", "load")
    how = label("alternated" if model["alternated"] else "not_alternated", language)
    first = arms[0]["speed"]
    note = label("speed_note", language, rounds=first["rounds"], clips=len(first["by_clip"]), how=how)
    return _without_empty(
        Table(label("speed_table", language), [label(key, language) for key in keys], rows, note)
    )  # fmt: skip


def _size(arms: Sequence[Entry], language: str) -> Table:
    rows = [
        (
            name(arm), megabytes(arm["speed"]["weights_mb"]), megabytes(arm["disk_mb"]), megabytes(arm["speed"]["peak_mb"]),
            megabytes(arm["speed"]["device_mb"] or None),
        )
        for arm in arms
    ]  # fmt: skip
    columns = [label(key, language) for key in ("arm", "weights", "disk", "peak", "device_memory")]
    return _without_empty(Table(label("size_table", language), columns, rows, label("size_note", language)))


def _users(arms: Sequence[Entry], language: str) -> Table:
    rows = [
        (
            name(arm), str(load["users"]), f"{load['clips_per_s']:.2f}", seconds(load["wait_p50_s"]),
            seconds(load["wait_p95_s"]),
        )
        for arm in arms
        for load in arm["speed"]["users"]
    ]  # fmt: skip
    columns = [label(key, language) for key in ("arm", "users", "throughput", "wait50", "wait95")]
    return Table(label("users_table", language), columns, rows, label("users_note", language))


def _by_language(arms: Sequence[Entry], language: str) -> Iterator[Table]:
    names = dict.fromkeys(name for arm in arms for name in arm["languages"])
    del names[ALL]  # it stands last, below languages that an unfinished arm lacks
    compared = [arm for arm in arms if arm["languages"][ALL].get("difference_from_fp32")]
    yield _grid(
        "language_table", (*names, ALL), language,
        [(name(arm), arm, lambda g: f"{g['error']:.2%}") for arm in arms]
        + [
            (f"{name(arm)}: {label('from_fp32', language)}", arm, lambda g: points(g.get("difference_from_fp32"), g["clips"]))
            for arm in compared
        ],
    )  # fmt: skip
    yield _grid(
        "deleted_table", (*names, ALL), language, [(name(arm), arm, lambda g: f"{g['deletion_rate']:.2%}") for arm in arms]
    )  # fmt: skip
    with_loss = [arm for arm in arms if "loss" in arm["languages"][ALL]]
    if with_loss:
        yield _grid(
            "loss_table", (*names, ALL), language,
            [(name(arm), arm, lambda g: f"{g['loss']:.4f}" if "loss" in g else "") for arm in with_loss],
        )  # fmt: skip


def _grid(
    title: str, names: Sequence[str], language: str, columns: Sequence[tuple[str, Entry, Callable[[Entry], str]]]
) -> Table:  # fmt: skip
    """A row a language, one column for each (title, arm, cell)."""
    rows = []
    for code in names:
        groups = [arm["languages"].get(code) for _, arm, _ in columns]
        count = max(group["clips"] for group in groups if group)
        cells = [cell(group) if group else "" for group, (_, _, cell) in zip(groups, columns, strict=True)]
        rows.append((language_name(code, language), str(count), *cells))
    head = [label("language", language), label("clips", language), *(title for title, _, _ in columns)]
    return Table(label(title, language), head, rows)


def _without_empty(table: Table) -> Table:
    """The table without the columns that have no value."""
    kept = [i for i in range(len(table.columns)) if any(row[i] for row in table.rows)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return Table(table.title, [table.columns[i] for i in kept], rows, table.note, table.numeric)


def _entry(entry: Entry, language: str) -> str:
    place = label("line", language, line=entry["line"], table=entry["table"]) if entry["line"] else ""
    return f"{entry['name']} ({place})" if entry["name"] and place else entry["name"] or place


def seconds(value: float) -> str:
    """`0.41 s`."""
    return f"{value:.2f} s"


def megabytes(value: float | None) -> str:
    """`99 MB`, empty for None."""
    return "" if value is None else f"{value:.0f} MB"

"""The plots of the report, each with its numbers as a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_app.evaluate.figures import ALL
from asr_app.precision import Precision
from asr_app.report.advice import FEWEST_CLIPS, PRODUCT_BAR, mlperf_bar
from asr_app.report.labels import label
from asr_app.report.sections import Table, megabytes, name, seconds
from asr_app.report.svg import Bar, Mark, Point, Series, bars, scatter

_STAGES = ("decode", "vad", "asr", "punctuation")


@dataclass(frozen=True)
class Plot:
    """A plot as SVG, the table of its numbers, and the names of its colours, if it needs a legend.

    `key` names the file of its numbers. `symbols`: the legend shows the symbols of points, not the colours of bars.
    """

    key: str
    svg: str
    table: Table
    legend: Sequence[str] = ()
    symbols: bool = False
    marks: Sequence[Mark] = ()


def plots(model: Mapping[str, Any], language: str) -> Iterator[Plot]:
    """The plots of one entry of "models": of its arms that have both texts and speed."""
    arms = [arm for arm in model["arms"] if arm["texts"] and arm["speed"] and not arm["speed"]["problem"]]
    if arms:
        yield _error(arms, language)
        yield _latency(arms, language)
        yield _memory(arms, language)
        yield _stages(arms, language)


def _error(arms: Sequence[Mapping[str, Any]], language: str) -> Plot:
    full = next((arm["languages"][ALL]["error"] for arm in arms if arm["arm"] == Precision.FP32.value), None)
    series, rows = [], []
    for arm in arms:
        error, rtf = arm["languages"][ALL]["error"], arm["speed"]["rtf"]
        enough = arm["languages"][ALL]["clips"] >= FEWEST_CLIPS
        difference = arm["languages"][ALL].get("difference_from_fp32") if enough else None
        low, high = (full + difference[1], full + difference[2]) if difference and full is not None else (None, None)
        ends = [None if value is None else 100 * value for value in (low, high)]
        text = f"{name(arm)}: {error:.2%}, RTF {rtf:.4f}"
        series.append(Series(name(arm), [Point(rtf, 100 * error, text, *ends)]))
        rows.append((name(arm), f"{rtf:.5f}", f"{100 * error:.3f}", *("" if e is None else f"{e:.3f}" for e in ends)))
    marks = []
    if full is not None:
        bar, mlperf = 100 * (full + PRODUCT_BAR), 100 * mlperf_bar(full)
        marks = [
            Mark(bar, label("bar", language)),
            Mark(100 * full + mlperf, label("mlperf", language, points=mlperf), dotted=True),
        ]
        rows += [(label("bar", language), "", f"{bar:.3f}", "", "")]
        rows += [(label("mlperf", language, points=mlperf), "", f"{100 * full + mlperf:.3f}", "", "")]
    title = label("plot_error", language)
    svg = scatter(title, series, label("rtf", language), label("error_axis", language), marks)
    columns = [label(key, language) for key in ("arm", "rtf", "error_axis", "low", "high")]
    return Plot(
        "error-rtf",
        svg,
        Table(title, columns, rows, label("plot_error_note", language)),
        [one.name for one in series],
        symbols=True,
        marks=marks,
    )


def _memory(arms: Sequence[Mapping[str, Any]], language: str) -> Plot:
    made, rows = [], []
    for arm in arms:
        peak, weights = arm["speed"]["device_mb"] or arm["speed"]["peak_mb"], arm["speed"]["weights_mb"]
        held = min(weights or 0.0, peak)
        made.append(Bar(name(arm), [(0, held), (1, peak - held)], megabytes(peak)))
        rows.append((name(arm), f"{peak:.1f}", "" if weights is None else f"{weights:.1f}", f"{arm['disk_mb']:.1f}"))
    title = label("plot_memory", language)
    columns = [label("arm", language), *(f"{label(k, language)}, MB" for k in ("peak", "weights", "disk"))]
    svg = bars(title, made, label("megabytes", language))
    legend = [label("weights", language), label("rest", language)]
    return Plot("memory", svg, Table(title, columns, rows, label("size_note", language)), legend)


def _latency(arms: Sequence[Mapping[str, Any]], language: str) -> Plot:
    series, rows = [], []
    for arm in arms:
        pairs = sorted((c["audio_s"], statistics.median(c["seconds"])) for c in arm["speed"]["by_clip"])
        points = [Point(x, y, f"{name(arm)}: {x:.1f} s, {y:.2f} s") for x, y in pairs]
        series.append(Series(name(arm), points, line=True))
        rows += [(name(arm), f"{x:.2f}", f"{y:.4f}") for x, y in pairs]
    title = label("plot_latency", language)
    axes = label("length_axis", language), label("latency_axis", language)
    svg = scatter(title, series, *axes)
    table = Table(title, [label("arm", language), *axes], rows, label("plot_latency_note", language))
    return Plot("latency", svg, table, [one.name for one in series], symbols=True)


def _stages(arms: Sequence[Mapping[str, Any]], language: str) -> Plot:
    used = [stage for stage in _STAGES if any(arm["speed"]["stages_s"].get(stage) for arm in arms)]
    made, rows = [], []
    for arm in arms:
        times = [arm["speed"]["stages_s"].get(stage, 0.0) for stage in used]
        made.append(Bar(name(arm), list(enumerate(times)), seconds(sum(times))))
        rows.append((name(arm), *(f"{value:.4f}" for value in times)))
    title = label("plot_stages", language)
    names = [label(stage, language) for stage in used]
    table = Table(title, [label("arm", language), *names], rows, label("plot_stages_note", language))
    return Plot("stages", bars(title, made, label("seconds", language)), table, names)

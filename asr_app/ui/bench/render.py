"""From a benchmark to the HTML of its tab. Everything that a user or a model wrote is escaped here or by the report."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from asr_app import catalog
from asr_app.bench.records import Benchmark
from asr_app.bench.runner import Progress
from asr_app.errors import UserError
from asr_app.report.markdown import clips_line
from asr_app.report.page import contents, table_html
from asr_app.report.sections import left_out
from asr_app.ui.entries import remover
from asr_app.ui.render import bar, clock, short_name
from asr_app.ui.texts import t

_MOST_LANGUAGES = 8  # that are named with their counts
DOWNLOADS = ("report.html", "report.md", "results.json", "clips.csv")


def found(draft: Benchmark, language: str) -> str:
    """The data of a draft: what is used, and what is left out with its reason, file and line."""
    data = draft.found
    counts = [f"{escape(code) or t('bench_unnamed', language)} {n}" for code, n in data.languages.items()]
    spoken = ", ".join(counts[:_MOST_LANGUAGES]) + (" …" if counts[_MOST_LANGUAGES:] else "")
    key = "bench_found_one" if data.clips == 1 else "bench_found"
    said = t(
        key, language, name=escape(name(draft, language)), clips=f"{data.clips:,}", layout=escape(data.layout), languages=spoken
    )  # fmt: skip
    note = f" {t('bench_example_note', language)}" if draft.source == "example" else ""
    count = sum(entry["count"] for entry in data.left_out.values()) + data.unused
    if not count:
        return f'<div class="notice" role="status">{said}{note}</div>'
    unused = f"<p>{t('bench_unused', language, count=data.unused)}</p>" if data.unused else ""
    table = table_html(left_out({"data": {"left_out": data.left_out}}, language))
    return (
        f'<div class="notice" role="status">{said}{note}<details class="report" open><summary>'
        f"{t('bench_left_out', language, count=f'{count:,}')}</summary>{table}{unused}</details></div>"
    )


def name(benchmark: Benchmark, language: str) -> str:
    """The name of the data, to read."""
    return t("bench_example_name", language) if benchmark.source == "example" else benchmark.name


def standing(benchmark: Benchmark, progress: Progress | None, ahead: int, language: str) -> str:
    """The state: a bar with what is done and the time left, or why it ended, with the button that fits."""
    button = '<div class="downloads"><button class="{}">{}</button></div>'
    title = name(benchmark, language)
    if benchmark.state == "done":
        return ""
    if benchmark.state == "cancelled":
        said = f'<div class="notice" role="status">{t("bench_cancelled", language)}</div>'
        return said + button.format("go-on", t("bench_go_on", language))
    if benchmark.error is not None:
        reason = escape(UserError(*benchmark.error).text(language))
        said = f'<div class="notice bad" role="alert"><b>{t("bench_failed", language)}</b> {reason}</div>'
        return said + button.format("go-on", t("bench_go_on", language))
    breaks = t("bench_breaks", language, count=benchmark.breaks)
    note = f'<p class="evidence">{breaks}</p>' if benchmark.breaks else ""
    return _bar(title, benchmark, progress, ahead, language) + note + button.format("stop", t("bench_stop", language))


def _bar(title: str, benchmark: Benchmark, progress: Progress | None, ahead: int, language: str) -> str:
    if benchmark.state == "queued":
        waits = t("bench_ahead", language, count=ahead) if ahead else t("bench_queued", language)
        return bar(f"{title} · {waits}", "", 0.0)
    if progress is None:
        return bar(f"{title} · {t('bench_starting', language)}", "", None)
    step = progress.step
    parts = [title, *_models(benchmark, step.model, language), t(f"bench_{step.phase}", language)]
    if step.arm:
        parts.append(step.arm.upper())
    figures = f"{step.done:,} / {step.total:,}"
    if progress.left_s is not None:
        figures += " · " + t("bench_left", language, time=clock(progress.left_s))
    return bar(" · ".join(parts), figures, step.done / step.total if step.total else None)


def _models(benchmark: Benchmark, model: str, language: str) -> list[str]:
    """The model that runs, and its number among several."""
    asked = benchmark.asked.models if benchmark.asked else ()
    at = next((n for n, key in enumerate(asked) if model in (key, Path(key).stem)), None)
    if at is None:
        return [model] if model else []
    number = [t("bench_model_of", language, n=at + 1, total=len(asked))] if asked[1:] else []
    return [_title(asked[at]), *number]


def _title(key: str) -> str:
    """The model's name to read; of a local folder its own name, for it may be gone."""
    return short_name(catalog.CARDS[key]) if key in catalog.CARDS else Path(key).name


def results(benchmark: Benchmark, made: Mapping[str, Any] | None, language: str) -> str:
    """The downloads and the report, or that there is nothing yet."""
    if made is None or not made["models"]:
        key = "bench_nothing_done" if benchmark.finished else "bench_none_yet"
        return f'<div class="transcript empty">{t(key, language)}</div>'
    so_far = "" if benchmark.state == "done" else f'<p class="evidence">{t("bench_so_far", language)}</p>'
    links = "".join(
        f'<a href="{url(benchmark.id, file, language)}" download>{_shown(file, language)}</a>' for file in DOWNLOADS
    )
    line = f"{escape(clips_line(made, language))}<br>{escape(made['recipe']['processor'])} · {escape(made['made'])}"
    return (
        f'{so_far}<div class="report"><p class="soft">{line}</p><div class="downloads">{links}</div>'
        f"{''.join(contents(made, language))}</div>"
    )


def url(benchmark: str, file: str, language: str) -> str:
    """The address of a download, relative to the page."""
    return f"benchmark/{benchmark}/{language}/{file}"


def _shown(file: str, language: str) -> str:
    return t("bench_per_clip", language) if file == "clips.csv" else file


def entry(benchmark: Benchmark, language: str) -> str:
    """Name, state, models and time as a button that shows it; another one removes it once it has ended."""
    asked = benchmark.asked
    models = escape(", ".join(_title(key) for key in asked.models)) if asked else ""
    key = "bench_state_running" if benchmark.state == "running" else f"state_{benchmark.state}"
    opens = (
        f'<button class="open"><b>{escape(name(benchmark, language))}</b><span><i class="state {benchmark.state}">'
        f'{t(key, language)}</i> · {models} · <time data-at="{benchmark.created:.0f}"></time></span></button>'
    )
    return opens + remover(name(benchmark, language), language) if benchmark.finished else opens

"""report.md: the recommendation and every table, those of the plots included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from asr_app.report.advice import advise, by_use
from asr_app.report.labels import label
from asr_app.report.plots import plots
from asr_app.report.sections import Table, left_out, model_tables, recipe


def markdown(results: Mapping[str, Any], language: str) -> str:
    """The report of `results` in Markdown."""
    return "\n".join(_lines(results, language)) + "\n"


def clips_line(results: Mapping[str, Any], language: str) -> str:
    """`300 clips, 24.5 minutes, 24 languages (refs.tsv)`."""
    data = results["data"]
    names = sorted({clip["language"] for clip in data["clips"]} - {""})
    spoken = label("no_language", language)
    if names:
        spoken = (
            label("one_language", language, name=names[0])
            if len(names) == 1
            else label("languages_of", language, count=len(names))
        )
    return label(
        "clips_line_one" if len(data["clips"]) == 1 else "clips_line", language, clips=len(data["clips"]), minutes=data["audio_s"] / 60, languages=spoken,
        layout=data["layout"],
    )  # fmt: skip


def _lines(results: Mapping[str, Any], language: str) -> Iterator[str]:
    names = ", ".join(model["model"] for model in results["models"])
    yield f"# {label('benchmark', language)}: {plain(names)}"
    yield ""
    for model in results["models"]:
        yield f"**{plain(model['model'])}**: {plain(sentence(model, language))}"
        yield ""
    yield plain(clips_line(results, language))
    for model in results["models"]:
        yield ""
        yield f"## {plain(model['model'])}"
        rows = [(label(use, language), arm) for use, arm in by_use(model) if arm] if is_finished(model) else []
        if rows:
            yield from table_lines(Table(label("uses", language), ["", label("arm", language)], rows, numeric=False))
        for table in model_tables(model, language):
            yield from table_lines(table)
        for plot in plots(model, language):
            yield from table_lines(plot.table)
    yield from table_lines(left_out(results, language))
    yield from table_lines(recipe(results, language))


def sentence(model: Mapping[str, Any], language: str) -> str:
    """The recommendation for one model, or the reason why there is none."""
    if model["problem"]:
        return label("failed_model", language, problem=model["problem"])
    if not is_finished(model):
        return label("unfinished", language)
    return advise(model, language).sentence


def is_finished(model: Mapping[str, Any]) -> bool:
    """Whether all arms have run. Reports of earlier versions do not say it, and have been finished."""
    return bool(model.get("finished", True))


def table_lines(table: Table) -> Iterator[str]:
    """The lines of a table under its title, with its note."""
    yield ""
    yield f"### {plain(table.title)}"
    if table.note:
        yield ""
        yield plain(table.note)
    if table.rows:
        yield ""
        yield f"| {' | '.join(map(plain, table.columns))} |"
        yield "|" + "|".join("---:" if i and table.numeric else "---" for i in range(len(table.columns))) + "|"
        for row in table.rows:
            yield f"| {' | '.join(map(plain, row))} |"


def plain(text: str) -> str:
    """The text as plain words: names of files may hold marks of Markdown or HTML."""
    kept = "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)
    return " ".join(kept.split())

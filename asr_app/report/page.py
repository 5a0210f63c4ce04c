"""report.html: one file that needs no network. Both colour schemes follow the browser's."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from asr_app.report.advice import by_use
from asr_app.report.labels import label
from asr_app.report.markdown import clips_line, is_finished, sentence
from asr_app.report.plots import Plot, plots
from asr_app.report.sections import Table, left_out, model_tables, recipe
from asr_app.report.svg import symbol

STYLE = Path(__file__).with_name("report.css")


def page(results: Mapping[str, Any], language: str) -> str:
    """The report of `results` as a whole HTML page."""
    return "".join(_page(results, language))


def _page(results: Mapping[str, Any], language: str) -> Iterator[str]:
    names = ", ".join(model["model"] for model in results["models"])
    title = escape(f"{label('benchmark', language)}: {names}")
    yield (
        f'<!doctype html>\n<html lang="{"zh-CN" if language == "zh" else "en"}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head><body><main>"
        f'<header><h1>{title}</h1><p class="soft">{escape(clips_line(results, language))}<br>'
        f"{escape(results['recipe']['processor'])} · {escape(_minute(results['made']))}</p></header>"
    )
    yield from contents(results, language)
    yield "</main></body></html>\n"


def contents(results: Mapping[str, Any], language: str) -> Iterator[str]:
    """The report without its head, as HTML for report.css: recommendations, plots, tables."""
    for model in results["models"]:
        yield f'<section class="advice"><h2>{escape(model["model"])}</h2><p>{_words(sentence(model, language))}</p>'
        yield _uses(model, language)
        yield "</section>"
    for number, model in enumerate(results["models"]):
        yield f"<h2>{escape(model['model'])}</h2>" if len(results["models"]) > 1 else ""
        drawn = "".join(_plot(plot, number, language) for plot in plots(model, language))
        yield f'<div class="plots">{drawn}</div>' if drawn else ""
        for table in model_tables(model, language):
            yield _section(table)
    yield _section(left_out(results, language))
    yield _section(recipe(results, language))


def _uses(model: Mapping[str, Any], language: str) -> str:
    items = "".join(
        f"<li>{escape(label(use, language))} <b>{escape(arm)}</b></li>"
        for use, arm in by_use(model)
        if arm and is_finished(model)
    )
    lead = escape(label("uses", language))
    return f'<p class="soft">{lead}</p><ul class="uses">{items}</ul>' if items else ""


def _section(table: Table) -> str:
    note = f'<p class="soft">{_words(table.note)}</p>' if table.note else ""
    return f"<section><h3>{escape(table.title)}</h3>{table_html(table)}{note}</section>"


def table_html(table: Table) -> str:
    """The table without its title and note; nothing for one without rows."""
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    style = "numbers" if table.numeric else "words"
    # A table that is wider than a phone is scrolled, which a keyboard must reach too.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title, quote=True)}">'
        f'<table class="{style}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _plot(plot: Plot, model: int, language: str) -> str:
    legend = "".join(
        f'<li><svg viewBox="0 0 14 14" aria-hidden="true">{_swatch(i, plot)}</svg>{escape(text)}</li>'
        for i, text in enumerate(plot.legend)
    )
    legend += "".join(
        f'<li><svg viewBox="0 0 28 14" class="wide" aria-hidden="true"><line class="{mark.style}" x2="28" y1="7" y2="7"/></svg>'
        f"{escape(mark.name)}</li>"
        for mark in plot.marks
    )
    return (
        f"<section><h3>{escape(plot.table.title)}</h3>{plot.svg}"
        f"{f'<ul class=legend>{legend}</ul>' if legend else ''}"
        f"{f'<p class=soft>{_words(plot.table.note)}</p>' if plot.table.note else ''}"
        f"<details><summary>{escape(label('numbers', language))}</summary>{table_html(plot.table)}"
        f'<p><a download="{plot.key}-{model + 1}.csv" href="{_csv(plot.table)}">{escape(label("csv", language))}</a></p>'
        f"</details></section>"
    )


def _words(text: str) -> str:
    """The text as HTML. A line does not break before a per cent sign."""
    return escape(text).replace(" %", "&nbsp;%")


def _minute(made: str) -> str:
    """`2026-11-26 15:26 UTC` of a time in ISO 8601."""
    return f"{datetime.fromisoformat(made).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _swatch(number: int, plot: Plot) -> str:
    return symbol(number, 7, 7) if plot.symbols else f'<rect class="s{number}" width="14" height="14" rx="3"/>'


def _csv(table: Table) -> str:
    """A link that holds the table as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([table.columns, *table.rows])
    return f"data:text/csv;charset=utf-8,{quote(text.getvalue(), safe='')}"

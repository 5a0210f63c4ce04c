"""The right end of a line: whose text it is, the mark that it is right, and the button of its menu."""

from __future__ import annotations

from html import escape

from asr_app.datatypes import Change
from asr_app.ui.texts import t


def line_tools(change: Change | None, language: str) -> str:
    """A mark for a changed line, and the buttons."""
    kind = change.kind if change else ""
    mark, right = "", ""
    if change and kind == "corrected":
        mark = _mark("✎", t("line_corrected", language, said=change.original), "corrected")
    elif change and kind == "redone":
        mark = _mark("↻", t("line_redone", language, by=change.by, said=change.original), "redone")
    if kind != "corrected":  # a corrected line is right
        pressed, label = str(kind == "confirmed").lower(), escape(t("line_right", language))
        right = f'<button class="right" aria-pressed="{pressed}" aria-label="{label}" title="{label}">✓</button>'
    more = escape(t("line_more", language))
    return (
        f'<span class="tools">{mark}{right}'
        f'<button class="more" aria-expanded="false" aria-label="{more}" title="{more}">⋯</button></span>'
    )


def _mark(sign: str, label: str, kind: str) -> str:
    return f'<i class="mark {kind}" role="img" aria-label="{escape(label)}" title="{escape(label)}">{sign}</i>'

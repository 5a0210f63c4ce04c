"""The list of one's jobs, under the buttons. The browser keeps the ids (assets/page.js); the server knows no list."""

from __future__ import annotations

from html import escape

from asr_app.observer import Status
from asr_app.ui.render import clock
from asr_app.ui.texts import in_both, t


def frame() -> str:
    """The list without entries; page.js shows it once there are some, and writes the heading."""
    zip_all = f'<button id="zip" hidden {in_both("zip")}></button>'
    return f'<section id="jobs" class="list" hidden><h3 {in_both("jobs")}></h3>{zip_all}<ul></ul></section>'


def entry(status: Status, language: str) -> str:
    """Name, state, length and time of a job as a button that shows it; another one removes a job that has ended.

    page.js writes the time, which depends on the browser's zone.
    """
    state = t(f"state_{status.state}", language)
    length = "" if status.seconds is None else f" · {clock(status.seconds)}"
    name = escape(status.name)
    opens = (
        f'<button class="open"><b>{name}</b><span><i class="state {status.state}">{state}</i>{length} · '
        f'<time data-at="{status.created:.0f}"></time></span></button>'
    )
    if not status.finished:
        return opens
    return opens + remover(status.name, language)


def remover(name: str, language: str) -> str:
    """The button that removes the entry of that name; the page's script asks once more before it does."""
    label = escape(t("remove", language, name=name))
    return f'<button class="remove" aria-label="{label}" title="{label}" data-sure="{t("sure", language)}">×</button>'

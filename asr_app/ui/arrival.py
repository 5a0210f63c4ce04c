"""The band above the page: the model that answers, the one that is on its way, and why one did not come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.loading import Loaded
from asr_app.precision import Precision
from asr_app.startup import Failure, Preparation, Preparer
from asr_app.ui.labels import Labels
from asr_app.ui.render import bar, clock, megabytes, share_of_bytes, short_name
from asr_app.ui.texts import t


@dataclass(frozen=True)
class Arrival:
    """The components; `pill` lies in the head of the page."""

    pill: gr.HTML
    progress_row: gr.Row
    progress: gr.HTML
    stop: gr.Button
    failure_row: gr.Row
    failure: gr.HTML
    retry: gr.Button
    notice: gr.HTML

    @property
    def components(self) -> list[Any]:
        return [self.pill, self.progress_row, self.progress, self.stop, self.failure_row, self.failure, self.notice]


def lay_out(pill: gr.HTML, labels: Labels) -> Arrival:
    """Makes the components below the head, out of sight as long as there is nothing to say."""
    with gr.Row(visible=False, elem_id="arrival") as progress_row:
        progress = gr.HTML()
        stop = labels(gr.Button(t("stop_download", "en"), size="sm", elem_id="stop"), value="stop_download")
    with gr.Row(visible=False, elem_id="failure") as failure_row:
        failure = gr.HTML()
        retry = labels(gr.Button(t("try_again", "en"), size="sm", elem_id="try-again"), value="try_again")
    return Arrival(pill, progress_row, progress, stop, failure_row, failure, retry, gr.HTML())


def connect(arrival: Arrival, preparer: Preparer, quiet: Mapping[str, Any]) -> None:
    """Lets the buttons stop and repeat."""
    arrival.stop.click(preparer.stop, None, None, **quiet)
    arrival.retry.click(preparer.retry, None, None, **quiet)


def updates(arrival: Arrival, preparer: Preparer, engines: Engines, card: ModelCard, language: str) -> dict[Any, Any]:
    """The updates of the components, as things stand; `card` is the chosen model's."""
    current, failure = preparer.current, preparer.failure
    waiting = [c for c, _ in preparer.waiting]
    return {
        arrival.pill: pill(engines.resident(), engines.resting, current, language),
        arrival.progress_row: gr.update(visible=current is not None),
        arrival.progress: progress(current, waiting, language),
        arrival.stop: gr.update(visible=current is not None and current.stage != "loading"),
        arrival.failure_row: gr.update(visible=failure is not None),
        arrival.failure: failed(failure, language),
        arrival.notice: notice(card, language),
    }


def pill(
    resident: list[Loaded], resting: tuple[ModelCard, Precision] | None, current: Preparation | None, language: str
) -> str:
    """The model that answers now, with precision as counted, size and state; else the one that is on its way, or rests."""
    if not resident:
        if current is None and resting is not None:
            card, precision = resting
            state = f"{card.id} · {precision.label} · {t('resting', language)}"
            return f'<span class="pill" role="status">{escape(state)}</span>'
        if current is None:
            return f'<span class="pill bad" role="status">{t("not_loaded", language)}</span>'
        share = f" {current.done / current.total:.0%}" if current.total else ""
        state = f"{current.card.id} · {t(current.stage, language)}{share}"
        return f'<span class="pill busy" role="status">{escape(state)}</span>'
    top = resident[0]
    ok = top.check.passed
    state = t("ready", language) if ok else t("self_check", language, reason=top.check.reason)
    size = megabytes(top.precision.weight_bytes)
    return (
        f'<span class="pill {"ok" if ok else "bad"}" role="status" title="{escape(top.precision.effective)}">'
        f"{escape(top.card.id)} · {top.precision.requested.label} · {size} · {escape(state)}</span>"
    )


def progress(current: Preparation | None, waiting: list[ModelCard], language: str) -> str:
    """A bar with what has arrived, what there is in all, and the time left."""
    if current is None:
        return ""
    label = t(f"arriving_{current.stage}", language, model=short_name(current.card))
    share = current.done / current.total if current.total else None
    parts = [t("already", language)]
    if waiting:
        parts.append(t("then", language, models=", ".join(short_name(card) for card in waiting)))
    return bar(label, _figures(current, share, language), share) + f'<p class="evidence">{escape(" ".join(parts))}</p>'


def _figures(current: Preparation, share: float | None, language: str) -> str:
    if current.stage != "downloading":
        return "" if share is None else f"{share:.0%}"
    figures = share_of_bytes(current.done, current.total, language)
    return figures if current.left_s is None else f"{figures} · {t('left', language, time=clock(current.left_s))}"


def failed(failure: Failure | None, language: str) -> str:
    """One sentence; the reason and what to do fold out."""
    if failure is None:
        return ""
    key = "not_ready" if failure.instead is None else "not_ready_instead"
    said = t(key, language, model=short_name(failure.card))
    return (
        f'<div class="notice bad" role="alert">{escape(said)}<details><summary>{t("why", language)}</summary>'
        f"{escape(failure.error.text(language))}</details></div>"
    )


def notice(card: ModelCard, language: str) -> str:
    """Explanation of demo models, while one is chosen."""
    return f'<div class="notice">{t("demo", language)}</div>' if card.note == "demo" else ""

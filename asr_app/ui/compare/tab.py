"""The Compare tab's inputs. Their handlers submit a comparison and cancel it; compare.js shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from asr_app import catalog, hub
from asr_app.compare.comparisons import MOST, Comparisons
from asr_app.datatypes import ModelCard, Options
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.precision import Precision, refusal
from asr_app.ui import render
from asr_app.ui.inputs import client_of
from asr_app.ui.labels import Labels
from asr_app.ui.texts import LANGUAGES, in_both, t

# Called by Gradio; `asrCompare` is what compare.js exports.
_SHOW_JS = "(comparison, language) => window.asrCompare.show(comparison, language)"
_OPENED_JS = "() => window.asrCompare.opened()"
_FRAME = f"""<div id="compare-progress"></div><div id="compare-player-box"></div>
<div id="comparison"><div class="transcript empty" {in_both("compare_empty")}></div></div>"""
_EARLIER = f'<section id="comparisons" class="list" hidden><h3 {in_both("compare_earlier")}></h3><ul></ul></section>'


@dataclass(frozen=True)
class CompareTab:
    """The components of the tab."""

    upload: gr.File
    arms: gr.Dropdown
    reference: gr.Textbox
    blind: gr.Checkbox
    start: gr.Button
    cancel: gr.Button
    refusal: gr.HTML


def lay_out(cards: Mapping[str, ModelCard], engines: Engines, labels: Labels) -> CompareTab:
    """Makes the components, inside the tab that is open."""
    card = next(iter(cards.values()))
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            upload = gr.File(
                label=t("file", "en"), file_count="single", type="filepath", height=130, elem_id="compare-upload"
            )
            arms = gr.Dropdown(
                choices(cards, engines), value=_preset(card, engines), multiselect=True, max_choices=MOST,
                label=t("compare_arms", "en"), info=t("compare_arms_info", "en"), elem_id="compare-arms",
            )  # fmt: skip
            reference = gr.Textbox(
                label=t("compare_reference", "en"), info=t("compare_reference_info", "en"), lines=2, max_lines=8,
                elem_id="compare-reference",
            )  # fmt: skip
            blind = gr.Checkbox(False, label=t("compare_blind", "en"), elem_id="compare-blind")
            with gr.Row():
                start = gr.Button(t("compare_start", "en"), variant="primary", elem_id="compare-start")
                cancel = gr.Button(t("cancel", "en"), elem_id="compare-cancel")
            refused = gr.HTML(elem_id="compare-refusal")
            gr.HTML(_EARLIER)
        with gr.Column(scale=6, min_width=320):
            gr.HTML(_FRAME)
    labels(upload, label="file")
    labels(arms, label="compare_arms", info="compare_arms_info")
    labels(reference, label="compare_reference", info="compare_reference_info")
    labels(blind, label="compare_blind")
    labels(start, value="compare_start")
    labels(cancel, value="cancel")
    return CompareTab(upload, arms, reference, blind, start, cancel, refused)


def connect(
    tab: CompareTab,
    tabs: gr.Tabs,
    opened: gr.Tab,
    cards: Mapping[str, ModelCard],
    engines: Engines,
    jobs: Jobs,
    comparison: gr.BrowserState,
    job_id: gr.BrowserState,
    language: gr.Radio,
    quiet: Mapping[str, Any],
) -> None:
    """Lets the components begin comparisons into `comparison`, and cancel them. `opened` is the tab itself.

    Called outside of the tab, whose components Gradio makes when it is first opened: the scripts' buttons are made here.
    """
    comparisons = Comparisons(jobs)

    def begin(
        request: gr.Request,
        before: str,
        label: str,
        path: str | None,
        chosen: Sequence[str],
        reference: str,
        judge: bool,
    ) -> tuple[str, str]:
        try:
            if not path:
                raise UserError(t("nothing_given", "en"), t("nothing_given", "zh"))
            arms = [arm_of(value, cards) for value in chosen]
            return comparisons.begin(
                Path(path), Path(path).name, arms, Options(), reference, judge, before, client_of(request)
            ), ""
        except UserError as error:
            return before, render.refusal(error, LANGUAGES[label])

    def begin_from(request: gr.Request, before: str, label: str, job: str) -> tuple[str, str, Any]:
        shown = gr.update(selected="compare")
        try:
            task = jobs.journal.task(job)
            if task is None:
                raise UserError("The recording is gone. Upload it again.", "录音文件已不存在，请重新上传。")
            card = catalog.find(task.model)
            precisions = [Precision.FP32, engines.choose(card, True, None), task.precision]
            arms = [(card, precision) for precision in precisions]
            return comparisons.begin(
                task.recording, task.name, arms, task.options, before=before, client=client_of(request)
            ), "", shown  # fmt: skip
        except UserError as error:
            return before, render.refusal(error, LANGUAGES[label]), shown

    def cancel(current: str, label: str) -> str:
        try:
            comparisons.cancel(current)
        except UserError as error:
            return render.refusal(error, LANGUAGES[label])
        return ""

    answered = [comparison, tab.refusal]
    given = [comparison, language, tab.upload, tab.arms, tab.reference, tab.blind]
    tab.start.click(begin, given, answered, **quiet)
    tab.cancel.click(cancel, [comparison, language], tab.refusal, **quiet)
    # Compares the job that is shown in the other tab, at both sides of its model's switch.
    from_job = gr.Button(visible="hidden", elem_id="compare-job")
    from_job.click(begin_from, [comparison, language, job_id], [*answered, tabs], **quiet)
    opener = gr.Button(visible="hidden", elem_id="open-comparison")
    opener.click(None, None, comparison, js=_OPENED_JS, **quiet)
    gr.on([comparison.change, language.change, opened.select], None, [comparison, language], None, js=_SHOW_JS, **quiet)


def choices(cards: Mapping[str, ModelCard], engines: Engines) -> list[tuple[str, str]]:
    """Name and value of each arm: the start-up's model and those on this disk, at each precision that runs here."""
    first = next(iter(cards.values()))
    here = [card for card in cards.values() if card is first or hub.on_disk(card, engines.hub_name)]
    return [
        (f"{render.short_name(card)} · {precision.label}", _value(card, precision))
        for card in here
        for precision in card.precisions
        if refusal(precision, catalog.recipes(card), card.precisions, engines.device) is None
    ]


def _preset(card: ModelCard, engines: Engines) -> list[str]:
    """Both sides of the switch."""
    try:
        both = Precision.FP32, engines.choose(card, True, None)
    except UserError:  # no lower precision runs here
        return []
    return [_value(card, precision) for precision in dict.fromkeys(both)]


def _value(card: ModelCard, precision: Precision) -> str:
    return f"{precision.value} {card.key}"


def arm_of(value: str, cards: Mapping[str, ModelCard]) -> tuple[ModelCard, Precision]:
    """The model and the precision of a value of `choices`. Raises UserError for a model that the server does not offer."""
    precision, _, key = value.partition(" ")
    if key not in cards:
        raise UserError("That model is not here any more. Reload the page.", "该模型已不可用，请刷新页面。")
    return cards[key], Precision.parse(precision)

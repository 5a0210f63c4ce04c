"""The page: inputs, switch and list of jobs on the left, a job as observed on the right. Handlers only submit.

The browser keeps the ids of its jobs and the choices: a reload, a broken tunnel or a restarted server finds the text so
far, and the rest goes on. assets/page.js asks for news of the jobs (news.py) and shows them.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from asr_app import catalog
from asr_app.bench.benchmarks import Benchmarks
from asr_app.config import Config
from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.jobs import Jobs
from asr_app.recorder.captions import Captions
from asr_app.recorder.captures import Captures
from asr_app.startup import Preparer
from asr_app.ui import arrival as band
from asr_app.ui import choices, links, models, options, presets, uploads
from asr_app.ui import inputs as left
from asr_app.ui import result as right
from asr_app.ui.bench import tab as bench
from asr_app.ui.compare import tab as compare
from asr_app.ui.labels import Labels
from asr_app.ui.texts import LANGUAGES, t
from asr_app.ui.watch import Watch

# Fixed, so that what a browser kept is still readable after the server restarts; it guards nothing but a job's id.
_STORAGE_KEY = "asr-app"
# Nothing here is a public function of an API, and the page shows progress of its own.
# Called by page.js; `asr` is what it exports.
_START_JS = (
    "(job, comparison, benchmark, language) => { window.asr.start(job, language); "
    "window.asrCompare.show(comparison, language); window.asrBench.show(benchmark, language); window.asrRecord.start(); }"
)
_SHOW_JS = "(job, language) => window.asr.show(job, language)"
_OPENED_JS = "() => window.asr.opened()"
# Events answer in milliseconds and need no queue. Gradio's client loses answers of the queue: an event that is sent while
# the server closes the stream of answers waits for the next event, which a person may never send.
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}


def build(
    config: Config, engines: Engines, jobs: Jobs, captures: Captures, captions: Captions, preparer: Preparer,
    benchmarks: Benchmarks,
) -> gr.Blocks:  # fmt: skip
    """The page's Blocks. The start-up's model is offered first, a local folder included."""
    cards = offered(config)
    labels = Labels()
    with gr.Blocks(title=t("title", "en"), analytics_enabled=False) as page:
        job_id = gr.BrowserState("", storage_key="asr-job", secret=_STORAGE_KEY)
        submitted = gr.BrowserState([], storage_key="asr-submitted", secret=_STORAGE_KEY)  # by the last click
        kept = gr.BrowserState({}, storage_key="asr-choices", secret=_STORAGE_KEY)
        comparison = gr.BrowserState("", storage_key="asr-comparison", secret=_STORAGE_KEY)
        benchmark = gr.BrowserState("", storage_key="asr-benchmark", secret=_STORAGE_KEY)
        kept_language = gr.BrowserState("", storage_key="asr-language", secret=_STORAGE_KEY)
        with gr.Row(elem_id="head", equal_height=True):
            with gr.Column(scale=6, min_width=260):
                head = gr.HTML(uploads.frame(config.max_upload_mb))
            with gr.Column(scale=4, min_width=240):
                pill = gr.HTML()
            with gr.Column(scale=2, min_width=170):
                language = gr.Radio(
                    list(LANGUAGES),
                    value="English",
                    label="Language",
                    show_label=False,
                    container=False,
                    elem_id="language",
                )
        arrival = band.lay_out(pill, labels)
        link_note = gr.HTML(visible=False, elem_id="link-note")
        with gr.Tabs(elem_id="tabs") as tabs:
            with (
                labels(gr.Tab(t("tab_transcribe", "en"), id="transcribe"), label="tab_transcribe"),
                gr.Row(),
            ):
                with gr.Column(scale=4, min_width=300):
                    inputs = left.lay_out(cards, config, labels)
                with gr.Column(scale=6, min_width=320):
                    right.lay_out()
            with labels(gr.Tab(t("tab_compare", "en"), id="compare"), label="tab_compare") as opened:
                comparing = compare.lay_out(cards, engines, labels)
            with labels(gr.Tab(t("tab_bench", "en"), id="bench"), label="tab_bench") as bench_opened:
                benching = bench.lay_out(cards, engines, list(benchmarks.offered), labels)
        opener = gr.Button(visible="hidden", elem_id="open-job")
        band.connect(arrival, preparer, _QUIET)
        left.connect(
            inputs, cards, engines, jobs, captures, captions, preparer, job_id, submitted, kept, language, _QUIET
        )
        choices.connect(kept, inputs, cards, config, language, _QUIET)
        compare.connect(comparing, tabs, opened, cards, engines, jobs, comparison, job_id, language, _QUIET)
        bench.connect(benching, bench_opened, cards, engines, benchmarks, benchmark, language, _QUIET)
        default = left.default_precision(config)
        Watch(arrival, inputs, comparing.arms, cards, engines, jobs, preparer, default).connect(
            job_id, kept, language, _QUIET
        )
        opener.click(None, None, job_id, js=_OPENED_JS, **_QUIET)
        gr.on([job_id.change, language.change], None, [job_id, language], None, js=_SHOW_JS, **_QUIET)
        model, shown_first = inputs.models.model, next(iter(cards))

        def rename(label: str, key: str, picked: str) -> list[Any]:
            lang = LANGUAGES[label]
            title = (
                f'<a class="skip" href="#transcript">{t("skip", lang)}</a><h1>{t("title", lang)}</h1>'
                f"<p>{t('tagline', lang)}</p>{uploads.frame(config.max_upload_mb)}"
            )
            precision = gr.update(
                choices=left.precision_choices(lang, cards[key]), value=picked, label=t("precision", lang),
                info=t("precision_info", lang),
            )  # fmt: skip
            listed: dict[str, Any] = {"label": t("model", lang), "groups": models.groups(cards, engines.hub_name, lang)}
            if key != shown_first:  # else a choice made while the page was loading would be undone
                listed["value"] = key
            return [
                title, precision, *options.renamed(cards[key], lang), gr.update(**listed), lang,
                *labels.updates(lang),
            ]  # fmt: skip

        def greet(chosen: str, choice: dict[str, Any], picked: str, request: gr.Request) -> list[Any]:
            """In the language of the link, that chosen before, or the browser's; with the model of the link, that chosen
            before, or the start's."""
            link = links.read(request.query_params, cards, choice, preparer.home)
            accepted = request.headers.get("accept-language", "")
            label = "中文" if (link.page_language or chosen or accepted[:2]) == "zh" else "English"
            choice = {**choice, **link.choices}
            if set(link.choices) & set(presets.AFFECTED):
                choice = {k: v for k, v in choice.items() if k not in ("preset", "before")}
            note = link.note(LANGUAGES[label])
            return [
                label, choice, gr.update(selected=link.tab) if link.tab else gr.skip(),
                gr.update(value=note, visible=bool(note)),
                *rename(label, choices.model(choice, cards, preparer.home), picked),
            ]  # fmt: skip

        def restore(choice: dict[str, Any]) -> list[Any]:
            return [choices.switch(choice), choices.opened(choice), *options.restored(choice)]

        renamed = [
            head, inputs.precision, *inputs.options.renamed, model, kept_language, *labels.components,
        ]  # fmt: skip
        greeted = page.load(
            greet, [kept_language, kept, inputs.precision], [language, kept, tabs, link_note, *renamed], **_QUIET
        )
        # Labels and values are updates of the same components: one event may not have both.
        restored = greeted.then(restore, kept, [inputs.lite, inputs.advanced, *inputs.options.common], **_QUIET)
        restored.then(None, [job_id, comparison, benchmark, language], None, js=_START_JS, **_QUIET)
        language.input(rename, [language, model, inputs.precision], renamed, **_QUIET)
    return page


def offered(config: Config) -> dict[str, ModelCard]:
    """The start-up's model first, then the catalog; by the key that jobs know them by."""
    first = catalog.find(config.model)
    return {first.key: first} | {c.id: c for c in catalog.CARDS.values()}

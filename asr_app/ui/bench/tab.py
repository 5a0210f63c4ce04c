"""The Benchmark tab's inputs. Their handlers read what is given and begin a benchmark; bench.js shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from asr_app import catalog, hub
from asr_app.bench.benchmarks import MOST_ROUNDS, Benchmarks
from asr_app.bench.records import USERS, Asked, Benchmark
from asr_app.config import number
from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.precision import Precision, refusal
from asr_app.ui import render as shared
from asr_app.ui.bench import render
from asr_app.ui.inputs import client_of
from asr_app.ui.labels import Labels
from asr_app.ui.texts import LANGUAGES, in_both, t

# Called by Gradio; `asrBench` is what bench.js exports.
_SHOW_JS = "(benchmark, language) => window.asrBench.show(benchmark, language)"
_OPENED_JS = "() => window.asrBench.opened()"
_READING_JS = "() => window.asrBench.reading(true)"
_READ_JS = "() => window.asrBench.reading(false)"
_FRAME = f"""<div id="bench-progress"></div>
<div id="bench-result"><div class="transcript empty" {in_both("bench_empty")}></div></div>"""
_EARLIER = f'<section id="benchmarks" class="list" hidden><h3 {in_both("bench_earlier")}></h3><ul></ul></section>'
_READING = f'<p id="bench-reading" class="evidence" hidden {in_both("bench_reading")}></p>'


@dataclass(frozen=True)
class BenchTab:
    """The components of the tab."""

    upload: gr.File
    sources: Mapping[str, gr.Button]
    found: gr.HTML
    models: gr.Dropdown
    precisions: gr.CheckboxGroup
    languages: gr.Dropdown
    limit: gr.Textbox
    rounds: gr.Slider
    users: gr.CheckboxGroup
    start: gr.Button
    refusal: gr.HTML


def lay_out(cards: Mapping[str, ModelCard], engines: Engines, offered: Sequence[str], labels: Labels) -> BenchTab:
    """Makes the components, inside the tab that is open. `offered` are the names of the owner's data."""
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            upload = gr.File(
                label=t("bench_files", "en"), file_count="multiple", type="filepath", height=130, elem_id="bench-upload"
            )
            info = gr.HTML(t("bench_files_info", "en"), elem_classes="evidence")
            sources = {}
            with gr.Row(elem_id="bench-sources", elem_classes="choices"):
                labels(gr.HTML(t("bench_or", "en"), elem_id="bench-or"), value="bench_or")
                sources[""] = labels(
                    gr.Button(t("bench_examples", "en"), size="sm", min_width=0), value="bench_examples"
                )
                for name in offered:
                    sources[name] = gr.Button(name, size="sm", min_width=0)
            gr.HTML(_READING, elem_id="bench-reading-box")
            found = gr.HTML(elem_id="bench-found")
            models = gr.Dropdown(
                choices(cards, engines), value=_preset(cards, engines), multiselect=True, label=t("bench_models", "en"),
                elem_id="bench-models",
            )  # fmt: skip
            precisions = gr.CheckboxGroup(
                [(p.label, p.value) for p in Precision if _runs(p, cards, engines)], value=_both(cards, engines),
                label=t("bench_precisions", "en"), elem_id="bench-precisions",
            )  # fmt: skip
            with labels(gr.Accordion(t("bench_more", "en"), open=False), label="bench_more"):
                languages = gr.Dropdown(
                    [], value=[], multiselect=True, label=t("bench_languages", "en"), info=t("bench_languages_info", "en"),
                    elem_id="bench-languages",
                )  # fmt: skip
                limit = gr.Textbox(
                    label=t("bench_limit", "en"), info=t("bench_limit_info", "en"), max_lines=1, elem_id="bench-limit"
                )
                rounds = gr.Slider(
                    1, MOST_ROUNDS, 3, step=1, label=t("bench_rounds", "en"), elem_id="bench-rounds"
                )  # fmt: skip
                users = gr.CheckboxGroup(
                    [(str(n), n) for n in USERS], value=list(USERS), label=t("bench_users", "en"), elem_id="bench-users"
                )
            start = gr.Button(t("bench_start", "en"), variant="primary", elem_id="bench-start")
            refused = gr.HTML(elem_id="bench-refusal")
            gr.HTML(_EARLIER)
        with gr.Column(scale=6, min_width=320):
            gr.HTML(_FRAME)
    labels(upload, label="bench_files")
    labels(info, value="bench_files_info")
    labels(languages, label="bench_languages", info="bench_languages_info")
    labels(limit, label="bench_limit", info="bench_limit_info")
    for component, key in (
        (models, "bench_models"),
        (precisions, "bench_precisions"),
        (rounds, "bench_rounds"),
        (users, "bench_users"),
    ):
        labels(component, label=key)
    labels(start, value="bench_start")
    return BenchTab(upload, sources, found, models, precisions, languages, limit, rounds, users, start, refused)


def connect(
    tab: BenchTab,
    opened: gr.Tab,
    cards: Mapping[str, ModelCard],
    engines: Engines,
    benchmarks: Benchmarks,
    benchmark: gr.BrowserState,
    language: gr.Radio,
    quiet: Mapping[str, Any],
) -> None:
    """Lets the components read data into a draft, and begin a benchmark of it into `benchmark`. `opened` is the tab.

    Called outside of the tab, whose components Gradio makes when it is first opened: the scripts' buttons are made here.
    """
    draft = gr.State("")

    def take(make: Callable[[str], Benchmark], request: gr.Request, before: str, label: str) -> list[Any]:
        """Replaces the draft by another one; the summary, the languages and the refusal follow."""
        benchmarks.remove(before)
        try:
            made = make(client_of(request))
        except UserError as error:
            return ["", shared.refusal(error, LANGUAGES[label]), gr.update(choices=[], value=[])]
        return [made.id, render.found(made, LANGUAGES[label]), gr.update(choices=_languages(made), value=[])]

    def take_files(request: gr.Request, before: str, label: str, paths: list[str] | None) -> list[Any]:
        if not paths:
            benchmarks.remove(before)
            return ["", "", gr.update(choices=[], value=[])]
        return take(lambda client: benchmarks.draft([Path(path) for path in paths], client), request, before, label)

    def taker(name: str) -> Callable[..., list[Any]]:
        make = partial(benchmarks.draft_offered, name) if name else benchmarks.draft_examples

        def take_source(request: gr.Request, before: str, label: str) -> list[Any]:
            return [*take(make, request, before, label), None]

        return take_source

    def rename(current: str, label: str) -> Any:
        given = benchmarks.find(current)
        return gr.skip() if given is None else render.found(given, LANGUAGES[label])

    def offer(chosen: list[str]) -> Any:
        return gr.update(choices=choices(cards, engines), value=chosen or _preset(cards, engines))

    def begin(
        before: str, label: str, current: str, models: list[str], precisions: list[str], languages: list[str],
        limit: str, rounds: int, users: list[int],
    ) -> tuple[str, str]:  # fmt: skip
        try:
            if not current:
                raise UserError(t("bench_nothing", "en"), t("bench_nothing", "zh"))
            for key in models:
                _require_here(key, cards, engines)
            ordered = tuple(p.value for p in Precision if p.value in precisions)
            most = number(t("bench_limit", LANGUAGES[label]), limit) if limit.strip() else None
            asked = Asked(tuple(models), ordered, tuple(languages), most, int(rounds), tuple(sorted(users)))
            return benchmarks.begin(current, asked, before), ""
        except UserError as error:
            return before, shared.refusal(error, LANGUAGES[label])

    taken = [draft, tab.found, tab.languages]
    given = [draft, language]
    tab.upload.upload(None, None, None, js=_READING_JS, **quiet)
    changes = [tab.upload.upload, tab.upload.clear, tab.upload.delete]
    read = gr.on(changes, take_files, [*given, tab.upload], taken, **quiet)
    read.then(None, None, None, js=_READ_JS, **quiet)
    for name, button in tab.sources.items():
        button.click(taker(name), given, [*taken, tab.upload], **quiet)
    settings = [tab.models, tab.precisions, tab.languages, tab.limit, tab.rounds, tab.users]
    tab.start.click(begin, [benchmark, language, draft, *settings], [benchmark, tab.refusal], **quiet)
    language.change(rename, [draft, language], tab.found, **quiet)
    opened.select(offer, tab.models, tab.models, **quiet)
    opener = gr.Button(visible="hidden", elem_id="open-benchmark")
    opener.click(None, None, benchmark, js=_OPENED_JS, **quiet)
    gr.on([benchmark.change, language.change, opened.select], None, [benchmark, language], None, js=_SHOW_JS, **quiet)


def choices(cards: Mapping[str, ModelCard], engines: Engines) -> list[tuple[str, str]]:
    """Name and key of each model on this disk."""
    return [(shared.short_name(card), key) for key, card in cards.items() if hub.on_disk(card, engines.hub_name)]


def _preset(cards: Mapping[str, ModelCard], engines: Engines) -> list[str]:
    """The model of the start, or the first one on this disk."""
    here = [key for _, key in choices(cards, engines)]
    return here[:1]


def _both(cards: Mapping[str, ModelCard], engines: Engines) -> list[str]:
    """Both sides of the switch of the start's model."""
    try:
        lite = engines.choose(next(iter(cards.values())), True, None)
    except UserError:  # no lower precision runs here
        return [Precision.FP32.value]
    return list(dict.fromkeys((Precision.FP32.value, lite.value)))


def _runs(precision: Precision, cards: Mapping[str, ModelCard], engines: Engines) -> bool:
    """Whether some model runs here at this precision."""
    return any(
        refusal(precision, catalog.recipes(card), card.precisions, engines.device) is None for card in cards.values()
    )


def _languages(draft: Benchmark) -> list[tuple[str, str]]:
    return [(f"{code} ({count:,})", code) for code, count in draft.found.languages.items() if code]


def _require_here(key: str, cards: Mapping[str, ModelCard], engines: Engines) -> None:
    """Raises UserError for a model that the server does not offer, or that is not on this disk."""
    if key not in cards or not hub.on_disk(cards[key], engines.hub_name):
        raise UserError(
            "That model is not on this disk. Choose it in the first tab once, which fetches it.",
            "该模型不在本机。请先在“转写”页选择它以完成下载。",
        )

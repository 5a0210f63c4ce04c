"""The left side of the page: what to transcribe, by which model, at which precision. Its handlers submit and cancel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from asr_app import catalog, hub
from asr_app.config import Config
from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, expected
from asr_app.jobs import Jobs
from asr_app.precision import Precision
from asr_app.ui import options, render
from asr_app.ui.labels import Labels
from asr_app.ui.options import OptionInputs
from asr_app.ui.texts import LANGUAGES, t

_AS_SWITCHED = "auto"


@dataclass(frozen=True)
class Inputs:
    """The components of the left side."""

    upload: gr.File
    examples: gr.Dropdown
    microphone: gr.Audio
    upload_tab: gr.Tab
    microphone_tab: gr.Tab
    model: gr.Dropdown
    facts: gr.HTML
    lite: gr.Checkbox
    evidence: gr.HTML
    precision: gr.Radio
    options: OptionInputs
    start: gr.Button
    cancel: gr.Button


def lay_out(cards: Mapping[str, ModelCard], config: Config, device: str, labels: Labels) -> Inputs:
    """Makes the components, inside the column that is open; the first card is the chosen one."""
    chosen, card = next(iter(cards.items()))
    clips = list(expected())
    with gr.Tabs():
        with labels(gr.Tab(t("upload", "en"), id="upload"), label="upload") as upload_tab:
            upload = gr.File(
                label=t("file", "en"), file_count="single", type="filepath", height=130, elem_id="upload",
                file_types=["audio", "video", ".amr", ".m4a", ".aac", ".opus", ".flac", ".wma"],
            )  # fmt: skip
            examples = gr.Dropdown(clips, value=None, label=t("examples", "en"), elem_id="examples", filterable=False)
        with labels(gr.Tab(t("microphone", "en"), id="microphone"), label="microphone") as microphone_tab:
            microphone = gr.Audio(
                sources=["microphone"], type="filepath", label=t("speak", "en"), elem_id="microphone", editable=False,
                buttons=[],
            )  # fmt: skip
    titles = [(c.title, key) for key, c in cards.items()]
    model = gr.Dropdown(titles, value=chosen, label=t("model", "en"), elem_id="model", filterable=False)
    facts = gr.HTML(elem_id="facts")
    lite = gr.Checkbox(config.lite, label=t("lite", "en"), elem_id="lite")
    evidence = gr.HTML(elem_id="evidence")
    with labels(gr.Accordion(t("advanced", "en"), open=config.precision is not None), label="advanced"):
        precision = gr.Radio(
            precision_choices("en", card, device), value=config.precision.value if config.precision else _AS_SWITCHED,
            label=t("precision", "en"), info=t("precision_info", "en"), elem_id="precision",
        )  # fmt: skip
        asked = options.lay_out(card, labels)
    with gr.Row():
        start = labels(gr.Button(t("transcribe", "en"), variant="primary", elem_id="transcribe"), value="transcribe")
        cancel = labels(gr.Button(t("cancel", "en"), interactive=False, elem_id="cancel"), value="cancel")
    for component, key in (
        (upload, "file"), (examples, "examples"), (microphone, "speak"), (model, "model"), (lite, "lite"),
    ):  # fmt: skip
        labels(component, label=key)
    return Inputs(
        upload, examples, microphone, upload_tab, microphone_tab, model, facts, lite, evidence, precision, asked, start, cancel
    )  # fmt: skip


def connect(
    inputs: Inputs,
    cards: Mapping[str, ModelCard],
    engines: Engines,
    jobs: Jobs,
    job_id: gr.BrowserState,
    language: gr.Radio,
    quiet: Mapping[str, Any],
) -> None:
    """Lets the components submit jobs into `job_id`, and cancel them."""
    source = gr.State("upload")

    def submit(path: str | None, label: str, key: str, switch: bool, picked: str, *asked: Any) -> str:
        try:
            if not path:
                raise UserError(t("nothing_given", "en"), t("nothing_given", "zh"))
            card = cards[key]
            wanted = None if picked == _AS_SWITCHED else Precision.parse(picked)
            precision = engines.choose(card, switch, wanted)
            return jobs.submit(Path(path), Path(path).name, key, precision, options.read(card, asked))
        except UserError as error:
            raise gr.Error(error.text(LANGUAGES[label]), duration=15, print_exception=False) from error

    def submit_active(active: str, uploaded: str | None, recorded: str | None, *rest: Any) -> str:
        return submit(uploaded if active == "upload" else recorded, *rest)

    def describe(key: str, label: str) -> list[Any]:
        choices = precision_choices(LANGUAGES[label], cards[key], engines.device)
        return [
            gr.update(choices=choices, value=_AS_SWITCHED),
            render.facts(cards[key], hub.on_disk(cards[key], engines.hub_name), LANGUAGES[label]),
            *options.described(cards[key], LANGUAGES[label]),
        ]

    chosen = [language, inputs.model, inputs.lite, inputs.precision, *inputs.options.components]
    inputs.start.click(submit_active, [source, inputs.upload, inputs.microphone, *chosen], job_id, **quiet)
    inputs.microphone.stop_recording(submit, [inputs.microphone, *chosen], job_id, **quiet)
    inputs.examples.input(lambda n: str(EXAMPLES / n) if n else None, inputs.examples, inputs.upload, **quiet)
    inputs.cancel.click(lambda job: jobs.cancel(job) if job else None, job_id, None, **quiet)
    inputs.upload_tab.select(lambda: "upload", None, source, **quiet)
    inputs.microphone_tab.select(lambda: "microphone", None, source, **quiet)
    inputs.model.input(
        describe, [inputs.model, language], [inputs.precision, inputs.facts, *inputs.options.components], **quiet
    )


def precision_choices(language: str, card: ModelCard, device: str) -> list[tuple[str, str]]:
    """The choices of the precision radio: by the switch, or one that the model has on the device."""
    return [(t("auto", language), _AS_SWITCHED), *((p.label, p.value) for p in catalog.precisions(card, device))]

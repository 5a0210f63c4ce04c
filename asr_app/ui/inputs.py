"""The left side of the page: what to transcribe, by which model, at which precision. Its handlers submit and cancel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
from babel import Locale
from pydantic import BaseModel, Field, ValidationError

from asr_app import clients
from asr_app.config import Config
from asr_app.datatypes import ModelCard, Options
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, expected
from asr_app.jobs import Jobs
from asr_app.precision import Precision
from asr_app.recorder.captions import Captions
from asr_app.recorder.captures import Captures
from asr_app.startup import Preparer
from asr_app.turns import MOST_WAITING
from asr_app.ui import entries, models, options, presets, render
from asr_app.ui.labels import Labels
from asr_app.ui.models import ModelInputs
from asr_app.ui.options import OptionInputs
from asr_app.ui.recorder import tab as microphone
from asr_app.ui.texts import LANGUAGES, t

_AS_SWITCHED = "auto"
# Called by Gradio; `asr` is what page.js exports.
_LISTED_JS = "(jobs) => window.asr.listed(jobs)"
_COPY_LINK_JS = (
    "(model, lite, precision, language, label) => window.asrLink({ model, lite, precision, language, label })"
)
# record.js: the Transcribe button beside the recorder ends a recording, which is then submitted by an event of its own.
_TRANSCRIBE_JS = (
    "(job, before, uploaded, recorder, ...chosen) => [job, before, uploaded, window.asrRecord.transcribe(), ...chosen]"
)
_SUBMISSION_JS = "(job, before, recorder, ...chosen) => [job, before, window.asrRecord.submission(), ...chosen]"
_FOLLOW_JS = "(recorder, ...chosen) => [window.asrCaptions.beginning(), ...chosen]"
_SETTLE_JS = "() => window.asrRecord.settle()"


class Followed(BaseModel):
    """A recording whose captions are wanted from sample `start` on."""

    capture: Annotated[str, Field(max_length=64)]
    start: Annotated[int, Field(ge=0, le=2**53)]


class Recorded(BaseModel):
    """A recording of the microphone whose pieces are all on the server."""

    capture: Annotated[str, Field(max_length=64)]
    pieces: Annotated[int, Field(ge=0)]
    name: Annotated[str, Field(max_length=100)]


@dataclass(frozen=True)
class Inputs:
    """The components of the left side."""

    upload: gr.File
    examples: dict[str, gr.Button]
    submit_recording: gr.Button
    follow_recording: gr.Button
    models: ModelInputs
    preset: gr.Radio
    preset_info: gr.HTML
    lite: gr.Checkbox
    evidence: gr.HTML
    advanced: gr.Accordion
    precision: gr.Radio
    options: OptionInputs
    copy_link: gr.Button
    start: gr.Button
    cancel: gr.Button
    refusal: gr.HTML


def lay_out(cards: Mapping[str, ModelCard], config: Config, labels: Labels) -> Inputs:
    """Makes the components, inside the column that is open; the first card is the chosen one."""
    card = next(iter(cards.values()))
    gr.HTML(microphone.interrupted())
    with gr.Tabs(elem_id="sources"):
        with labels(gr.Tab(t("upload", "en"), id="upload"), label="upload"):
            upload = gr.File(
                label=t("files", "en"), file_count="multiple", type="filepath", height=130, elem_id="upload",
            )  # fmt: skip
            examples = _example_buttons(labels)
        tab = gr.Tab(t("microphone", "en"), id="microphone", elem_id="microphone-tab")
        with labels(tab, label="microphone"):
            gr.HTML(microphone.recorder())
    submit_recording = gr.Button(visible="hidden", elem_id="submit-recording")
    follow_recording = gr.Button(visible="hidden", elem_id="follow-recording")
    chosen_model = models.lay_out(cards, config.hub)
    preset = gr.Radio(presets.choices(card, "en"), value=presets.OWN, label=t("preset", "en"), elem_id="preset")
    preset_info = gr.HTML(visible=False, elem_id="preset-info")
    lite = gr.Checkbox(config.lite, label=t("lite", "en"), elem_id="lite")
    evidence = gr.HTML(elem_id="evidence")
    advanced = labels(
        gr.Accordion(t("advanced", "en"), open=config.precision is not None, elem_id="advanced"), label="advanced"
    )
    with advanced:
        precision = gr.Radio(
            precision_choices("en", card), value=default_precision(config),
            label=t("precision", "en"), info=t("precision_info", "en"), elem_id="precision",
        )  # fmt: skip
        asked = options.lay_out(card, labels)
        copy_link = labels(gr.Button(t("copy_link", "en"), size="sm", elem_id="copy-link"), value="copy_link")
    with gr.Row():
        start = gr.Button(t("transcribe", "en"), variant="primary", min_width=120, elem_id="transcribe")
        cancel = gr.Button(t("cancel", "en"), interactive=False, min_width=120, elem_id="cancel")
    refusal = gr.HTML(elem_id="refusal")
    for component, key in (
        (upload, "files"), (lite, "lite"),
    ):  # fmt: skip
        labels(component, label=key)
    labels(start, value="transcribe")
    labels(cancel, value="cancel")
    gr.HTML(entries.frame())
    return Inputs(
        upload, examples, submit_recording, follow_recording, chosen_model, preset, preset_info, lite, evidence, advanced,
        precision, asked, copy_link, start, cancel, refusal,
    )  # fmt: skip


def connect(
    inputs: Inputs,
    cards: Mapping[str, ModelCard],
    engines: Engines,
    jobs: Jobs,
    captures: Captures,
    captions: Captions,
    preparer: Preparer,
    job_id: gr.BrowserState,
    submitted: gr.BrowserState,
    kept: gr.BrowserState,
    language: gr.Radio,
    quiet: Mapping[str, Any],
) -> None:
    """Lets the components submit jobs, and cancel the one in `job_id`.

    The first job of a click goes into `job_id`, all of them go into `submitted` in the order of their files. The model
    fetched by a click is kept as chosen.

    A refusal is shown in `inputs.refusal`, since Gradio shows no error of an event without a queue.
    """
    recording = gr.BrowserState("", storage_key="asr-recorder")  # filled by record.js as an event is sent

    def choose(key: str, switch: bool, picked: str, asked: Sequence[Any]) -> tuple[Precision, Options]:
        card = cards[key]
        wanted = None if picked == _AS_SWITCHED else Precision.parse(picked)
        return engines.choose(card, switch, wanted), options.read(card, asked)

    def submit(
        request: gr.Request, shown: str, before: list[str], uploaded: list[str] | None, recorder: str, label: str,
        key: str, switch: bool, picked: str, *asked: Any,
    ) -> tuple[str, list[str], str]:  # fmt: skip
        if recorder == "under way":
            return shown, before, ""
        made: list[str] = []
        paths = [] if recorder else uploaded or []
        try:
            require_count(paths)
            precision, wish = choose(key, switch, picked, asked)
            for path, last in zip_longest(map(Path, paths), before[: len(paths)], fillvalue=""):
                made.append(jobs.submit(Path(path), Path(path).name, key, precision, wish, last, client_of(request)))
        except UserError as error:
            return made[0] if made else shown, made or before, render.refusal(error, LANGUAGES[label])
        return made[0], made, ""

    def submit_recorded(
        request: gr.Request, shown: str, before: list[str], recorder: Any, label: str, key: str, switch: bool,
        picked: str, *asked: Any,
    ) -> tuple[str, list[str], str]:  # fmt: skip
        try:
            recorded = Recorded.model_validate(recorder)
            precision, wish = choose(key, switch, picked, asked)
            job = captures.hand_over(
                recorded.capture, recorded.pieces,
                lambda path: jobs.submit(path, recorded.name, key, precision, wish, client=client_of(request)),
            )  # fmt: skip
        except ValidationError:
            nothing = UserError(t("nothing_given", "en"), t("nothing_given", "zh"))
            return shown, before, render.refusal(nothing, LANGUAGES[label])
        except UserError as error:
            return shown, before, render.refusal(error, LANGUAGES[label])
        captions.end(recorded.capture)
        return job, [job], ""

    def follow(recorder: Any, label: str, key: str, switch: bool, picked: str, *asked: Any) -> Any:
        try:
            followed = Followed.model_validate(recorder)
            precision, wish = choose(key, switch, picked, asked)
        except ValidationError:
            return gr.update()
        except UserError as error:
            return render.refusal(error, LANGUAGES[label])
        captions.begin(followed.capture, cards[key], precision, wish, followed.start)
        return gr.update()

    def cancel(job: str, label: str) -> str:
        try:
            jobs.cancel(job)
        except UserError as error:
            return render.refusal(error, LANGUAGES[label])
        return ""

    def fetch_better(switch: bool, choices: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        card = cards[models.MANDARIN[0]]
        preparer.begin(card, engines.choose(card, switch, None))
        return card.key, {**choices, "model": card.key}

    model = inputs.models.model
    chosen = [language, model, inputs.lite, inputs.precision, *inputs.options.components]
    asked_before, answered = [job_id, submitted], [job_id, submitted, inputs.refusal]
    listed = inputs.start.click(
        submit, [*asked_before, inputs.upload, recording, *chosen], answered, js=_TRANSCRIBE_JS, **quiet
    )
    listed.then(None, submitted, None, js=_LISTED_JS, **quiet)
    handed = inputs.submit_recording.click(
        submit_recorded, [*asked_before, recording, *chosen], answered, js=_SUBMISSION_JS, **quiet
    )
    inputs.follow_recording.click(follow, [recording, *chosen], inputs.refusal, js=_FOLLOW_JS, **quiet)
    handed.then(None, None, None, js=_SETTLE_JS, **quiet)
    for name, button in inputs.examples.items():
        button.click(partial(list, [str(EXAMPLES / name)]), None, inputs.upload, **quiet)
    inputs.cancel.click(cancel, [job_id, language], inputs.refusal, **quiet)
    shared = [model, inputs.lite, inputs.precision, inputs.options.spoken, language]
    inputs.copy_link.click(None, shared, None, js=_COPY_LINK_JS, **quiet)
    inputs.models.better_button.click(fetch_better, [inputs.lite, kept], [model, kept], **quiet)


def require_count(paths: Sequence[str]) -> None:
    """Raises UserError for no recording, and for more than one client may have in the queue."""
    if not paths:
        raise UserError(t("nothing_given", "en"), t("nothing_given", "zh"))
    if len(paths) > MOST_WAITING:
        raise UserError(
            f"{len(paths)} recordings were chosen; at most {MOST_WAITING} are taken at once. For a folder of them, use "
            "`python -m asr_app batch` on the server.",
            f"选择了 {len(paths)} 个录音，一次最多 {MOST_WAITING} 个。如需处理整个目录，请在服务器上使用 `python -m asr_app batch`。",
        )


def client_of(request: gr.Request) -> str:
    """The client of an event, for its turns in the queue."""
    return clients.client(request.headers.get("cookie", ""), request.client.host)


def _example_buttons(labels: Labels) -> dict[str, gr.Button]:
    """A button for each clip, by its file name: the language's own name, and a number."""
    counts: Counter[str] = Counter()
    buttons = {}
    with gr.Row(elem_id="examples", elem_classes="choices"):
        labels(gr.HTML(t("examples", "en"), elem_id="examples-label"), value="examples")
        for name, clip in expected().items():
            code = clip["language"]
            counts[code] += 1
            said = f"{Locale.parse(code).languages.get(code, code)} {counts[code]}"
            buttons[name] = gr.Button(said, size="sm", min_width=0)
    return buttons


def default_precision(config: Config) -> str:
    """The value of the precision radio before anybody chooses."""
    return config.precision.value if config.precision else _AS_SWITCHED


def precision_choices(language: str, card: ModelCard) -> list[tuple[str, str]]:
    """The choices of the precision radio: by the switch, or one that the model has."""
    return [(t("auto", language), _AS_SWITCHED), *((p.label, p.value) for p in card.precisions)]

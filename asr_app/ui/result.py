"""The right side of the page: a job as the journal has it, looked at again and again until it is finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.formats import write
from asr_app.jobs import Jobs
from asr_app.journal import View
from asr_app.precision import Precision
from asr_app.ui import render
from asr_app.ui.inputs import Inputs
from asr_app.ui.labels import Labels
from asr_app.ui.texts import LANGUAGES, t

POLL_S = 0.6  # while there is something to see
IDLE_POLL_S = 5.0
FORMATS = ("txt", "srt", "vtt", "json")
_COPY_JS = """() => { navigator.clipboard.writeText(
  [...document.querySelectorAll("button.segment span")].map((s) => s.lastChild.textContent.trim()).join("\\n")); }"""


@dataclass(frozen=True)
class Result:
    """The components of the right side."""

    progress: gr.HTML
    transcript: gr.HTML
    player: gr.HTML
    actions: gr.Row
    downloads: list[gr.DownloadButton]
    card: gr.HTML


def lay_out(labels: Labels) -> Result:
    """Makes the components, inside the column that is open."""
    progress = gr.HTML(elem_id="progress")
    transcript = gr.HTML(elem_id="transcript")
    player = gr.HTML()
    with gr.Row(visible=False) as actions:
        copy = labels(gr.Button(t("copy", "en"), size="sm", min_width=90, elem_id="copy"), value="copy")
        downloads = [gr.DownloadButton(f, size="sm", min_width=60, elem_id=f"download-{f}") for f in FORMATS]
    copy.click(None, js=_COPY_JS)
    return Result(progress, transcript, player, actions, downloads, gr.HTML(elem_id="card"))


def connect(
    result: Result,
    inputs: Inputs,
    cards: Mapping[str, ModelCard],
    engines: Engines,
    jobs: Jobs,
    job_id: gr.BrowserState,
    language: gr.Radio,
    pill: gr.HTML,
    notice: gr.HTML,
    quiet: Mapping[str, Any],
) -> None:
    """Starts the timer that looks. What has not changed since the last look is not sent again."""
    shown = gr.State("")
    timer = gr.Timer(POLL_S)

    def observe(job: str, label: str, seen: str, key: str) -> dict[Any, Any]:
        lang = LANGUAGES[label]
        view = jobs.observe(job) if job else None
        resident, startup = engines.resident(), engines.startup
        busy = startup.busy or (view is not None and not view.finished)
        out: dict[Any, Any] = {result.progress: render.progress(view, lang)}
        if startup.busy:
            out[pill] = render.pill(resident, startup, lang)
        state = view.state if view else ""
        heard = view.segments[-1].end_s if view and view.segments else 0
        top = resident[0].precision.requested.value if resident else ""
        measured = engines.evidence.of(key)
        now = json.dumps([job, state, heard, lang, key, top, busy, len(measured)])
        if now == seen:
            return out
        before = json.loads(seen) if seen else [None] * 4
        card = cards[key]
        try:
            lite = engines.choose(card, True, None)
        except UserError:  # every lower precision has failed its self-check: said beside the switch
            lite = None
        compared = jobs.journal.compare(key, engines.device, Precision.FP32, lite) if lite else None
        finished = view is not None and view.finished and bool(view.segments)
        out |= {
            shown: now,
            timer: gr.Timer(POLL_S if busy else IDLE_POLL_S),
            pill: render.pill(resident, startup, lang),
            notice: render.notice(startup, card.note == "demo", lang),
            inputs.evidence: render.evidence(compared, measured, lite, lang),
            inputs.cancel: gr.update(interactive=view is not None and not view.finished),
            result.actions: gr.update(visible=finished),
            result.card: render.card(view.transcript if view else None, lang)
            + render.recording(view.transcript if view else None, lang),
        }
        if [job, state, heard, lang] != before[:4]:
            out[result.transcript] = render.transcript(view, lang)
        if job != before[0] or (state == "failed") != (before[1] == "failed"):
            out[result.player] = render.player(view)  # not while text grows: it may be playing
        if view is not None and view.transcript is not None and finished:
            for button, path in zip(result.downloads, _export(jobs.journal.exports, view), strict=True):
                out[button] = gr.update(value=str(path), visible=True)
        else:
            out |= {button: gr.update(visible=False) for button in result.downloads}
        return out

    watched = [
        result.progress, result.transcript, result.player, result.actions, *result.downloads, result.card,
        inputs.evidence, inputs.cancel, pill, notice, shown, timer,
    ]  # fmt: skip
    look: dict[str, Any] = dict(
        fn=observe, inputs=[job_id, language, shown, inputs.model], outputs=watched, concurrency_limit=None, **quiet
    )
    timer.tick(**look, trigger_mode="once")  # a slow tunnel gets no second tick before the first is answered
    changes: list[Callable[..., Any]] = [job_id.change, inputs.model.change, language.change]
    gr.on(changes, **look, trigger_mode="always_last")


def _export(folder: Path, view: View) -> list[Path]:
    """The finished transcript in every download format, under the recording's own name."""
    assert view.transcript is not None
    target = folder / view.id
    target.mkdir(parents=True, exist_ok=True)
    stem = "".join(c if c.isalnum() or c in " -_." else "_" for c in Path(view.name).stem)[:80] or "transcript"
    paths = []
    for name in FORMATS:
        path = target / f"{stem}.{name}"
        if not path.exists():
            path.write_text(write(view.transcript, name), encoding="utf-8")
        paths.append(path)
    return paths

"""The right side of the page: the job's progress, text, player, downloads and latency card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from asr_app.journal import View
from asr_app.ui import render
from asr_app.ui.labels import Labels
from asr_app.ui.texts import t

_COPY_JS = """() => { navigator.clipboard.writeText(
  [...document.querySelectorAll("button.segment span")].map((s) => s.lastChild.textContent.trim()).join("\\n")); }"""


@dataclass(frozen=True)
class Result:
    """The components of the right side."""

    progress: gr.HTML
    transcript: gr.HTML
    player: gr.HTML
    actions: gr.Row
    downloads: gr.HTML
    card: gr.HTML

    @property
    def components(self) -> list[Any]:
        return [self.progress, self.transcript, self.player, self.actions, self.downloads, self.card]


def lay_out(labels: Labels) -> Result:
    """Makes the components, inside the column that is open."""
    progress = gr.HTML(elem_id="progress")
    transcript = gr.HTML(elem_id="transcript")
    player = gr.HTML()
    with gr.Row(visible=False) as actions:
        copy = labels(gr.Button(t("copy", "en"), size="sm", min_width=90, elem_id="copy", scale=1), value="copy")
        with gr.Column(scale=4, min_width=240):
            downloads = gr.HTML()
    copy.click(None, js=_COPY_JS)
    return Result(progress, transcript, player, actions, downloads, gr.HTML(elem_id="card"))


def updates(
    result: Result,
    view: View | None,
    language: str,
    *,
    transcript_changed: bool,
    recording_changed: bool,
) -> dict[Any, Any]:
    """The updates of the components for the job as it stands; its text and its player only where they changed."""
    finished = view is not None and view.finished and bool(view.segments)
    out: dict[Any, Any] = {
        result.actions: gr.update(visible=finished),
        result.downloads: render.downloads(view if finished else None),
        result.card: render.card(view.transcript if view else None, language)
        + render.recording(view.transcript if view else None, language),
    }
    if transcript_changed:
        out[result.transcript] = render.transcript(view, language)
    if recording_changed:
        out[result.player] = render.player(view)  # not while text grows: it may be playing
    return out

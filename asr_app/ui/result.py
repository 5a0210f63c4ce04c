"""The right side of the page: the job's progress, text, player, downloads and latency card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from asr_app.formats import write
from asr_app.journal import View
from asr_app.ui import render
from asr_app.ui.labels import Labels
from asr_app.ui.texts import t

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

    @property
    def components(self) -> list[Any]:
        return [self.progress, self.transcript, self.player, self.actions, *self.downloads, self.card]


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


def updates(
    result: Result,
    view: View | None,
    language: str,
    exports: Path,
    *,
    transcript_changed: bool,
    recording_changed: bool,
) -> dict[Any, Any]:
    """The updates of the components for the job as it stands; its text and its player only where they changed."""
    finished = view is not None and view.finished and bool(view.segments)
    out: dict[Any, Any] = {
        result.actions: gr.update(visible=finished),
        result.card: render.card(view.transcript if view else None, language)
        + render.recording(view.transcript if view else None, language),
    }
    if transcript_changed:
        out[result.transcript] = render.transcript(view, language)
    if recording_changed:
        out[result.player] = render.player(view)  # not while text grows: it may be playing
    if view is not None and view.transcript is not None and finished:
        for button, path in zip(result.downloads, _export(exports, view), strict=True):
            out[button] = gr.update(value=str(path), visible=True)
    else:
        out |= {button: gr.update(visible=False) for button in result.downloads}
    return out


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

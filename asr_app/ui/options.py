"""What can be asked of the chosen model: a control is there only where the model's capabilities have its option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from babel import Locale

from asr_app.datatypes import ModelCard, Options
from asr_app.ui.labels import Labels
from asr_app.ui.texts import t

_DETECT = "auto"


@dataclass(frozen=True)
class OptionInputs:
    """The controls, in the order in which `read` takes their values."""

    spoken: gr.Dropdown
    itn: gr.Checkbox
    translate: gr.Checkbox
    hotwords: gr.Textbox
    prompt: gr.Textbox

    @property
    def components(self) -> list[Any]:
        return [self.spoken, self.itn, self.translate, self.hotwords, self.prompt]


_CAPABILITIES = ("language", "itn", "translate", "hotwords", "prompt")  # of the components, in their order


def lay_out(card: ModelCard, labels: Labels) -> OptionInputs:
    """Makes the controls, those that `card` lacks out of sight."""
    shown = {name: name in card.capabilities for name in _CAPABILITIES}
    return OptionInputs(
        gr.Dropdown(
            languages(card, "en"), value=_DETECT, label=t("spoken", "en"), visible=shown["language"], elem_id="spoken"
        ),
        labels(gr.Checkbox(True, label=t("itn", "en"), visible=shown["itn"], elem_id="itn"), label="itn"),
        labels(
            gr.Checkbox(False, label=t("translate", "en"), visible=shown["translate"], elem_id="translate"),
            label="translate",
        ),
        labels(
            gr.Textbox("", label=t("hotwords", "en"), lines=2, visible=shown["hotwords"], elem_id="hotwords"),
            label="hotwords",
        ),
        labels(
            gr.Textbox("", label=t("prompt", "en"), lines=2, visible=shown["prompt"], elem_id="prompt"), label="prompt"
        ),
    )


def languages(card: ModelCard, page_language: str) -> list[tuple[str, str]]:
    """The choices of the spoken language, by their names in the page's language."""
    names = Locale.parse(page_language).languages
    return [(t("detect", page_language), _DETECT), *((f"{names.get(c, c)} ({c})", c) for c in card.languages)]


def renamed(card: ModelCard, page_language: str) -> Any:
    """The update of `spoken` for a page in another language; the other controls are renamed as labels."""
    return gr.update(choices=languages(card, page_language), label=t("spoken", page_language))


def described(card: ModelCard, page_language: str) -> list[Any]:
    """The updates of all controls for another model, which may not know the language chosen before."""
    shown = [gr.update(visible=name in card.capabilities) for name in _CAPABILITIES[1:]]
    spoken = gr.update(
        choices=languages(card, page_language), value=_DETECT, visible="language" in card.capabilities
    )  # fmt: skip
    return [spoken, *shown]


def read(card: ModelCard, values: Sequence[Any]) -> Options:
    """The options from the controls' values; what is out of sight does not count."""
    spoken, itn, translate, hotwords, prompt = (
        value if name in card.capabilities else None for name, value in zip(_CAPABILITIES, values, strict=True)
    )
    return Options(
        hotwords=tuple(w.strip() for w in (hotwords or "").splitlines() if w.strip()),
        language=None if spoken in (None, _DETECT) else spoken,
        itn=False if itn is False else None,
        translate=bool(translate),
        prompt=(prompt or "").strip(),
    )

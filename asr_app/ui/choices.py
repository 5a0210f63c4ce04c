"""The user's choices, kept in the browser. A reload restores those that the server still offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from asr_app.config import Config
from asr_app.datatypes import ModelCard
from asr_app.ui import options, presets
from asr_app.ui.inputs import Inputs, default_precision, precision_choices
from asr_app.ui.texts import LANGUAGES

Kept = Mapping[str, Any]


def connect(
    kept: gr.BrowserState,
    inputs: Inputs,
    cards: Mapping[str, ModelCard],
    config: Config,
    language: gr.Radio,
    quiet: Mapping[str, Any],
) -> None:
    """Lets the browser write into `kept` each choice that a person makes, and lets a preset make several."""
    for name, component in _components(inputs).items():
        # A text box tells of keys as its input, and not of a text that is pasted by the mouse or composed.
        event = component.change if isinstance(component, gr.Textbox) else component.input
        if name in presets.AFFECTED:
            js = f"(value, {{ preset, before, ...kept }}) => [{{ ...kept, {name}: value }}, '{presets.OWN}']"
            event(None, [component, kept], [kept, inputs.preset], js=js, **quiet)
        else:
            event(None, [component, kept], kept, js=f"(value, kept) => ({{ ...kept, {name}: value }})", **quiet)

    def choose(name: str, before: dict[str, Any], key: str, label: str) -> list[Any]:
        now = presets.apply(name, before)
        lite = now["lite"] if isinstance(now.get("lite"), bool) else config.lite
        chosen = precision(now, cards[key], default_precision(config), LANGUAGES[label])
        return [now, lite, chosen, *options.reset(now)]

    def describe(name: str, key: str, label: str) -> Any:
        return presets.described(name, cards[key], LANGUAGES[label])

    model = inputs.models.model
    changed = [kept, inputs.lite, inputs.precision, *inputs.options.common]
    inputs.preset.input(choose, [inputs.preset, kept, model, language], changed, **quiet)
    inputs.preset.change(describe, [inputs.preset, model, language], inputs.preset_info, **quiet)


def model(kept: Kept, cards: Mapping[str, ModelCard], home: str) -> str:
    """The key of the chosen model; `home` if there is none, or if the server no longer has it."""
    key = kept.get("model")
    return key if isinstance(key, str) and key in cards else home


def precision(kept: Kept, card: ModelCard, default: str, language: str) -> Any:
    """The update of the precision for the model: the choice, if the model has it, else the default.

    It depends on nothing else, so that the order in which several such updates arrive does not matter. The same holds
    for the updates of the options.
    """
    choices = precision_choices(language, card)
    available = [value for _, value in choices]
    picked = next(p for p in (kept.get("precision"), default, available[0]) if p in available)
    return gr.update(choices=choices, value=picked)


def switch(kept: Kept) -> Any:
    """The update of the lite switch."""
    return gr.update(value=kept["lite"]) if isinstance(kept.get("lite"), bool) else gr.update()


def opened(kept: Kept) -> Any:
    """The update of the advanced options' fold: open where something in it was chosen by hand."""
    by_preset = {"preset", "before", *presets.AFFECTED} if kept.get("preset") else set()
    return gr.update(open=True) if set(kept) - {"model", "lite"} - by_preset else gr.update()


def _components(inputs: Inputs) -> dict[str, Any]:
    return {
        "model": inputs.models.model,
        "lite": inputs.lite,
        "precision": inputs.precision,
        **dict(zip(options.NAMES, inputs.options.components, strict=True)),
    }

"""Presets: choices for a kind of work that differ from the defaults. The model, the languages and the hotwords stay.

The browser keeps the choices as they were before a preset, so that "my own" brings them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from asr_app.datatypes import ModelCard
from asr_app.ui import options
from asr_app.ui.texts import t

OWN = ""
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {"lite": True, "short_windows": "short"},
    "meeting": {"lite": True, "itn": True, "emotion": False},
    "verbatim": {"lite": False, "itn": False, "script": "as-heard"},
    "english": {"translate": True},
}
# A change of one of these by hand ends a preset. The precision is that of the switch where a preset sets the switch.
AFFECTED = tuple(dict.fromkeys(["precision", *(name for settings in PRESETS.values() for name in settings)]))


def settings_of(name: str, card: ModelCard) -> dict[str, Any]:
    """The settings of a preset that the model has; none of an unknown preset."""
    return {
        option: value
        for option, value in PRESETS.get(name, {}).items()
        if option == "lite" or options.has(card, option)
    }  # fmt: skip


def offered(card: ModelCard) -> list[str]:
    """The presets that do something for the model, and not the same as one before."""
    found: dict[str, dict[str, Any]] = {}
    for name in PRESETS:
        settings = settings_of(name, card)
        if settings and settings not in found.values():
            found[name] = settings
    return list(found)


def choices(card: ModelCard, language: str) -> list[tuple[str, str]]:
    """Name and value of the presets, the person's own choices first."""
    return [(t("preset_own", language), OWN), *((t(f"preset_{name}", language), name) for name in offered(card))]


def chosen(kept: Mapping[str, Any], card: ModelCard) -> str:
    """The preset that the browser has kept, if the model has it."""
    name = kept.get("preset")
    return name if name in offered(card) else OWN


def update(kept: Mapping[str, Any], card: ModelCard, language: str) -> Any:
    """The update of the radio for the model and the language."""
    return gr.update(choices=choices(card, language), value=chosen(kept, card), label=t("preset", language))


def info(name: str, card: ModelCard, language: str) -> str:
    """The settings of the preset as HTML; empty for OWN."""
    if name == OWN:
        return ""
    settings = (_setting(option, value, language) for option, value in settings_of(name, card).items())
    said = t("preset_sets", language, settings=t("and_then", language).join(settings))
    return f'<p class="evidence">{escape(said)}</p>'


def described(name: str, card: ModelCard, language: str) -> Any:
    """The update of the line below the radio."""
    said = info(name, card, language)
    return gr.update(value=said, visible=bool(said))


def _setting(option: str, value: Any, language: str) -> str:
    labels = {"short_windows": "windows", "emotion": "emotions"}
    label = t(labels.get(option, option), language)
    if isinstance(value, bool):
        said = t("on" if value else "off", language)
    else:
        said = t(f"{'windows' if option == 'short_windows' else option}_{value}", language)
    return t("preset_setting", language, option=label, value=said)


def apply(name: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The kept choices with the preset in place of the settings that it affects, or those of before for OWN."""
    own = kept.get("before") if kept.get("preset") else {k: kept[k] for k in AFFECTED if k in kept}
    own = own if isinstance(own, Mapping) else {}
    rest = {k: v for k, v in kept.items() if k not in (*AFFECTED, "preset", "before")}
    if name not in PRESETS:
        return {**rest, **own}
    settings = dict(PRESETS[name])
    if "lite" in settings:
        settings["precision"] = "auto"
    return {**rest, **own, **settings, "preset": name, "before": dict(own)}

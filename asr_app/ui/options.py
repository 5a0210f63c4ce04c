"""The controls for a model's options: each is visible only where the chosen model has its option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from babel import Locale

from asr_app import chinese
from asr_app.datatypes import ModelCard, Options
from asr_app.people import AUTO, OFF, parse_count
from asr_app.ui.labels import Labels
from asr_app.ui.texts import t

_DETECT = "auto"
_DEFAULT_SCRIPT = "auto"
_FULL, _SHORT = "full", "short"  # windows of the encoder
_MOST_OFFERED = 10  # speakers; the command line and the API take more


@dataclass(frozen=True)
class OptionInputs:
    """The controls, in the order in which `read` takes their values."""

    spoken: gr.Dropdown
    among: gr.Dropdown
    script: gr.Dropdown
    windows: gr.Dropdown
    itn: gr.Checkbox
    translate: gr.Checkbox
    hotwords: gr.Textbox
    prompt: gr.Textbox
    emotions: gr.Checkbox
    speakers: gr.Dropdown

    @property
    def components(self) -> list[Any]:
        return [
            self.spoken, self.among, self.script, self.windows, self.itn, self.translate, self.hotwords, self.prompt,
            self.emotions, self.speakers,
        ]  # fmt: skip

    @property
    def common(self) -> list[Any]:
        """The controls whose value can be the same for all models that have them."""
        return [
            self.script, self.windows, self.itn, self.translate, self.hotwords, self.prompt, self.emotions, self.speakers,
        ]  # fmt: skip

    @property
    def renamed(self) -> list[Any]:
        """The dropdowns, whose choices are named in the page's language."""
        return [self.spoken, self.among, self.script, self.windows, self.speakers]


# Of the components, in order.
NAMES = (
    "language", "languages", "script", "short_windows", "itn", "translate", "hotwords", "prompt", "emotion", "speakers",
)  # fmt: skip


def lay_out(card: ModelCard, labels: Labels) -> OptionInputs:
    """Makes the controls; those that `card` lacks are not visible."""
    shown = {name: has(card, name) for name in NAMES}
    return OptionInputs(
        gr.Dropdown(
            languages(card, "en"), value=_DETECT, label=t("spoken", "en"), visible=shown["language"], elem_id="spoken"
        ),
        gr.Dropdown(
            languages(card, "en")[1:], value=[], multiselect=True, label=t("among", "en"), info=t("among_info", "en"),
            visible=shown["languages"], elem_id="among",
        ),
        gr.Dropdown(
            scripts("en"), value=_DEFAULT_SCRIPT, label=t("script", "en"), visible=shown["script"], elem_id="script"
        ),
        gr.Dropdown(
            windows("en"), value=_FULL, label=t("windows", "en"), visible=shown["short_windows"],
            elem_id="windows",
        ),
        labels(gr.Checkbox(True, label=t("itn", "en"), visible=shown["itn"], elem_id="itn"), label="itn"),
        labels(
            gr.Checkbox(False, label=t("translate", "en"), visible=shown["translate"], elem_id="translate"),
            label="translate",
        ),
        labels(
            gr.Textbox("", label=t("hotwords", "en"), info=t("hotwords_info", "en"), lines=2, elem_id="hotwords"),
            label="hotwords", info="hotwords_info",
        ),
        labels(
            gr.Textbox(
                "", label=t("prompt", "en"), info=t("prompt_info", "en"), lines=2, visible=shown["prompt"], elem_id="prompt"
            ),
            label="prompt", info="prompt_info",
        ),
        labels(
            gr.Checkbox(
                False, label=t("emotions", "en"), info=t("emotions_info", "en"), visible=shown["emotion"], elem_id="emotions"
            ),
            label="emotions", info="emotions_info",
        ),
        gr.Dropdown(
            speakers("en"), value=OFF, label=t("speakers_option", "en"), info=t("speakers_info", "en"), elem_id="speakers-option"
        ),
    )  # fmt: skip


def languages(card: ModelCard, page_language: str) -> list[tuple[str, str]]:
    """The choices of the spoken language, by their names in the page's language; detection comes first."""
    names = Locale.parse(page_language).languages
    return [(t("detect", page_language), _DETECT), *((f"{names.get(c, c)} ({c})", c) for c in card.languages)]


def spoken_values(card: ModelCard) -> list[str]:
    """The values of the spoken language that a person can choose; none if the model has no such option."""
    return [_DETECT, *card.languages] if has(card, "language") else []


def scripts(page_language: str) -> list[tuple[str, str]]:
    """The choices of the script of Chinese text, by their names in the page's language."""
    names = [(t(f"script_{script}", page_language), script) for script in chinese.SCRIPTS]
    return [(t("script_default", page_language), _DEFAULT_SCRIPT), *names]


def windows(page_language: str) -> list[tuple[str, str]]:
    """The choices of the length of the encoder's windows, by their names in the page's language."""
    return [(t(f"windows_{name}", page_language), name) for name in (_FULL, _SHORT)]


def speakers(page_language: str) -> list[tuple[str, str]]:
    """The choices of speakers, by their names in the page's language."""
    counts = [(t("speakers_count", page_language, n=n), str(n)) for n in range(2, _MOST_OFFERED + 1)]
    return [(t("speakers_off", page_language), OFF), (t("speakers_auto", page_language), AUTO), *counts]


def renamed(card: ModelCard, page_language: str) -> list[Any]:
    """Updates of `OptionInputs.renamed` for a page in another language; the other controls are renamed as labels."""
    return [
        gr.update(choices=languages(card, page_language), label=t("spoken", page_language)),
        gr.update(
            choices=languages(card, page_language)[1:], label=t("among", page_language),
            info=t("among_info", page_language),
        ),
        gr.update(choices=scripts(page_language), label=t("script", page_language)),
        gr.update(choices=windows(page_language), label=t("windows", page_language)),
        gr.update(
            choices=speakers(page_language), label=t("speakers_option", page_language),
            info=t("speakers_info", page_language),
        ),
    ]  # fmt: skip


def fitted(card: ModelCard, page_language: str, kept: Mapping[str, Any]) -> list[Any]:
    """The updates of all controls for the model: which are visible, the languages, and those of `kept` that it has."""
    choices, among = languages(card, page_language), kept.get("languages")
    spoken = _one_of(kept.get("language"), [value for _, value in choices])
    detected = [x for x in among if x in card.languages] if isinstance(among, list) else []
    return [
        gr.update(choices=choices, value=spoken, visible=has(card, "language")),
        gr.update(choices=choices[1:], value=detected, visible=has(card, "languages")),
        *(gr.update(visible=has(card, name)) for name in NAMES[2:]),
    ]


def restored(kept: Mapping[str, Any]) -> list[Any]:
    """The updates of `OptionInputs.common` for a page that was just loaded: the values in `kept`."""
    return [gr.update(value=value) if name in kept else gr.update() for name, value in _values(kept).items()]


def reset(kept: Mapping[str, Any]) -> list[Any]:
    """The updates of `OptionInputs.common` to the values in `kept`, or to the defaults."""
    return [gr.update(value=value) for value in _values(kept).values()]


def _values(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "script": _one_of(kept.get("script"), [_DEFAULT_SCRIPT, *chinese.SCRIPTS]),
        "short_windows": _one_of(kept.get("short_windows"), [_FULL, _SHORT]),
        "itn": kept.get("itn") is not False,
        "translate": kept.get("translate") is True,
        "hotwords": _text(kept.get("hotwords")),
        "prompt": _text(kept.get("prompt")),
        "emotion": kept.get("emotion") is True,
        "speakers": _one_of(kept.get("speakers"), [value for _, value in speakers("en")]),
    }


def _one_of(value: Any, choices: Sequence[str]) -> str:
    """The value if it is one of the choices, else the first of these."""
    return value if value in choices else choices[0]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def read(card: ModelCard, values: Sequence[Any]) -> Options:
    """The options from the controls' values; those of invisible controls do not count."""
    spoken, among, script, windows, itn, translate, hotwords, prompt, emotions, who = (
        value if has(card, name) else None for name, value in zip(NAMES, values, strict=True)
    )
    language = None if spoken in (None, _DETECT) else spoken
    told, count = parse_count(who or OFF)
    return Options(
        hotwords=tuple(w.strip() for w in (hotwords or "").splitlines() if w.strip()),
        language=language,
        itn=False if itn is False else None,
        translate=bool(translate),
        prompt=(prompt or "").strip(),
        languages=() if language else tuple(among or ()),  # nothing is detected where the language is chosen
        script=None if script in (None, _DEFAULT_SCRIPT) else script,
        short_windows=windows == _SHORT,
        emotions=bool(emotions),
        speakers=told,
        speaker_count=count,
    )


def has(card: ModelCard, name: str) -> bool:
    """Whether the model has the option of that name, one of NAMES."""
    if name == "script":
        return bool(set(chinese.LANGUAGES) & set(card.languages))
    if name in ("hotwords", "speakers"):  # rules, for a model without hotwords of its own; voices need no model's help
        return True
    return name in card.capabilities

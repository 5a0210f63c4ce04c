"""The choice of a model: a list in groups, what the chosen one is good for, and a better one for Mandarin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from asr_app import catalog, hub
from asr_app.datatypes import ModelCard
from asr_app.ui.render import megabytes, short_name
from asr_app.ui.texts import TEXTS, t

# The models that a Chinese page recommends beside the default, the first one to be had by a click.
MANDARIN = ("sensevoice-small", "paraformer-large")

# A native list: it has groups, and phones and keyboards know it. Gradio's own Dropdown has no groups.
_TEMPLATE = """<label><span>${label}</span><select>
{{#each groups}}<optgroup label="{{this.label}}">
{{#each this.models}}<option value="{{this.key}}">{{this.title}}</option>{{/each}}
</optgroup>{{/each}}</select></label>"""
_SCRIPT = """
const select = () => element.querySelector("select");
const show = () => { select().value = props.value; };
element.addEventListener("change", () => { props.value = select().value; trigger("input"); });
watch(["value", "groups", "label"], show);
show();
"""


@dataclass(frozen=True)
class ModelInputs:
    """The components."""

    model: gr.HTML
    facts: gr.HTML
    better: gr.Row
    better_text: gr.HTML
    better_button: gr.Button

    @property
    def described(self) -> list[Any]:
        """The components that `describe` updates, in its order."""
        return [self.facts, self.better, self.better_text, self.better_button]


def lay_out(cards: Mapping[str, ModelCard], hub_name: str) -> ModelInputs:
    """Makes the components; the first card is the chosen one."""
    model = gr.HTML(
        next(iter(cards)), label=t("model", "en"), html_template=_TEMPLATE, js_on_load=_SCRIPT, elem_id="model",
        groups=groups(cards, hub_name, "en"),
    )  # fmt: skip
    facts = gr.HTML(elem_id="facts")
    with gr.Row(visible=False, elem_id="better") as better:
        better_text = gr.HTML()
        better_button = gr.Button("", size="sm", elem_id="fetch-better")
    return ModelInputs(model, facts, better, better_text, better_button)


def groups(cards: Mapping[str, ModelCard], hub_name: str, language: str) -> list[dict[str, Any]]:
    """The list's groups that are not empty; the size stands beside what must be downloaded."""
    grouped = catalog.grouped(cards.values(), hub_name)
    return [
        {"label": t(f"group_{group}", language), "models": [_entry(card, group) for card in members]}
        for group, members in grouped.items()
        if members
    ]


def _entry(card: ModelCard, group: str) -> dict[str, str]:
    size = f" · {size_of(card)}" if group == "to_download" else ""
    return {"key": card.key, "title": card.title + size}


def size_of(card: ModelCard) -> str:
    return megabytes(card.size_mb * 1e6)


def describe(card: ModelCard, cards: Mapping[str, ModelCard], hub_name: str, language: str) -> list[Any]:
    """The updates of `ModelInputs.described` for the chosen card."""
    said = facts(card, hub.on_disk(card, hub_name), language)
    if language != "zh" or card.key != catalog.DEFAULT:
        return [said, gr.update(visible=False), gr.update(), gr.update()]
    one, two = (cards[key] for key in MANDARIN)
    names = {"one": short_name(one), "one_size": size_of(one), "two": short_name(two), "two_size": size_of(two)}
    advice = f'<p class="evidence">{escape(t("better_for_mandarin", language, **names))}</p>'
    click = t(
        "choose" if hub.on_disk(one, hub_name) else "fetch_and_choose",
        language,
        model=short_name(one),
        size=size_of(one),
    )
    return [said, gr.update(visible=True), advice, gr.update(value=click)]


def facts(card: ModelCard, here: bool, language: str) -> str:
    """The model's use; below it size, whether it must be downloaded, languages, options and licence."""
    spoken = ", ".join(card.languages) if len(card.languages) <= 5 else t("languages", language, n=len(card.languages))
    can = [t(f"can_{name}", language) for name in sorted(card.capabilities) if f"can_{name}" in TEXTS]
    parts = [size_of(card), t("on_disk" if here else "to_download", language), spoken, *can]
    good = f'<p class="good">{escape(t(card.good_for, language))}</p>' if card.good_for else ""
    return f'{good}<p class="evidence">{escape(" · ".join([*parts, *filter(None, [card.licence])]))}</p>'

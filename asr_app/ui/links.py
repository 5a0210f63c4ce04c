"""Choices in the page's address: `?model=whisper-base&lite=1&precision=int8&language=zh&lang=zh&tab=compare&theme=dark`.

A link comes from a stranger. Its values choose among what the server offers and nothing else: no text of it is shown, and
none of it starts work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr_app.datatypes import ModelCard
from asr_app.ui import options
from asr_app.ui.choices import Kept
from asr_app.ui.choices import model as chosen_model
from asr_app.ui.inputs import precision_choices
from asr_app.ui.texts import t

TABS = ("transcribe", "compare", "bench")
_SWITCH = {"0": False, "1": True}
_PAGE_LANGUAGES = ("en", "zh")
_THEMES = ("light", "dark")  # page.js shows them


@dataclass(frozen=True)
class Link:
    """Choices of an address. `ignored` are the names of parameters with a value that is not among the choices."""

    choices: Mapping[str, Any]
    page_language: str | None
    tab: str | None
    ignored: tuple[str, ...]

    def note(self, language: str) -> str:
        """HTML that names what was ignored; empty if nothing was."""
        if not self.ignored:
            return ""
        names = t("comma", language).join(t(f"link_{name}", language) for name in self.ignored)
        return f'<div class="notice" role="status">{t("link_ignored", language, names=names)}</div>'


def read(query: Mapping[str, str], cards: Mapping[str, ModelCard], kept: Kept, home: str) -> Link:
    """The choices in the query of an address, for a browser that has kept `kept`; `home` is the model without a choice.

    Precision and spoken language must be ones of the model. Unknown parameters have no effect.
    """
    key = query["model"] if query.get("model") in cards else chosen_model(kept, cards, home)
    card = cards[key]
    admitted: dict[str, Mapping[str, Any]] = {
        "model": {key: key for key in cards},
        "lite": _SWITCH,
        "precision": {value: value for _, value in precision_choices("en", card)},
        "language": {value: value for value in options.spoken_values(card)},
        "lang": {value: value for value in _PAGE_LANGUAGES},
        "tab": {value: value for value in TABS},
        "theme": {value: value for value in _THEMES},
    }
    asked = {name: query[name] for name in admitted if name in query}
    known = {name: admitted[name][value] for name, value in asked.items() if value in admitted[name]}
    page_language, tab = known.pop("lang", None), known.pop("tab", None)
    known.pop("theme", None)
    return Link(known, page_language, tab, tuple(name for name in asked if asked[name] not in admitted[name]))

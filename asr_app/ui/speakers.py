"""HTML of the speakers: the label of a line, the buttons that rename them, the figure of the card.

A speaker has a colour and a name; nobody needs the colour to know who speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from asr_app.corrections.store import Named
from asr_app.people import People
from asr_app.ui.texts import t

_COLOURS = 8  # of page.css; the ninth speaker has that of the first


def label(speaker: str | None, names: Mapping[str, str], language: str) -> str:
    """The speaker of a line; empty if nobody asked."""
    if not speaker:
        return ""
    name = escape(names.get(speaker, speaker))
    title = escape(t("speaker_says", language, name=names.get(speaker, speaker)))
    return f'<span class="speaker {_colour(speaker)}" data-speaker="{escape(speaker)}" title="{title}">{name}</span>'


def chips(people: Sequence[Named], language: str) -> str:
    """A button for each speaker, which correct.js makes a field for the name; empty without speakers."""
    if not people:
        return ""
    buttons = "".join(
        f'<button class="chip {_colour(one.label)}" data-speaker="{escape(one.label)}" data-name="{escape(one.name)}" '
        f'data-n="{one.number}" title="{escape(t("speaker_rename", language, name=one.name or one.label))}">'
        f"{escape(one.name or one.label)}</button>"
        for one in people
    )
    said = t("speakers_found", language)
    return f'<div class="speakers" role="group" aria-label="{escape(said)}"><span>{said}</span>{buttons}</div>'


def figure(people: People, language: str) -> str:
    """`3 (CAM++, FP32, 28 MB)`."""
    found, size = len(people.labels), f"{people.weight_bytes / 1e6:.0f} MB"
    if people.asked is not None and people.asked != found:
        return t("card_speakers_asked", language, n=found, asked=people.asked, size=size)
    return t("card_speakers_value", language, n=found, size=size)


def _colour(label: str) -> str:
    return f"v{(int(label[1:]) - 1) % _COLOURS + 1}"

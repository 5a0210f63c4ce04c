"""Text of a segment as HTML, with the places that hotwords changed and the words in doubt underlined."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from asr_app.datatypes import Segment
from asr_app.ui import unsure
from asr_app.ui.texts import t


def marked(segment: Segment, language: str) -> str:
    """The segment's text as HTML. The title of an underlined place says what the matter is."""
    pieces, done = [], 0
    places = [(*place, "strike") for place in _strikes(segment, language)]
    places += [(*place, "unsure") for place in unsure.places(segment, language)]
    for start, end, title, kind in sorted(places, key=lambda place: (place[0], place[3])):
        if start < done:  # a place that a rule rewrote is no word of the decoder's
            continue
        pieces.append(escape(segment.text[done:start]))
        pieces.append(f'<u class="{kind}" title="{escape(title)}">{escape(segment.text[start:end])}</u>')
        done = end
    return "".join(pieces) + escape(segment.text[done:])


def _strikes(segment: Segment, language: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and title of each place that still has what a hotword made of it."""
    for strike in segment.strikes:
        end = strike.at + len(strike.meant)
        if strike.meant and segment.text[strike.at : end] == strike.meant:
            yield strike.at, end, t("hotword_before", language, heard=strike.heard or "–")

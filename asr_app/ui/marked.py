"""Text of a segment as HTML, with the places that hotwords changed."""

from __future__ import annotations

from html import escape

from asr_app.datatypes import Segment
from asr_app.ui.texts import t


def marked(segment: Segment, language: str) -> str:
    """The segment's text as HTML, with its hotwords underlined where they changed it. The text before is their title."""
    pieces, at = [], 0
    for strike in sorted(segment.strikes, key=lambda s: s.at):
        end = strike.at + len(strike.meant)
        if strike.at < at or segment.text[strike.at : end] != strike.meant or not strike.meant:
            continue  # another one has changed this place since
        title = t("hotword_before", language, heard=strike.heard or "–")
        pieces.append(escape(segment.text[at : strike.at]))
        pieces.append(f'<u class="strike" title="{escape(title)}">{escape(strike.meant)}</u>')
        at = end
    return "".join(pieces) + escape(segment.text[at:])

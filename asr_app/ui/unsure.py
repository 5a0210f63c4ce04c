"""Words in doubt: underlined in the transcript, with a legend of what the underline is worth (docs/doubt.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from unicodedata import category

from asr_app.datatypes import Segment, Word
from asr_app.served import DOUBT_URL
from asr_app.subtitles.atoms import words_in
from asr_app.ui.texts import t

LEAST_CONFIDENCE = 0.5  # below it a word is in doubt


@dataclass(frozen=True)
class Measured:
    """Shares of words, 0 to 1, on real speech: wrong ones among all, among the underlined; underlined among the wrong."""

    wrong: float
    precision: float
    recall: float


# Whisper base at INT8; the threshold was chosen on other clips. `python -m benchmarks doubt` measures them.
MEASURED = {
    "en": Measured(0.10, 0.50, 0.63),
    "zh": Measured(0.29, 0.66, 0.58),
}
OTHERS = Measured(0.36, 0.68, 0.68)


def is_unsure(word: Word) -> bool:
    """Whether the decoder was in doubt about the word."""
    return word.confidence is not None and word.confidence < LEAST_CONFIDENCE


def _words(segment: Segment) -> tuple[Word, ...]:
    """The words that the decoder may be in doubt about: none of a line that a person has corrected or confirmed."""
    return () if segment.change and segment.change.kind in ("corrected", "confirmed") else segment.words


def places(segment: Segment, language: str) -> Iterator[tuple[int, int, str]]:
    """Start and end in the segment's text, and the title, of each word in doubt."""
    if not any(map(is_unsure, _words(segment))):
        return
    for start, end, word in words_in(segment.text, segment.words):
        if is_unsure(word):
            title = t("unsure_word", language, percent=_percent(word.confidence or 0.0))
            yield *_without_marks(segment.text, start, end), title


def _without_marks(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch without the marks at its ends."""
    while start < end - 1 and category(text[start])[0] == "P":
        start += 1
    while start < end - 1 and category(text[end - 1])[0] == "P":
        end -= 1
    return start, end


def description(segment: Segment, language: str) -> str:
    """An attribute that says to a screen reader which words are in doubt; empty without any."""
    words = [word.text for word in _words(segment) if is_unsure(word)]
    if not words:
        return ""
    said = t("unsure_words", language, words=t("comma", language).join(words))
    return f' aria-description="{escape(said)}"'


def legend(segments: Sequence[Segment], language: str) -> str:
    """The meaning of the underline, its measured precision and recall, and the switch; empty without confidences."""
    words = [word for segment in segments for word in _words(segment)]
    judged = [word for word in words if word.confidence is not None]
    if not judged:
        return ""
    spoken = _spoken(segments)
    figures = MEASURED.get(spoken, OTHERS)
    label = t("unsure_show", language, n=sum(map(is_unsure, judged)), of=len(judged))
    said = t(
        "unsure_legend", language, on=t(f"unsure_on_{spoken if spoken in MEASURED else 'others'}", language),
        precision=_percent(figures.precision), recall=_percent(figures.recall), wrong=_percent(figures.wrong),
    )  # fmt: skip
    link = f'<a href="{DOUBT_URL}" target="_blank">{t("unsure_more", language)}</a>'
    return (
        f'<p class="unsure-legend"><label><input type="checkbox" id="show-unsure" checked> <u class="unsure">'
        f"{escape(label)}</u></label> <small>{escape(said)} {link}</small></p>"
    )


def _spoken(segments: Sequence[Segment]) -> str:
    """The language of most segments; Cantonese counts as Chinese."""
    most = Counter(segment.language or "" for segment in segments).most_common(1)[0][0]
    return "zh" if most == "yue" else most


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

"""Corrects times of words and segments by the VAD's spans of speech.

Whisper's alignment gives a word all the time since the previous one. So the first word after a pause begins too early,
and a sentence that the decoder skipped lies inside the following word.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import replace

from asr_app.datatypes import Segment, Word

Spans = Sequence[tuple[float, float]]
_NEAR_S = 0.3  # a word between two spans that ends this shortly before the second is moved to the start of that
_TOUCHING_S = 0.05  # pause between two spans that only the VAD's padding separates
# A sentence does not leave so few of its words, or so little time, on the other side of another sentence.
_SCRAP, _SCRAP_S = 0.25, 0.5


def within_speech(segments: Sequence[Segment], speech: Spans) -> list[Segment]:
    """Removes pauses at the edge of a word, or inside one.

    `speech` are start and end of each span of speech, in order, on the clock of the segments. A word that reaches over
    a pause keeps its longer side.
    """
    starts = [start for start, _ in speech]
    return [with_words(s, _joined([_within(word, speech, starts) for word in s.words])) for s in segments]


def merged(speech: Spans) -> list[tuple[float, float]]:
    """The spans, with those that touch merged."""
    spans: list[tuple[float, float]] = []
    for start, end in speech:
        if spans and start - spans[-1][1] < _TOUCHING_S:
            start, _ = spans.pop()
        spans.append((start, end))
    return spans


def around(segment: Segment, start_s: float, end_s: float) -> list[Segment]:
    """Splits the segment at a stretch in which it has no word. Returns one segment or two."""
    if not segment.words or segment.end_s <= start_s or segment.start_s >= end_s:
        return [segment]
    count = _words_before(segment, start_s, end_s)
    before = [replace(w, start_s=min(w.start_s, start_s), end_s=min(w.end_s, start_s)) for w in segment.words[:count]]
    after = _from(segment.words[count:], end_s)
    if not before or not after:
        return [with_words(segment, before or after)]
    at = 0
    for word in segment.words[:count]:
        at = segment.text.find(word.text, at) + len(word.text)
    at = max(at, segment.text.find(after[0].text, at))
    pieces = segment.text[:at].strip(), segment.text[at:].strip()
    return [with_words(replace(segment, text=text), words) for text, words in zip(pieces, (before, after), strict=True)]


def widened(segments: Sequence[Segment], speech: Spans, start_s: float, end_s: float) -> tuple[float, float]:
    """The stretch, extended back over the time that the sentence after it takes of the same span of speech."""
    for segment in segments:
        if segment.start_s < start_s < end_s < segment.end_s and not _words_before(segment, start_s, end_s):
            span_s = max((start for start, _ in speech if start <= start_s), default=start_s)
            return max(segment.start_s, span_s), end_s
    return start_s, end_s


def rising(segments: Sequence[Segment]) -> list[Segment]:
    """The segments in order. None begins before the end of the previous one."""
    kept: list[Segment] = []
    for segment in segments:
        first_s = kept[-1].end_s if kept else 0.0
        start_s, end_s = max(segment.start_s, first_s), max(segment.end_s, first_s)
        kept.append(replace(segment, start_s=start_s, end_s=end_s, words=tuple(_from(segment.words, first_s))))
    return kept


def with_words(segment: Segment, words: Sequence[Word]) -> Segment:
    """The segment with these words and their start and end; unchanged without words."""
    if not words:
        return segment
    return replace(segment, start_s=words[0].start_s, end_s=words[-1].end_s, words=tuple(words))


def _from(words: Sequence[Word], first_s: float) -> list[Word]:
    """The words, none of them earlier than `first_s`."""
    return [replace(w, start_s=max(w.start_s, first_s), end_s=max(w.end_s, first_s)) for w in words]


def _words_before(segment: Segment, start_s: float, end_s: float) -> int:
    """The number of the segment's words before a stretch in which it has none."""
    words = segment.words
    count = sum(word.end_s <= (start_s + end_s) / 2 for word in words)
    if count <= _SCRAP * len(words) or start_s - segment.start_s < _SCRAP_S:
        return 0
    if len(words) - count <= _SCRAP * len(words) or segment.end_s - end_s < _SCRAP_S:
        return len(words)
    return count


def _joined(words: Sequence[Word]) -> list[Word]:
    """The words. Those of no length are moved to the start of the next word."""
    joined: list[Word] = []
    for word in reversed(words):
        at = joined[-1].start_s if joined and word.start_s == word.end_s else None
        joined.append(word if at is None else replace(word, start_s=at, end_s=at))
    return joined[::-1]


def _within(word: Word, speech: Spans, starts: Sequence[float]) -> Word:
    """The word without the pause that it reaches over; unchanged if it reaches over none."""
    after = bisect.bisect_left(starts, word.end_s) - 1  # the last span that begins before the word's end
    if after < 0:
        return word
    start_s, end_s = speech[after]
    if word.start_s >= end_s:
        following_s = starts[after + 1] if after + 1 < len(starts) else math.inf
        return replace(word, start_s=following_s, end_s=following_s) if following_s - word.end_s < _NEAR_S else word
    if word.start_s < start_s:
        spoken_before = speech[after - 1][1] - word.start_s if after else 0.0
        if spoken_before <= min(word.end_s, end_s) - start_s:
            return replace(word, start_s=start_s)
        return replace(word, end_s=speech[after - 1][1])
    if end_s < word.end_s:
        return replace(word, end_s=end_s)
    return word

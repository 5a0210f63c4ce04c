"""The effect of hotwords that a model takes itself: its text beside the one that it writes without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from asr_app import chinese
from asr_app.datatypes import Segment
from asr_app.hotwords.lines import bare
from asr_app.hotwords.rewriting import word_spans
from asr_app.hotwords.tokens import Token, tokens
from asr_app.strikes import Strike
from asr_app.text import join


@dataclass(frozen=True)
class _Place:
    """A token of a chunk: in segment number `segment`."""

    segment: int
    token: Token


@dataclass
class _Region:
    """Tokens [start, end) of the text with hotwords, in place of the tokens [heard, heard_end) of the one without."""

    start: int
    end: int
    heard: int
    heard_end: int
    hotword: str = ""


def has_hotword(segments: Sequence[Segment], hotwords: Sequence[str]) -> bool:
    """Whether the text of the segments has one of the hotwords."""
    keys = [place.token.key for place in _places(segments)]
    return next(_occurrences(keys, hotwords), None) is not None


def compared(segments: Sequence[Segment], without: Sequence[Segment], hotwords: Sequence[str]) -> list[Segment]:
    """`segments` with a strike for each place that `without`, the model's text without the hotwords, has otherwise.

    A strike waits on the first word of its place, or on the segment if that has no words: sentences are made of the
    words later. `collected` finishes it.
    """
    places, plain = _places(segments), _places(without)
    keys = [place.token.key for place in places]
    made = list(segments)
    for region in _regions(keys, [place.token.key for place in plain], hotwords):
        heard = join(_text(without, place) for place in plain[region.heard : region.heard_end])
        meant = join(_text(segments, place) for place in places[region.start : region.end])
        if not made:
            break
        place = places[min(region.start, len(places) - 1)] if places else _Place(0, Token(0, 0, "", False))
        end = places[region.end - 1] if region.end > region.start else place
        made[place.segment] = _marked(made[place.segment], place, end, Strike(0.0, 0.0, heard, meant, region.hotword))
    return made


def collected(segment: Segment, language: str | None, script: str | None) -> Segment:
    """A finished sentence with the strikes of its words, their places in its text, and their script."""
    spans = word_spans(segment) if any(word.strike for word in segment.words) else [None] * len(segment.words)
    waiting = [
        (word.strike, span[0] if span else 0) for word, span in zip(segment.words, spans, strict=True) if word.strike
    ]
    waiting += [(strike, strike.at) for strike in segment.strikes]
    if not waiting:
        return segment
    language = segment.language or language
    placed = [_placed(segment, strike, near, language, script) for strike, near in waiting]
    words = tuple(dataclasses.replace(word, strike=None) for word in segment.words)
    return dataclasses.replace(segment, words=words, strikes=tuple(sorted(placed, key=lambda s: (s.start_s, s.at))))


def _placed(segment: Segment, strike: Strike, near: int, language: str | None, script: str | None) -> Strike:
    """The strike at the occurrence of its text that is nearest to character `near`, with the heard text in the script."""
    said = tokens(segment.text)
    wanted = [token.key for token in tokens(strike.meant)]
    keys = [token.key for token in said]
    found = [
        (said[i].start, said[i + len(wanted) - 1].end)
        for i in range(len(keys) - len(wanted) + 1)
        if wanted and keys[i : i + len(wanted)] == wanted
    ]
    heard = strike.heard
    if chinese.is_chinese(heard, language):
        heard = chinese.converted(heard, language, chinese.script_for(language, script))
    if not found:
        return dataclasses.replace(strike, heard=heard, at=-1)
    start, end = min(found, key=lambda place: abs(place[0] - near))
    return dataclasses.replace(strike, heard=heard, meant=segment.text[start:end], at=start)


def _places(segments: Sequence[Segment]) -> list[_Place]:
    return [_Place(i, token) for i, segment in enumerate(segments) for token in tokens(segment.text)]


def _text(segments: Sequence[Segment], place: _Place) -> str:
    return segments[place.segment].text[place.token.start : place.token.end]


def _occurrences(keys: Sequence[str], hotwords: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """[start, end) of tokens that are a hotword, and the hotword."""
    for hotword in bare(hotwords):
        wanted = [token.key for token in tokens(hotword)]
        for i in range(len(keys) - len(wanted) + 1):
            if list(keys[i : i + len(wanted)]) == wanted:
                yield i, i + len(wanted), hotword


def _regions(keys: Sequence[str], plain: Sequence[str], hotwords: Sequence[str]) -> list[_Region]:
    """The places where the texts differ. A hotword is in its place as a whole, even if some of its tokens are equal."""
    regions: list[_Region] = []
    edits = [op for op in Levenshtein.opcodes(plain, keys) if op.tag != "equal"]
    for op in edits:
        if regions and regions[-1].end == op.dest_start and regions[-1].heard_end == op.src_start:
            regions[-1].end, regions[-1].heard_end = op.dest_end, op.src_end
        else:
            regions.append(_Region(op.dest_start, op.dest_end, op.src_start, op.src_end))
    for start, end, hotword in _occurrences(keys, hotwords):
        touched = [
            r for r in regions if (r.start < end and r.end > start) or (r.start == r.end and start < r.start < end)
        ]
        if not touched:
            continue
        whole = touched[0]
        for other in touched[1:]:
            regions.remove(other)
            whole.end, whole.heard_end = other.end, other.heard_end
        # Outside of the regions the texts are equal, token by token.
        before, after = max(0, whole.start - start), max(0, end - whole.end)
        whole.start, whole.heard = whole.start - before, whole.heard - before
        whole.end, whole.heard_end = whole.end + after, whole.heard_end + after
        whole.hotword = whole.hotword or hotword
    return regions


def _marked(segment: Segment, first: _Place, last: _Place, strike: Strike) -> Segment:
    """The segment with the strike on the first word of the tokens from `first` to `last`, or on itself without words."""
    start, end = first.token.start, last.token.end if last.segment == first.segment else len(segment.text)
    spans = word_spans(segment)
    inside = [
        i for i, span in enumerate(spans) if span is not None and span[0] < max(end, start + 1) and span[1] > start
    ]
    if not inside:
        length_s, length = segment.end_s - segment.start_s, max(1, len(segment.text))
        timed = dataclasses.replace(
            strike, start_s=segment.start_s + start / length * length_s, end_s=segment.start_s + end / length * length_s,
            at=start,
        )  # fmt: skip
        return dataclasses.replace(segment, strikes=(*segment.strikes, timed))
    words = list(segment.words)
    timed = dataclasses.replace(strike, start_s=words[inside[0]].start_s, end_s=words[inside[-1]].end_s)
    words[inside[0]] = dataclasses.replace(words[inside[0]], strike=timed)
    return dataclasses.replace(segment, words=tuple(words))

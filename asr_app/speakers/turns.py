"""From the speaker of each window to the speaker of each sentence. A sentence of two speakers is cut between its words."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asr_app.datatypes import Segment, Word
from asr_app.speakers.windows import Window
from asr_app.subtitles.atoms import words_in

_SHORTEST_S = 0.7  # of a turn; a shorter one is an error of the clustering more often than a word of somebody else


@dataclass(frozen=True)
class Turn:
    """A stretch of one speaker, in seconds of the recording."""

    start_s: float
    end_s: float
    speaker: int


def turns_of(windows: Sequence[Window], speakers: Sequence[int]) -> list[Turn]:
    """Turns from the speaker of each window, in order. Windows that overlap meet half-way between their middles."""
    turns: list[Turn] = []
    for i, (window, speaker) in enumerate(zip(windows, speakers, strict=True)):
        start_s, end_s = window.start_s, window.end_s
        if i and windows[i - 1].end_s > start_s:
            start_s = (windows[i - 1].middle_s + window.middle_s) / 2
        if i + 1 < len(windows) and windows[i + 1].start_s < end_s:
            end_s = (window.middle_s + windows[i + 1].middle_s) / 2
        turns.append(Turn(start_s, end_s, speaker))
    return _joined(_without_short(_joined(turns)))


def _joined(turns: Sequence[Turn]) -> list[Turn]:
    """Turns of one speaker that touch each other as one."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].speaker == turn.speaker and turn.start_s <= joined[-1].end_s:
            joined[-1] = replace(joined[-1], end_s=turn.end_s)
        else:
            joined.append(turn)
    return joined


def _without_short(turns: Sequence[Turn]) -> list[Turn]:
    """Gives a short turn that touches a longer one to its speaker."""
    kept = list(turns)
    for i, turn in enumerate(turns):
        if turn.end_s - turn.start_s >= _SHORTEST_S:
            continue
        beside = [
            other
            for other in (*turns[max(0, i - 1) : i], *turns[i + 1 : i + 2])
            if other.end_s == turn.start_s or turn.end_s == other.start_s
        ]
        if beside:
            kept[i] = replace(turn, speaker=max(beside, key=lambda other: other.end_s - other.start_s).speaker)
    return kept


def attributed(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[list[Segment]]:
    """The pieces of each segment, one for each run of one speaker, called S1, S2, ... by their first appearance.

    A segment without times of its words stays whole, and belongs to the speaker who has most of its time. Without turns
    nobody is named.
    """
    if not turns:
        return [[segment] for segment in segments]
    starts = [turn.start_s for turn in turns]
    names: dict[int, str] = {}

    def named(segment: Segment, speaker: int) -> Segment:
        return replace(segment, speaker=names.setdefault(speaker, f"S{len(names) + 1}"))

    pieces: list[list[Segment]] = []
    for segment in segments:
        runs = [(speaker, len(list(run))) for speaker, run in itertools.groupby(_by_word(segment, turns, starts))]
        if len(runs) < 2:
            speaker = runs[0][0] if runs else _most(segment.start_s, segment.end_s, turns, starts)
            pieces.append([named(segment, speaker)])
            continue
        cuts = list(itertools.accumulate(count for _, count in runs))[:-1]
        parts = cut(segment, cuts)
        # A cut that the text has no place for is not made: the words then stay with those before them.
        owners = [runs[0][0], *(runs[cuts.index(at) + 1][0] for at, _ in parts[1:])]
        pieces.append([named(part, owner) for (_, part), owner in zip(parts, owners, strict=True)])
    return pieces


def _by_word(segment: Segment, turns: Sequence[Turn], starts: Sequence[float]) -> list[int]:
    """The speaker of each word. A short run of words inside a sentence belongs to the longer run beside it."""
    speakers = [_most(word.start_s, word.end_s, turns, starts) for word in segment.words]
    while True:
        runs, first = [], 0
        for speaker, run in itertools.groupby(speakers):
            count = len(list(run))
            runs.append((first, first + count, speaker))
            first += count
        if len(runs) < 2:
            return speakers
        seconds = [segment.words[b - 1].end_s - segment.words[a].start_s for a, b, _ in runs]
        least = min(range(len(runs)), key=seconds.__getitem__)
        if seconds[least] >= _SHORTEST_S:
            return speakers
        beside = [i for i in (least - 1, least + 1) if 0 <= i < len(runs)]
        a, b, _ = runs[least]
        speakers[a:b] = [runs[max(beside, key=seconds.__getitem__)][2]] * (b - a)


def _most(start_s: float, end_s: float, turns: Sequence[Turn], starts: Sequence[float]) -> int:
    """The speaker of most of the time from `start_s` to `end_s`; of a time without speech, the nearest one."""
    shares: defaultdict[int, float] = defaultdict(float)
    first = max(0, bisect_left(starts, start_s) - 1)
    for turn in itertools.islice(turns, first, None):
        if turn.start_s >= end_s:
            break
        shares[turn.speaker] += max(0.0, min(end_s, turn.end_s) - max(start_s, turn.start_s))
    if shares and max(shares.values()) > 0:
        return max(shares, key=shares.__getitem__)
    middle_s = (start_s + end_s) / 2
    near = turns[max(0, bisect_left(starts, middle_s) - 1) : bisect_left(starts, middle_s) + 1]
    return min(near, key=lambda turn: max(turn.start_s - middle_s, middle_s - turn.end_s)).speaker


def cut(segment: Segment, cuts: Sequence[int]) -> list[tuple[int, Segment]]:
    """The pieces of `segment`, each with the index of its first word. Cuts come before the words of these indices.

    A cut is left out if its place in the text is not known, since a rule or a number format has rewritten the word.
    """
    places = {id(word): start for start, _, word in words_in(segment.text, segment.words)}
    found = [(0, 0)]
    for at in cuts:
        place = places.get(id(segment.words[at]))
        if place is not None and place > found[-1][1]:
            found.append((at, place))
    pieces: list[tuple[int, Segment]] = []
    ends = [*found[1:], (len(segment.words), len(segment.text))]
    for (first, start), (last, end) in zip(found, ends, strict=True):
        words = segment.words[first:last]
        pieces.append((first, _piece(segment, words, start, end, first == 0)))
    return pieces


def _piece(segment: Segment, words: tuple[Word, ...], start: int, end: int, is_first: bool) -> Segment:
    """Characters [start, end) of the segment with their words. The marks of its events stay with the first piece."""
    text = segment.text[start:end]
    indent = len(text) - len(text.lstrip())
    strikes = tuple(
        replace(strike, at=strike.at - start - indent) if strike.at >= 0 else strike
        for strike in segment.strikes
        if (start <= strike.at < end) or (strike.at < 0 and is_first)
    )
    return replace(
        segment,
        start_s=segment.start_s if is_first else words[0].start_s,
        end_s=segment.end_s if end == len(segment.text) else words[-1].end_s,
        text=text.strip(),
        words=words,
        tags=segment.tags if is_first else (),
        strikes=strikes,
    )

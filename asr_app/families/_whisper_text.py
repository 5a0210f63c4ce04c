"""Punctuation of Chinese sentences, which Whisper leaves out."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence

from asr_app.chinese import is_chinese
from asr_app.datatypes import Segment

_PAUSE_S = 0.3  # between two segments; below it the sentence goes on
_MARKED = re.compile(r"[。？！，、；：…,.?!;:][”’」』）)\"']*$")
# Particles and phrases that end a question, in both scripts. 什么 alone doesn't: 没什么.
_QUESTION = re.compile(r"([吗嗎呢咩]|怎[么麼]样?樣?|为什么|為什麼|是什[么麼]|好不好|对不对|對不對|是不是|可不可以)$")


def with_marks(segments: Sequence[Segment]) -> list[Segment]:
    """Adds a mark to the end of each Chinese segment without one. `segments` are those of one chunk, in order.

    Whisper ends nine of ten Mandarin sentences without a mark. A prompt with marks changes that, and the words as well
    (docs/punctuation.md). So marks are set after decoding: a question mark after a question's last particle, a comma if
    the next segment follows within `_PAUSE_S`, else a full stop.
    """
    return [_marked(segment, after) for segment, after in itertools.zip_longest(segments, segments[1:])]


def _marked(segment: Segment, after: Segment | None) -> Segment:
    if _MARKED.search(segment.text) or not is_chinese(segment.text, segment.language):
        return segment
    if _QUESTION.search(segment.text):
        mark = "？"
    else:
        mark = "，" if after is not None and after.start_s - segment.end_s < _PAUSE_S else "。"
    return dataclasses.replace(segment, text=segment.text + mark)

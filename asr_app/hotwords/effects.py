"""Sums up what each hotword did to a transcript."""

from __future__ import annotations

from collections.abc import Sequence

from asr_app.datatypes import Segment
from asr_app.hotwords.lines import Line, is_bare, parse
from asr_app.hotwords.sounds import way_of
from asr_app.hotwords.tokens import tokens
from asr_app.strikes import HotwordEffect, Strike


def effects(hotwords: Sequence[str], native: bool, segments: Sequence[Segment]) -> tuple[HotwordEffect, ...]:
    """The effect of each line, in order. `native`: the model takes bare words itself.

    The last one, without a hotword, has the changes that the model made beside its hotwords, if there are any.
    """
    by_line: dict[str, list[Strike]] = {}
    for strike in (strike for segment in segments for strike in segment.strikes):
        by_line.setdefault(strike.hotword, []).append(strike)
    said = " ".join(f" {' '.join(token.key for token in tokens(segment.text))} " for segment in segments)
    made = [
        HotwordEffect(line.text, _way(line, native), _count(said, line), tuple(by_line.get(line.text, ())))
        for line in dict.fromkeys(map(parse, hotwords))
    ]
    beside = tuple(by_line.get("", ()))
    return (*made, HotwordEffect("", "model", 0, beside)) if beside else tuple(made)


def _way(line: Line, native: bool) -> str:
    if not is_bare(line):
        return "rule"
    return "model" if native else way_of(line.meant)


def _count(said: str, line: Line) -> int:
    """Number of times that the text has the line's word."""
    # Two in a row share no space between them.
    return said.replace(" ", "  ").count("".join(f" {token.key} " for token in tokens(line.meant)))

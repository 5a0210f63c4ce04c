"""The user's lines: `heard => meant`, or a bare word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from asr_app.errors import UserError
from asr_app.hotwords.tokens import tokens

MAX_LINES = 1000
MAX_LINE_CHARACTERS = 120
MAX_CHARACTERS = 20_000  # of all lines
_ARROWS = ("=>", "->", "→")  # those that FunASR reads


@dataclass(frozen=True)
class Line:
    """A line as the user wrote it. `heard` is empty for a bare word."""

    text: str
    heard: str
    meant: str


def parse(text: str) -> Line:
    """Splits a line at its first arrow. Either side may come out empty."""
    line = " ".join(text.split())
    found = [(line.find(arrow), arrow) for arrow in _ARROWS if arrow in line]
    if not found:
        return Line(line, "", line)
    at, arrow = min(found)
    return Line(line, line[:at].strip(), line[at + len(arrow) :].strip())


def bare(hotwords: Sequence[str]) -> tuple[str, ...]:
    """The bare words, which a model with hotwords of its own takes."""
    return tuple(line.meant for line in map(parse, hotwords) if is_bare(line))


def is_bare(line: Line) -> bool:
    """Whether the line is a word without a rule."""
    return line.meant == line.text


def require(hotwords: Sequence[str]) -> None:
    """Raises UserError for too many or too long lines, an incomplete rule, or two rules for the same words."""
    longest = max(map(len, hotwords), default=0)
    characters = sum(map(len, hotwords))
    if len(hotwords) > MAX_LINES or longest > MAX_LINE_CHARACTERS or characters > MAX_CHARACTERS:
        raise UserError(
            f"Too many or too long hotwords: {len(hotwords):,} lines with {characters:,} characters, the longest of "
            f"{longest:,}. At most {MAX_LINES:,} lines of up to {MAX_LINE_CHARACTERS} characters are taken, in all "
            f"{MAX_CHARACTERS:,} characters. Keep those that matter for this recording.",
            f"热词过多或过长：共 {len(hotwords):,} 行、{characters:,} 个字符，最长 {longest:,} 个字符。最多 {MAX_LINES:,} 行，"
            f"每行不超过 {MAX_LINE_CHARACTERS} 个字符，合计不超过 {MAX_CHARACTERS:,} 个字符。请只保留与本录音有关的热词。",
        )
    meant_by: dict[tuple[str, ...], str] = {}
    for number, text in enumerate(hotwords, start=1):
        line = parse(text)
        heard = tuple(token.key for token in tokens(line.heard))
        has_control = any(unicodedata.category(c) == "Cc" for c in line.text)
        if has_control or not tokens(line.meant) or not (heard or is_bare(line)):
            raise UserError(
                f"Hotword line {number} is incomplete: {line.text!r}. Write a word, or `heard => meant` with letters on "
                "both sides.",
                f"第 {number} 行热词不完整：{line.text!r}。请写一个词，或写成“识别结果 => 正确写法”，箭头两边都要有文字。",
            )
        if heard and meant_by.setdefault(heard, line.meant) != line.meant:
            raise UserError(
                f"Hotword line {number} contradicts another one: {line.heard!r} => {line.meant!r} or "
                f"{meant_by[heard]!r}? Keep one of them.",
                f"第 {number} 行热词与另一行矛盾：{line.heard!r} => {line.meant!r} 还是 {meant_by[heard]!r}？请只保留一行。",
            )

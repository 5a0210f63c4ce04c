"""Checks SRT and WebVTT files against the limits of a readable subtitle."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_app.errors import UserError
from asr_app.subtitles import rules
from asr_app.subtitles.rules import Ruler, begins_with_closing, is_japanese

_TIMES = re.compile(r"^\s*((?:\d+:)?\d+:\d+[.,]\d+)\s+-->\s+((?:\d+:)?\d+:\d+[.,]\d+)(?:\s.*)?$")
_TAG = re.compile(r"<[^<>]*>")
_OPENING = ("Ps", "Pi")
_ROUNDING = 1e-6

# Each rule, and what a subtitle that breaks it is told; "{is_}" and "{limit}" are figures.
RULES = {
    "empty": ("has no text", "没有文字"),
    "order": ("ends before it begins", "结束早于开始"),
    "overlap": ("begins {is_} s before the previous one ends", "在上一条结束前 {is_} 秒开始"),
    "gap": ("begins {is_} s after the previous one; {limit} s at least", "距上一条仅 {is_} 秒，至少 {limit} 秒"),
    "short": ("is shown {is_} s; {limit} s at least", "显示 {is_} 秒，至少 {limit} 秒"),
    "long": ("is shown {is_} s; {limit} s at most", "显示 {is_} 秒，至多 {limit} 秒"),
    "fast": ("is shown {is_} s; its reader needs {limit} s", "显示 {is_} 秒，阅读需要 {limit} 秒"),
    "lines": ("has {is_} lines; {limit} at most", "有 {is_} 行，至多 {limit} 行"),
    "wide": ("has a line of {is_} % of the width", "有一行达到宽度的 {is_}%"),
    "mark": (
        "has a line that begins with a closing mark or ends with an opening one",
        "有一行以收尾标点开头，或以起始标点结尾",
    ),
}


@dataclass(frozen=True)
class Shown:
    """A subtitle of a file: number from 1, start and end in ms, its lines without markup."""

    number: int
    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Broken:
    """A rule that a subtitle breaks. `is_` and `limit` are the figures of the rule's text, empty where it has none."""

    cue: Shown
    rule: str
    is_: str = ""
    limit: str = ""

    def text(self, language: str) -> str:
        """`12 (0:01:02.345) has 3 lines; 2 at most`, in "en" or "zh"."""
        said = RULES[self.rule][language == "zh"].format(is_=self.is_, limit=self.limit)
        return f"{self.cue.number} ({_clock(self.cue.start_ms)}) {said}"


def read(text: str) -> list[Shown]:
    """The subtitles of an SRT or WebVTT file. Raises UserError if there is a text but no line of times."""
    blocks = re.split(r"\n(?:[ \t]*\n)+", text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip("\n"))
    shown: list[Shown] = []
    webvtt = blocks[0].startswith("WEBVTT")
    for block in blocks:
        lines = block.split("\n")
        at = next((i for i, line in enumerate(lines[:2]) if _TIMES.match(line)), None)
        if at is None:
            continue  # a header, a note or a style of WebVTT
        start, end = _TIMES.match(lines[at]).groups()  # type: ignore[union-attr]
        said = lines[at + 1 :]
        if webvtt:
            said = [html.unescape(_TAG.sub("", line)) for line in said]
        kept = tuple(line.strip() for line in said if line.strip())
        shown.append(Shown(len(shown) + 1, _ms(start), _ms(end), kept))
    if not shown and not webvtt and text.strip():
        raise UserError(
            "This is no SRT or WebVTT file: no line has times such as 00:00:01,000 --> 00:00:02,000.",
            "这不是 SRT 或 WebVTT 文件：没有形如 00:00:01,000 --> 00:00:02,000 的时间行。",
        )
    return shown


def check(shown: Sequence[Shown]) -> list[Broken]:
    """Every rule that a subtitle breaks, in the order of the file."""
    ruler = Ruler(is_japanese("".join(line for cue in shown for line in cue.lines)))
    broken: list[Broken] = []
    before: Shown | None = None
    for cue in shown:
        broken += [*_times(cue, before), *_text(cue, ruler)]
        before = cue
    return broken


def _times(cue: Shown, before: Shown | None) -> Iterator[Broken]:
    if before is not None:
        pause = cue.start_ms - before.end_ms
        if pause < 0:
            yield Broken(cue, "overlap", _seconds(-pause))
        elif pause < rules.GAP_MS:
            yield Broken(cue, "gap", _seconds(pause), _seconds(rules.GAP_MS))
    length = cue.end_ms - cue.start_ms
    if length <= 0:
        yield Broken(cue, "order")
    elif length < rules.MIN_MS:
        yield Broken(cue, "short", _seconds(length), _seconds(rules.MIN_MS))
    elif length > rules.MAX_MS:
        yield Broken(cue, "long", _seconds(length), _seconds(rules.MAX_MS))


def _text(cue: Shown, ruler: Ruler) -> Iterator[Broken]:
    if not cue.lines:
        yield Broken(cue, "empty")
        return
    if len(cue.lines) > rules.MAX_LINES:
        yield Broken(cue, "lines", str(len(cue.lines)), str(rules.MAX_LINES))
    if (widest := max(map(ruler.width, cue.lines))) > 1 + _ROUNDING:
        yield Broken(cue, "wide", f"{100 * widest:.0f}")
    needed, length = sum(map(ruler.read_ms, cue.lines)), cue.end_ms - cue.start_ms
    if 0 < length < needed - _ROUNDING:
        yield Broken(cue, "fast", _seconds(length), _seconds(needed))
    if any(begins_with_closing(line) or unicodedata.category(line[-1]) in _OPENING for line in cue.lines):
        yield Broken(cue, "mark")


def _ms(clock: str) -> int:
    *units, seconds = clock.replace(",", ".").split(":")
    whole = 0
    for unit in units:
        whole = whole * 60 + int(unit)
    return whole * 60_000 + round(float(seconds) * 1000)


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.2f}"

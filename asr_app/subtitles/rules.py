"""Limits of a readable subtitle, as data by script.

Sources, read in November 2026:

- Netflix, Timed Text Style Guide, General Requirements: two lines; 5/6 s to 7 s a subtitle; breaks after punctuation,
  before conjunctions and prepositions. Its Subtitle Timing Guidelines: gaps of two frames at least; gaps of less than
  half a second are closed to two frames. Its guides by language: 42 characters a line in English, 16 in Chinese, 35 in
  Thai.
- BBC, Subtitle Guidelines: single sentences; subtitles neither anticipate speech nor outlast it by more than 1.5 s.

The other figures are Netflix's as others quote them: 20 characters a second in English, 17 in Thai, 16 a line in
Japanese and Korean. The rates of 11, 7 and 14 a second in Chinese, Japanese and Korean are those of captions in the
language that is spoken, as these are; translations have 9, 4 and 12.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from asr_app.text import is_phrased, is_spaceless

MAX_LINES = 2
MIN_MS = 800
MAX_MS = 7000
GAP_MS = 83  # two frames at 24 frames a second
CHAINED_MS = 500  # shorter gaps are closed to GAP_MS
DRIFT_MS = 1500  # most that a subtitle may move from the speech for the sake of reading time


@dataclass(frozen=True)
class Script:
    """Most characters of a line, and most characters a second."""

    per_line: int
    per_second: float


LATIN = Script(42, 20)  # and every script that is not listed: Cyrillic, Greek, Arabic, Devanagari
HAN = Script(16, 11)
JAPANESE = Script(16, 7)
HANGUL = Script(16, 14)
THAI = Script(35, 17)  # and Lao, Burmese, Khmer

_CLOSING = "，。、；：！？,.;:!?”’」』）》〉】)]"
_KANA = re.compile(r"[\u3041-\u30fa\u30fc-\u30ff]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
_JAPANESE_SHARE = 0.1  # of kana among kana and Han: a Chinese text may hold a single の


def is_japanese(text: str) -> bool:
    """Whether the Han characters of `text` are Japanese: at least a tenth of its East Asian characters are kana."""
    kana = len(_KANA.findall(text))
    return kana > 0 and kana >= _JAPANESE_SHARE * (kana + len(_HAN.findall(text)))


def begins_with_closing(line: str) -> bool:
    """Whether `line` begins with a mark that belongs to the word before. `...`, `.5` and `’em` are beginnings of words."""
    return line[0] in _CLOSING and not (line[0] in ".’" and (line[1:2].isalnum() or line[1:2] == "."))


@dataclass(frozen=True)
class Ruler:
    """Measures text by the limits of its scripts. Texts of several scripts add up, each character by its own.

    `japanese` tells which limits hold for Han characters.
    """

    japanese: bool

    def width(self, text: str) -> float:
        """Share of a line that `text` takes; 1.0 is a full line."""
        return sum(_width(character, self.japanese) for character in text)

    def read_ms(self, text: str) -> float:
        """Milliseconds that a reader needs for `text`."""
        return sum(_read_ms(character, self.japanese) for character in text)


@functools.lru_cache(maxsize=4096)
def _width(character: str, japanese: bool) -> float:
    script = _script(character, japanese)
    return 1 / script.per_line if script else 0.0


@functools.lru_cache(maxsize=4096)
def _read_ms(character: str, japanese: bool) -> float:
    script = _script(character, japanese)
    return 1000 / script.per_second if script else 0.0


def _script(character: str, japanese: bool) -> Script | None:
    """The limits for `character`. None for a vowel sign, a tone mark or a joiner: those take no room."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return None
    if is_spaceless(character):
        return JAPANESE if japanese else HAN
    if _HANGUL.match(character):
        return HANGUL
    return THAI if is_phrased(character) else LATIN

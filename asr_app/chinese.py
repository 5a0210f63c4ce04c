"""Script and punctuation of Chinese text: simplified or traditional characters, full-width marks.

Works on segments of any model. Knows no audio and no model.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

import opencc

from asr_app.datatypes import Segment, Word

SCRIPTS = ("simplified", "traditional", "as-heard")
LANGUAGES = ("zh", "yue")
# Whisper mixes both scripts in Mandarin by chance, while its readers read one. Cantonese has readers of both: those of
# Hong Kong read traditional characters, those of Guangzhou simplified ones.
_DEFAULTS = {"zh": "simplified", "yue": "as-heard"}
# OpenCC configurations by script and language. `tw2s` converts 著 to 着 as simplified text requires, `t2s` does not.
# `s2tw` and `s2hk` write the characters of Taiwan and Hong Kong (為), `s2t` writes forms that neither uses (爲).
_CONFIGURATIONS = {
    ("simplified", "zh"): "tw2s",
    ("simplified", "yue"): "hk2s",
    ("traditional", "zh"): "s2tw",
    ("traditional", "yue"): "s2hk",
}
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHINESE = re.compile(f"[{_HAN}]")
_OTHER = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")  # kana or Hangul: Japanese or Korean
# Beside a Chinese character, with the space that follows. A full stop only at an end: 3.5 and GPT4.1 have one inside.
_HALF_WIDTH = re.compile(f"(?<=[{_HAN}])([,?!;:]) *|([,?!;:]) *(?=[{_HAN}])|(?<=[{_HAN}])([.])(?= |$) *")
_FULL_WIDTH = str.maketrans(",?!;:.", "，？！；：。")


def script_for(language: str | None, asked: str | None) -> str:
    """The script that Chinese text in `language` is written in: the one asked for, or the language's default."""
    return asked or _DEFAULTS.get(language or "zh", "as-heard")


def written(segments: Sequence[Segment], language: str | None, asked: str | None) -> list[Segment]:
    """`segments` with their Chinese text and words in the script `asked` (None: the language's default).

    A segment's own language wins over `language`. Segments in other languages come back as they are.
    """
    return [_segment(s, s.language or language, asked) for s in segments]


def script_of(segments: Sequence[Segment], language: str | None, asked: str | None) -> str | None:
    """The script of the first Chinese segment as `written` leaves it; None where none is Chinese."""
    spoken = (s.language or language for s in segments if is_chinese(s.text, s.language or language))
    return next((script_for(code, asked) for code in spoken), None)


def is_chinese(text: str, language: str | None) -> bool:
    """Whether `text` is Chinese. With an unknown language it must have Chinese characters, and no kana or Hangul."""
    if language is not None and language not in LANGUAGES:
        return False
    return bool(_CHINESE.search(text)) and (language is not None or not _OTHER.search(text))


def converted(text: str, language: str | None, script: str) -> str:
    """`text` in `script`, with full-width marks beside Chinese characters. `as-heard` changes nothing."""
    if script == "as-heard":
        return text
    text = _converter(_CONFIGURATIONS[script, language or "zh"]).convert(text)
    return _HALF_WIDTH.sub(lambda mark: mark[0].strip().translate(_FULL_WIDTH), text)


def _segment(segment: Segment, language: str | None, asked: str | None) -> Segment:
    script = script_for(language, asked)
    if script == "as-heard" or not is_chinese(segment.text, language):
        return segment
    characters = _converter(_CONFIGURATIONS[script, language or "zh"]).convert(segment.text)
    words = _words(segment, characters, language, script)
    return dataclasses.replace(segment, text=converted(segment.text, language, script), words=words)


def _words(segment: Segment, characters: str, language: str | None, script: str) -> tuple[Word, ...]:
    """Words of a segment whose text became `characters`: the same stretches of it, if the lengths agree.

    The phrase decides which of several characters replaces one (皇后 but 後面), so converting a word alone is less
    accurate. That is done only for a word that is not in the text, or if the length has changed.
    """
    words, at = [], 0
    for word in segment.words:
        begins = segment.text.find(word.text, at) if len(characters) == len(segment.text) else -1
        if begins < 0:
            text = converted(word.text, language, script)
        else:
            at = begins + len(word.text)
            text = characters[begins:at]
        words.append(dataclasses.replace(word, text=text))
    return tuple(words)


@functools.cache
def _converter(configuration: str) -> opencc.OpenCC:
    return opencc.OpenCC(configuration)

"""Maps names of languages, as people write them, to the models' codes."""

from __future__ import annotations

_OTHER_CODES = {"cmn": "zh", "cn": "zh", "jp": "ja", "kr": "ko", "mandarin": "zh", "cantonese": "yue"}
_REGIONS = {"zh-hk": "yue", "zh-yue": "yue"}


def language_code(text: str) -> str:
    """`English` -> en, `zh-CN` and `zh_Hans_CN` -> zh, `zh-HK` -> yue. An unknown word is returned unchanged."""
    tag = text.strip().lower().replace("_", "-")
    if tag in _REGIONS:
        return _REGIONS[tag]
    first = tag.partition("-")[0]
    if first in _OTHER_CODES:
        return _OTHER_CODES[first]
    if len(first) <= 3:
        return first
    from whisper.tokenizer import TO_LANGUAGE_CODE  # imports torch: only for a whole word

    return TO_LANGUAGE_CODE.get(tag, text)


def whisper_name(code: str) -> str:
    """Whisper's name of the language, in lower case: `zh` -> chinese. A code that it does not know is returned unchanged."""
    from whisper.tokenizer import LANGUAGES  # imports torch

    return LANGUAGES.get(code, code)

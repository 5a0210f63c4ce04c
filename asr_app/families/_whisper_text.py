"""Whisper's prompt by language, and language detection among the allowed languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Whisper writes Mandarin mostly without punctuation, and in simplified or traditional characters by chance. A prompt
# that ends in a full stop makes it go on in the same style. Measured candidates: docs/punctuation.md.
_PROMPTS = {
    ("zh", "simplified"): "以下是普通话的句子。",
    ("zh", "traditional"): "以下是普通話的句子。",
    ("yue", "simplified"): "以下是广东话的句子。",
    ("yue", "traditional"): "以下係廣東話嘅句子。",
}


def prompt_for(language: str | None, script: str) -> str:
    """The prompt for speech in `language` that is to be written in `script`; empty where none helps."""
    return _PROMPTS.get((language or "", "traditional" if script == "as-heard" and language == "yue" else script), "")


def choose_language(probabilities: Mapping[str, float], allowed: Sequence[str]) -> str:
    """The most probable language code among `allowed`, or among all where `allowed` is empty."""
    return max(allowed or probabilities, key=lambda code: probabilities.get(code, 0.0))

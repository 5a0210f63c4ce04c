"""Errors of a transcript against its reference: counts, their uncertainty, and a difference to show.

Errors are counted in units. `normalise` needs no language: a Han character or kana is one unit, in other scripts a word
is. So the rate is the CER of Mandarin, the WER of English, and a mixed rate of text in both. `units_in` follows the
practice of the field for a known language: Whisper's normalisers and words, or characters for scripts without spaces.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
import opencc

from asr_app.numerals import in_digits
from asr_app.text import is_spaceless

APOSTROPHES = "'’ʼ"
CHARACTERS = ("zh", "yue", "ja", "th")  # languages whose unit is a character: the rate is a CER
HAN = ("zh", "yue")  # of these, languages written in either set of Chinese characters


@functools.cache
def _to_simplified() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


@dataclass(frozen=True)
class Score:
    """Errors of a corpus against `units` units of reference; `errors` is the sum of the three kinds."""

    errors: int
    units: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def rate(self) -> float:
        """Errors a unit of reference (0.05 is 5 %; insertions can take it over 1). It is 0 or 1 without units."""
        return self.errors / self.units if self.units else float(self.errors > 0)


def normalise(text: str) -> list[str]:
    """The units of `text`: NFKC, lower case, no punctuation or symbols; `don't` is the one word `dont`.

    Traditional characters count as their simplified ones: the script is no recognition error.
    """
    spaced = ""
    for character in _to_simplified().convert(unicodedata.normalize("NFKC", text).lower()):
        if character in APOSTROPHES:
            continue
        if unicodedata.category(character)[0] in "PSCZ":
            spaced += " "
        elif is_spaceless(character):
            spaced += f" {character} "
        else:
            spaced += character
    return spaced.split()


def base_language(code: str) -> str:
    """The language of a tag with a region: "zh" of `zh-TW`, "sv" of `sv-SE`."""
    return code.replace("_", "-").partition("-")[0].lower()


def units_in(text: str, language: str, by_value: bool = False) -> list[str]:
    """The units of `text` in a known language.

    English: Whisper's English normaliser, words. zh, yue, ja, th: NFKC, no punctuation, characters; Chinese in
    simplified ones. Other languages: Whisper's basic normaliser, words; of scripts that have vowel signs it drops them.
    `by_value` writes the numbers of Chinese in digits first, so that 二十五 and 25 are equal.
    """
    language = base_language(language)
    if language not in CHARACTERS:
        return list(_whisper_normaliser(language)(text).split())
    text = unicodedata.normalize("NFKC", text).lower()
    if language in HAN:
        text = _to_simplified().convert(text)
        text = in_digits(text) if by_value else text
    return [character for character in text if unicodedata.category(character)[0] not in "PSCZ"]


@functools.cache
def _whisper_normaliser(language: str) -> Callable[[str], str]:
    from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

    made: Callable[[str], str] = EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
    return made


def score_in(reference: str, hypothesis: str, language: str, by_value: bool = False) -> Score:
    """The score of one pair in a known language; either text may be empty. `by_value` is that of `units_in`."""
    units = [" ".join(units_in(text, language, by_value)) for text in (reference, hypothesis)]
    return _count(units[:1], units[1:])


def score(pairs: Iterable[tuple[str, str]]) -> Score:
    """The corpus score of (reference, hypothesis) pairs; either text may be empty."""
    references, hypotheses = [], []
    for reference, hypothesis in pairs:
        references.append(" ".join(normalise(reference)))
        hypotheses.append(" ".join(normalise(hypothesis)))
    return _count(references, hypotheses)


def _count(references: list[str], hypotheses: list[str]) -> Score:
    if not references:
        return Score(0, 0, 0, 0, 0)
    out = jiwer.process_words(references, hypotheses)
    return Score(
        errors=out.substitutions + out.deletions + out.insertions,
        units=out.hits + out.substitutions + out.deletions,
        substitutions=out.substitutions,
        deletions=out.deletions,
        insertions=out.insertions,
    )


def paired_bootstrap(
    errors_a: Sequence[float], errors_b: Sequence[float], units: Sequence[float], draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Excess of the corpus error rate of B over that of A, and its 95 % interval: (delta, low, high).

    Entry i of each sequence belongs to clip i. Nats and tokens instead of errors and units give the difference of the
    loss. The clips are resampled `draws` times, with both systems on the same clips. An interval that holds 0 is no
    evidence of a difference. Raises ValueError for unequal lengths or no units.
    """
    if not len(errors_a) == len(errors_b) == len(units):
        raise ValueError(f"one entry a clip each: {len(errors_a)}, {len(errors_b)} and {len(units)}")
    if not sum(units):
        raise ValueError("no reference units to take a rate of")
    surplus = np.asarray(errors_b, np.float64) - np.asarray(errors_a, np.float64)
    lengths = np.asarray(units, np.float64)
    random = np.random.default_rng(seed)
    deltas = []
    for _ in range(draws):
        clips = random.integers(0, len(lengths), len(lengths))
        if total := lengths[clips].sum():  # clips of noise alone have no units, and a draw may hold nothing else
            deltas.append(surplus[clips].sum() / total)
    low, high = np.percentile(deltas, [2.5, 97.5])
    return float(surplus.sum() / lengths.sum()), float(low), float(high)


def difference(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Edits of the reference, unit by unit: "equal", "insert", "delete", or "replace" (text `old→new`)."""
    out = jiwer.process_words(" ".join(normalise(reference)), " ".join(normalise(hypothesis)))
    old, new = out.references[0], out.hypotheses[0]
    steps: list[tuple[str, str]] = []
    for chunk in out.alignments[0]:
        before = old[chunk.ref_start_idx : chunk.ref_end_idx]
        after = new[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "substitute":
            steps += [(f"{a}→{b}", "replace") for a, b in zip(before, after, strict=True)]
        else:
            steps += [(unit, chunk.type) for unit in (after if chunk.type == "insert" else before)]
    return steps

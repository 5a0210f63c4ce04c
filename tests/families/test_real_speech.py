"""Whisper base's real weights on real speech: words, precisions, the self-check, quiet replies, loops, noise.

Recordings lie beside the checkout, where they are; the tests that need them skip without.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from functools import cache as once
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import DATA, EXAMPLE
from test_whisper_decoding import assert_as_the_library

from asr_app import audio, catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datasets import references
from asr_app.datatypes import SAMPLE_RATE, Options, Transcript
from asr_app.examples import expected
from asr_app.families import _whisper_engine, _whisper_modules
from asr_app.loading import Loaded, load
from asr_app.precision import Precision
from asr_app.scoring import normalise, score

pytestmark = pytest.mark.real
CASES = DATA.parent / "cases"
recordings = pytest.mark.skipif(not DATA.is_dir(), reason="no real recordings here")
EVERY_PRECISION = pytest.mark.parametrize("precision", Precision, ids=lambda p: p.value)
JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
PHONE = (
    "And so my fellow Americans", "A gold ring will please most any girl", "Ask not what your country can do for you",
    "The long journey home took a year", "And so my fellow Americans", "She saw a cat in the neighbor's house",
)  # fmt: skip


@pytest.fixture(scope="module")
def at(whisper_base: Path, cache: Path) -> Iterator[object]:
    """The model at a precision, loaded once."""

    @once
    def loaded(precision: Precision) -> Loaded:
        return load(catalog.find(str(whisper_base)), precision, "cpu", 2, hub.HUBS[0], cache=cache)

    yield loaded
    loaded.cache_clear()


def transcribed(loaded: Loaded, path: Path, language: str | None = "en") -> Transcript:
    return pipeline.transcribe(path, loaded, Options(language=language), Limits())


@EVERY_PRECISION
def test_the_self_check_passes_and_knows_what_was_said(at, precision):
    check = at(precision).check
    assert check.passed, check.reason
    assert check.text
    text = at(Precision.FP32).check.text
    assert score([(text, check.text)]).rate < 0.2


@recordings
@EVERY_PRECISION
def test_a_speech_that_everybody_knows(at, precision):
    found = transcribed(at(precision), DATA / "clips" / "jfk.flac", language=None)
    assert normalise(found.text) == normalise(JFK)
    assert found.doubts == ()
    assert found.segments[0].language == "en"


@recordings
@EVERY_PRECISION
def test_quiet_replies_between_a_loud_speaker_are_all_there(at, precision):
    found = transcribed(at(precision), CASES / "phone30.flac")
    wanted = score([(" ".join(PHONE), found.text)])
    assert wanted.deletions + wanted.substitutions <= 0.05 * wanted.units
    assert wanted.insertions <= 2
    starts = [segment.start_s for segment in found.segments]
    for reply, start_s in ((PHONE[1], 3.05), (PHONE[3], 11.37), (PHONE[5], 16.87)):
        said = next(s for s in found.segments if normalise(reply)[-1] in normalise(s.text))
        assert said.words[0].start_s == pytest.approx(start_s, abs=0.3)
    assert starts == sorted(starts)


@recordings
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8], ids=lambda p: p.value)
def test_a_word_said_many_times_is_no_loop(at, precision):
    found = transcribed(at(precision), CASES / "word12.flac")
    assert 12 <= normalise(found.text).count("country") <= 16


@recordings
def test_text_and_times_at_fp32_are_openai_whispers(at):
    """Given the same samples, where its ladder ends at temperature 0."""
    engine = at(Precision.FP32).engine
    chosen = [r for r in references(DATA / "speech") if r.language in ("en", "de", "es")]
    clips = [audio.decode(r.path).samples for r in chosen[::25][:6]]
    languages = [r.language for r in chosen[::25][:6]]
    for clip, language in zip(clips, languages, strict=True):
        (found,) = engine.transcribe([clip], Options(language=language))
        assert_as_the_library(engine, clip, found, language=language)


def _noise() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=30 * SAMPLE_RATE) * 0.05).astype(np.float32)


def _mandarin() -> np.ndarray:
    """espeak-ng's, which is noise to a real model."""
    said = "今天天气很好我们去公园散步" * 6
    spoken = subprocess.run(["espeak-ng", "-v", "cmn", "--stdout", said], capture_output=True, check=True).stdout
    samples, rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
    return np.asarray(soxr.resample(samples, rate, SAMPLE_RATE)[: 30 * SAMPLE_RATE], np.float32)


@pytest.mark.parametrize("given", [lambda: np.zeros(30 * SAMPLE_RATE, np.float32) + 1e-6, _noise, _mandarin],
                         ids=["silence", "noise", "espeak"])  # fmt: skip
def test_what_is_not_speech_costs_no_more_than_a_second_try(at, given, monkeypatch):
    """Windows encoded and tokens decoded are counted: time is for benchmarks."""
    counted = {"windows": 0, "tokens": 0}
    encoded, logits = _whisper_engine.WhisperEngine._encoded, _whisper_modules.Steps.logits

    def counts_windows(self, windows, frames):
        counted["windows"] += len(windows)
        return encoded(self, windows, frames)

    def counts_tokens(self, tokens, features):
        counted["tokens"] += len(tokens)
        return logits(self, tokens, features)

    monkeypatch.setattr(_whisper_engine.WhisperEngine, "_encoded", counts_windows)
    monkeypatch.setattr(_whisper_modules.Steps, "logits", counts_tokens)
    at(Precision.INT8).engine.transcribe([given()], Options())
    assert counted["windows"] <= 4
    assert counted["tokens"] <= 2 * (224 + 4 * 224)


def test_mandarin_of_the_examples_comes_out_right_at_int8(at):
    found = transcribed(at(Precision.INT8), EXAMPLE / "mandarin-park.flac", language="zh")
    assert score([(expected()["mandarin-park.flac"]["text"], found.text)]).rate <= 0.1


@recordings
def test_words_are_surer_in_a_language_that_the_model_knows(at):
    """Whisper base has 12 % of English words wrong, and 89 % of Welsh ones."""
    known = transcribed(at(Precision.INT8), DATA / "clips" / "jfk.flac")
    unknown = transcribed(at(Precision.INT8), next(iter(sorted((DATA / "speech" / "cy").glob("*.mp3")))), "cy")
    sure, unsure = ([w.confidence for s in one.segments for w in s.words] for one in (known, unknown))
    assert np.mean(sure) > 0.8
    assert np.mean(unsure) < 0.5

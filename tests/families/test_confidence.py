"""The confidence of Whisper's words: the decoder's own probabilities, which cost no second pass."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import whisper
from conftest import EXAMPLE
from whisper.tokenizer import get_tokenizer

from asr_app import catalog, hub
from asr_app.audio import decode as audio_of
from asr_app.datatypes import Options
from asr_app.families._whisper_decoder import Decoded, decode, decode_samples
from asr_app.families._whisper_times import confidences
from asr_app.loading import load
from asr_app.precision import Precision

END = get_tokenizer(True).eot
TIME = get_tokenizer(True).timestamp_begin
ENGLISH = EXAMPLE / "english-home.flac"


def decoded(*pairs: tuple[int, float]) -> Decoded:
    """A decoding of tokens with their probabilities; that of the end comes last, as the decoder writes it."""
    tokens, probabilities = zip(*pairs, strict=True)
    logprobs = [math.log(p) for p in (*probabilities, 0.01)]
    return Decoded(SimpleNamespace(tokens=list(tokens)), [], False, True, logprobs)  # type: ignore[arg-type]


def test_a_word_is_as_sure_as_its_least_likely_token():
    """Timestamps belong to no word."""
    said = decoded(
        (TIME, 0.02), (5, 0.9), (6, 0.4), (7, 0.8), (TIME + 9, 0.03), (TIME + 9, 0.04), (8, 0.7), (TIME, 0.05)
    )
    assert confidences(said, END, [0, 2, 3, 4]) == pytest.approx([0.4, 0.8, 0.7])
    assert confidences(said, END, [0]) == []


@pytest.fixture(scope="module")
def engine():
    return load(catalog.find("demo-whisper"), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine


@pytest.mark.models
@torch.no_grad()
def test_the_probabilities_are_those_of_the_tokens(engine):
    """Their logarithms add up to the mean that the library reports, for each row of a batch and each sample."""
    samples = [audio_of(EXAMPLE / name).samples for name in ("english-home.flac", "mandarin-home.wav")]
    mels = torch.stack([whisper.log_mel_spectrogram(whisper.pad_or_trim(clip)) for clip in samples])
    features = engine._model.encoder(mels)
    options = whisper.DecodingOptions(fp16=False)
    made = [*decode(engine._model, features, options)]
    english = whisper.DecodingOptions(fp16=False, language="en")
    made.append(decode_samples(engine._model, features[:1], english, (0.0, 0.2)))
    assert len({len(d.result.tokens) for d in made}) > 1
    for one in made:
        count = len(one.result.tokens) + 1  # with the end
        assert sum(one.logprobs[:count]) / count == pytest.approx(one.result.avg_logprob, abs=1e-4)


@pytest.mark.models
def test_words_come_with_a_confidence_and_keep_it(engine):
    (segments,) = engine.transcribe([audio_of(ENGLISH).samples], Options(language="en"))
    words = [word for segment in segments for word in segment.words]
    assert words
    assert all(0 < word.confidence <= 1 for word in words)
    assert [w.confidence for s in segments for w in s.shifted(3.0).words] == [w.confidence for w in words]

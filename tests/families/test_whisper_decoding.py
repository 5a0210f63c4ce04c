"""Whisper's decoding is the library's, token by token and time by time, and ends where the library would loop on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import whisper
from conftest import EXAMPLE
from whisper.tokenizer import get_tokenizer

from asr_app import catalog, hub
from asr_app.audio import decode as audio_of
from asr_app.datatypes import SAMPLE_RATE, Options
from asr_app.errors import UserError
from asr_app.families import _whisper_decoder, _whisper_engine, _whisper_loss, _whisper_modules
from asr_app.families._whisper_captured import CapturedSteps
from asr_app.families._whisper_decoder import decode, decode_samples, loops
from asr_app.loading import load
from asr_app.precision import Precision
from asr_app.precision.apply import apply

pytestmark = pytest.mark.models
TIMES = get_tokenizer(True).timestamp_begin
MARKS = _whisper_engine._MARKS
ENGLISH = EXAMPLE / "english-home.flac"


@pytest.fixture(scope="module")
def engine():
    """The demo model at FP32. Tests give it back as it was."""
    return load(catalog.find("demo-whisper"), Precision.FP32, "cpu", 2, hub.HUBS[0]).engine


@pytest.fixture(params=["cpu", "gpu"])
def way(request, monkeypatch) -> str:
    """The way of decoding of a device. Both run on any; only the launch of a captured step needs a GPU."""
    if request.param == "gpu":
        monkeypatch.setattr(_whisper_modules, "_rows_a_piece", len)
        for module in (_whisper_decoder, _whisper_loss):
            monkeypatch.setattr(module, "steps_on", lambda _device: CapturedSteps)
    return request.param


@contextmanager
def librarys_own(engine) -> Iterator[Any]:
    """The engine's model as openai-whisper has it: the same weights, the library's classes."""
    parts = engine._model.encoder, engine._model.decoder
    ours = [part.__class__ for part in parts]
    parts[0].__class__, parts[1].__class__ = whisper.model.AudioEncoder, whisper.model.TextDecoder
    try:
        yield engine._model
    finally:
        for part, own in zip(parts, ours, strict=True):
            part.__class__ = own


def assert_as_the_library(engine, clip: np.ndarray, found, **asked) -> None:
    """`found` has the text and times of openai-whisper's transcribe for the same samples."""
    with librarys_own(engine) as model:
        theirs = whisper.transcribe(
            model, clip, fp16=False, condition_on_previous_text=False, word_timestamps=True, **asked
        )
    assert all(s["temperature"] == 0 for s in theirs["segments"])  # else samples are compared with other samples
    said = [s for s in theirs["segments"] if any(c.isalnum() for c in s["text"])]
    assert [s.text for s in found] == [s["text"].strip() for s in said]
    words = [(w["word"].strip(MARKS), w["start"], w["end"]) for s in said for w in s["words"]]
    words = [word for word in words if word[0]]
    ours = [w for s in found for w in s.words]
    assert [w.text for w in ours] == [text for text, _, _ in words]
    assert [w.start_s for w in ours] == pytest.approx([start for _, start, _ in words], abs=1e-3)
    assert [w.end_s for w in ours] == pytest.approx([min(end, len(clip) / SAMPLE_RATE) for *_, end in words], abs=1e-3)


def test_text_and_times_are_the_librarys(engine, way, monkeypatch):
    """Also for the rows of a batch, and for the rest of a chunk that is longer than a window."""
    monkeypatch.setattr(_whisper_engine, "with_marks", list)
    first, second = (audio_of(EXAMPLE / name).samples for name in ("english-home.flac", "english-numbers.ogg"))
    long = np.concatenate([first, np.zeros(31 * SAMPLE_RATE - len(first), np.float32), second])
    heard = []
    hook = engine.parts["encoder"].register_forward_hook(lambda _m, inputs, _o: heard.append(len(inputs[0])))
    found = engine.transcribe([second, long], Options(language="en"))
    hook.remove()
    assert heard == [2, 1]
    for clip, segments in zip((second, long), found, strict=True):
        assert_as_the_library(engine, clip, segments, language="en")
        assert sum(len(s.words) for s in segments) > 3
    assert found[1][-1].start_s > 30


@pytest.fixture(scope="module")
def windows():
    """Windows of clips that differ in language and in how much is said, and one of silence: `(b, mels, frames)`."""
    names = ("english-home.flac", "mandarin-phone.mp3", "mandarin-home.wav", "english-numbers.ogg")
    samples = [np.zeros(SAMPLE_RATE, np.float32), *(audio_of(EXAMPLE / name).samples for name in names)]
    return torch.stack([whisper.log_mel_spectrogram(whisper.pad_or_trim(clip)) for clip in samples])


@torch.no_grad()
def results(model, windows, options):
    return [d.result for d in decode(model, model.encoder(windows), options)]


@pytest.mark.parametrize("asked", [{}, {"language": "en", "prompt": [500, 600, 700]}], ids=["", "prompt"])
def test_decoding_gives_what_the_library_gives(engine, windows, asked, way):
    """Keys and values in their places, and without the rows that have ended: token by token the same."""
    model, options = engine._model, whisper.DecodingOptions(fp16=False, **asked)
    ours = results(model, windows, options)
    with librarys_own(engine):
        theirs = whisper.decode(model, windows, options)
    for found, expected in zip(ours, theirs, strict=True):
        assert (found.tokens, found.language) == (expected.tokens, expected.language)
        assert found.avg_logprob == pytest.approx(expected.avg_logprob, abs=1e-3)
        assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, abs=1e-3)
        assert found.compression_ratio == pytest.approx(expected.compression_ratio)
    for step in vars(model.decoder).get("captured_steps", {}).values():  # what was there before does not show
        for cache in step._caches:
            cache.keys.fill_(torch.nan)
            cache.values.fill_(torch.nan)
    assert [found.tokens for found in results(model, windows, options)] == [found.tokens for found in ours]


@torch.no_grad()
def test_a_language_is_chosen_among_those_that_are_allowed(engine, windows):
    model, options = engine._model, whisper.DecodingOptions(fp16=False)
    features = model.encoder(windows[2:3])
    for allowed, expected in (((), "zh"), (("en",), "en"), (("zh", "en"), "zh")):
        (found,) = decode(model, features, options, allowed)
        assert found.result.language == expected


@pytest.mark.parametrize("high", ["*cross_attn.key", "*cross_attn.value"])
def test_a_search_may_keep_either_of_keys_and_values_high(windows, high):
    card = catalog.find("demo-whisper")
    model = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0]).engine._model
    recipe = dataclasses.replace(catalog.recipes(card)[Precision.INT8, "cpu"], parts=("decoder",), keep_high=(high,))
    apply({"decoder": model.decoder}, recipe, "cpu")
    (found,) = results(model, windows[1:2], whisper.DecodingOptions(fp16=False, language="en"))
    assert "weather" in found.text


# Loops


@pytest.mark.parametrize(
    ("text", "is_loop"),
    [
        ([7] * 40, True),
        ([7] * 39, False),
        ([7, 8] * 14, False),  # "country, " fourteen times
        ([7, 8] * 20, True),
        (list(range(24)) * 6, True),
        (list(range(24)) * 5, False),
        (list(range(25)) * 8, False),  # a chorus, not a loop
        ([*range(100, 160), *[7, 8, 9] * 14], True),  # it began with sense
        ([*[7, 8, 9] * 14, 10], False),  # it went on with sense
        ([token for n in range(20) for token in (7, 8, TIMES + n)], True),  # timestamps differ each time
        ([token for n in range(60) for token in (n, TIMES + 5)], False),
        ([], False),
    ],
)
def test_a_loop_is_text_that_repeats_to_the_end(text, is_loop):
    assert loops(text, TIMES) is is_loop


@contextmanager
def writing(engine, token: int, count: int | None = None):
    """Lets the decoder write `token` again and again, and end after `count` times. Yields the rows of each step."""
    end, steps = get_tokenizer(True).eot, []

    def written(_module, given, logits):
        steps.append(len(given[0]))
        said = given[3] - 3  # after the language, the task and a timestamp
        logits = torch.full_like(logits, -10.0)
        logits[..., end if count is not None and said >= count else token] = 20.0
        return logits

    hook = engine.parts["decoder"].register_forward_hook(written)
    try:
        yield steps
    finally:
        hook.remove()


def test_a_loop_ends_early_and_is_not_shown(engine):
    """After 40 tokens and at most eight more, not after 224; so do the samples of all temperatures, in one batch."""
    speech = [audio_of(ENGLISH).samples]
    with writing(engine, 500) as steps:
        assert engine.transcribe(speech, Options(language="en", retries=False)) == [[]]
        assert 40 <= len(steps) <= 49
        steps.clear()
        assert engine.transcribe(speech, Options(language="en")) == [[]]
        assert len(steps) <= 2 * 49
        assert set(steps) == {1, len(_whisper_engine._TEMPERATURES)}


def test_a_word_that_the_model_says_often_and_ends_by_itself_is_shown(engine):
    with writing(engine, 500, 14):
        ((found, *_),) = engine.transcribe([audio_of(ENGLISH).samples], Options(language="en"))
    assert found.text == (get_tokenizer(True).decode([500]) * 14).strip()


# Temperatures


@torch.no_grad()
def test_samples_of_one_window_go_together_and_are_the_same_again(engine, windows):
    features, options = engine._model.encoder(windows[1:2]), whisper.DecodingOptions(fp16=False, language="en")
    steps, found = [], []
    hook = engine.parts["decoder"].ln.register_forward_hook(lambda _m, inputs, _o: steps.append(len(inputs[0])))
    for seed in (1, 2):
        torch.manual_seed(seed)  # what is drawn elsewhere does not matter
        found.append(decode_samples(engine._model, features, options, (1.0, 1.1, 1.2, 1.3)).result)
    hook.remove()
    assert steps[0] == 4
    assert found[0].temperature >= 1.0
    assert (found[0].tokens, found[0].avg_logprob) == (found[1].tokens, found[1].avg_logprob)


@torch.no_grad()
def test_a_sample_at_no_temperature_is_the_greedy_one(engine, windows):
    features, options = engine._model.encoder(windows[1:2]), whisper.DecodingOptions(fp16=False, language="en")
    (greedy,) = decode(engine._model, features, options)
    sample = decode_samples(engine._model, features, options, (0.0, 0.2, 1.0))
    assert sample.result.tokens == greedy.result.tokens
    assert sample.result.avg_logprob == pytest.approx(greedy.result.avg_logprob, abs=1e-4)


def test_a_window_is_encoded_once_and_all_temperatures_are_one_batch(engine, monkeypatch):
    monkeypatch.setattr(_whisper_decoder, "_LEAST_LOGPROB", 100.0)  # whatever is decoded is in doubt
    monkeypatch.setattr(_whisper_decoder, "_NO_SPEECH", 2.0)
    heard, steps, sampled = [], [], []
    whole = _whisper_engine.decode_samples
    monkeypatch.setattr(
        _whisper_engine, "decode_samples", lambda *given: sampled.append(given[3]) or whole(*given)
    )  # fmt: skip
    hooks = [
        engine.parts["encoder"].register_forward_hook(lambda _m, inputs, _o: heard.append(inputs[0].shape)),
        engine.parts["decoder"].ln.register_forward_hook(lambda _m, inputs, _o: steps.append(len(inputs[0]))),
    ]
    engine.transcribe([audio_of(ENGLISH).samples], Options(language="en"))
    for hook in hooks:
        hook.remove()
    assert [shape[0] for shape in heard] == [1]
    assert sampled == [_whisper_engine._TEMPERATURES]
    assert max(steps) == len(_whisper_engine._TEMPERATURES)


# Short windows


@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize(("clip_s", "frames"), [(3.0, 1000), (7.0, 1200), (28.0, 3000)])
def test_a_short_window_is_as_long_as_its_speech_needs(engine, clip_s, frames, is_short):
    clip, heard = np.resize(audio_of(ENGLISH).samples, int(clip_s * SAMPLE_RATE)), []
    hook = engine.parts["encoder"].register_forward_hook(lambda _m, inputs, _o: heard.append(inputs[0].shape[-1]))
    engine.transcribe([clip], Options(language="en", short_windows=is_short, retries=False))
    hook.remove()
    assert heard[0] == (frames if is_short else 3000)


def test_a_doubt_about_a_short_window_goes_back_to_30_s(engine, monkeypatch):
    """Temperature 0 is tried there too, in one batch with the others."""
    heard, sampled = [], []
    whole = _whisper_engine.decode_samples
    monkeypatch.setattr(
        _whisper_engine, "decode_samples", lambda *given: sampled.append(given[3]) or whole(*given)
    )  # fmt: skip
    hook = engine.parts["encoder"].register_forward_hook(lambda _m, inputs, _o: heard.append(inputs[0].shape[-1]))
    with writing(engine, 500):
        engine.transcribe([audio_of(ENGLISH).samples[: 4 * SAMPLE_RATE]], Options(language="en", short_windows=True))
    hook.remove()
    assert heard == [1000, 3000]
    assert sampled == [(0.0, *_whisper_engine._TEMPERATURES)]


def test_short_windows_are_refused_where_the_model_has_none():
    engine = load(catalog.find("demo-paraformer"), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine
    with pytest.raises(UserError, match="has no option short_windows"):
        engine.transcribe([audio_of(ENGLISH).samples], Options(short_windows=True))


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
def test_the_loss_of_a_reference_is_that_of_decoding_it(precision, way):
    """In the arithmetic of decoding, too: at INT8, many tokens at once would be multiplied otherwise than each alone."""
    engine = load(catalog.find("demo-whisper"), precision, "cpu", 2, hub.HUBS[0]).engine
    model, clips = (
        engine._model,
        [audio_of(EXAMPLE / name).samples for name in ("english-home.flac", "english-numbers.ogg")],
    )
    mels = [whisper.log_mel_spectrogram(clip, padding=480_000)[:, : len(clip) // 160] for clip in clips]
    windows = torch.stack([whisper.pad_or_trim(mel, 3000) for mel in mels])
    asked = whisper.DecodingOptions(
        language="en", without_timestamps=True, suppress_tokens="", suppress_blank=False, fp16=False
    )
    with torch.no_grad():
        found = [decoded.result for decoded in decode(model, model.encoder(windows), asked)]
    # The average of decoding counts the end, too.
    nats = [-result.avg_logprob * (len(result.tokens) + 1) for result in found]
    losses = engine.reference_loss(clips, [result.text for result in found], ["en", "en"])
    assert [tokens for _, tokens in losses] == [len(result.tokens) + 1 for result in found]
    assert [loss for loss, _ in losses] == pytest.approx(nats, rel=1e-3)


def test_speech_is_decoded_after_the_loss_of_a_reference(engine, way):
    """With the same number of rows, so with the same captured step."""
    speech = [audio_of(ENGLISH).samples]
    vars(engine.parts["decoder"]).pop("captured_steps", None)
    engine.reference_loss(speech, ["where is the book"], ["en"])
    ((first, *_),) = engine.transcribe(speech, Options(language="en"))
    assert first.text

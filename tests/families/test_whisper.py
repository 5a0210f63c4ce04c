"""Whisper's file format and sizes, with weights nobody trained: what loads the published models loads this one."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXAMPLE

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits, decode
from asr_app.checks import FiniteWatch
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.families import _whisper_engine
from asr_app.families import whisper as family
from asr_app.families._whisper_decoder import decode as decoded
from asr_app.loading import load
from asr_app.precision import Precision, linears
from asr_app.precision.counting import report
from asr_app.sources import PublishedFile

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The smallest multilingual Whisper, as OpenAI stores one: dims, and weights in FP16."""
    from whisper.model import ModelDimensions, Whisper

    dims = ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=128, n_audio_head=2, n_audio_layer=2,
        n_vocab=51865, n_text_ctx=448, n_text_state=128, n_text_head=2, n_text_layer=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Whisper(dims)
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.01)  # openai-whisper leaves it as the memory was
    # The end of the text is always the likeliest next token: what random weights would say takes minutes to decode.
    with torch.no_grad():
        model.decoder.ln.weight.zero_()
        model.decoder.ln.bias.copy_(
            20 * torch.nn.functional.normalize(model.decoder.token_embedding.weight[50257], dim=0)
        )
    path = tmp_path_factory.mktemp("whisper") / "small-one.pt"
    torch.save({"dims": dims.__dict__, "model_state_dict": {k: v.half() for k, v in model.state_dict().items()}}, path)
    return path


def test_the_cards_are_openais():
    import whisper
    from whisper.tokenizer import LANGUAGES

    assert tuple(LANGUAGES) == family.LANGUAGES
    for card in family.CARDS:
        for source in card.sources["model"]:
            if isinstance(source, PublishedFile):
                assert whisper._MODELS[card.id.removeprefix("whisper-")] == source.url


@pytest.mark.parametrize("precision", catalog.find("demo-whisper").precisions, ids=lambda p: p.value)
def test_it_runs_at_each_precision_and_holds_it(checkpoint, precision):
    card = catalog.find(str(checkpoint))
    assert len(card.languages) == 99
    # Not through Engines.use: random weights say anything, and may fail the self-check.
    loaded = load(card, precision, "cpu", 1, hub.HUBS[0])
    for _ in range(2):
        pipeline.transcribe(EXAMPLE / "english-home.flac", loaded, Options(language="en"), Limits())
    assert report(loaded.engine.parts, precision) == loaded.precision  # nothing was cast back on the way
    encoder, decoder = loaded.precision.parts
    assert encoder.label.startswith(precision.label)
    table = loaded.engine.parts["decoder"].token_embedding.weight
    kept = "INT8" if precision is Precision.INT8 else "FP32"  # it is the vocabulary head too
    assert table.dtype is (torch.int8 if precision is Precision.INT8 else torch.float32)
    assert decoder.stored[kept] >= table.numel() * table.element_size()


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8], ids=lambda p: p.value)
def test_chunks_in_one_batch_say_what_they_say_alone(precision, cache, monkeypatch):
    """And the encoder hears each of them once. INT8 multiplies few tokens otherwise than many, and a batch has more of
    them than one chunk: that rounding can change a word, so it is held alike here."""
    monkeypatch.setattr(linears, "_FEW", 10**6)
    loaded = load(catalog.find("demo-whisper"), precision, "cpu", 2, hub.HUBS[0], cache=cache)
    clips = [
        decode(EXAMPLE / name).samples for name in ("english-home.flac", "mandarin-phone.mp3", "mandarin-home.wav")
    ]
    clips.insert(1, np.zeros(16_000, np.float32))
    alone = [loaded.engine.transcribe([clip], Options())[0] for clip in clips]
    heard = []
    hook = loaded.engine.parts["encoder"].register_forward_hook(lambda _m, inputs, _o: heard.append(len(inputs[0])))
    together = loaded.engine.transcribe(clips, Options())
    hook.remove()
    assert [[s.text for s in found] for found in together] == [[s.text for s in found] for found in alone]
    assert together[1] == []
    assert {s.language for s in together[0]} == {"en"}
    assert {s.language for s in together[2]} == {"zh"}
    assert all(s.words for found in together for s in found)
    assert heard == [3]


def test_numbers_of_the_decoder_that_are_not_finite_are_seen():
    """In its steps too, not only in what a window begins with."""
    loaded = load(catalog.find("demo-whisper"), Precision.FP32, "cpu", 1, hub.HUBS[0])
    decoder = loaded.engine.parts["decoder"]

    def breaks(*_given):
        decoder.ln.weight.data[3] = torch.nan

    decoder.register_forward_hook(breaks)
    with FiniteWatch(loaded.engine.parts) as watch:
        with contextlib.suppress(RuntimeError, ValueError):  # there may be nothing to sample from
            loaded.engine.transcribe([decode(EXAMPLE / "english-home.flac").samples], Options(language="en"))
        assert watch.taken() == ["decoder"]


def test_prompt_and_task_reach_the_decoder(checkpoint, monkeypatch):
    engine = load(catalog.find(str(checkpoint)), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine
    asked = []
    monkeypatch.setattr(_whisper_engine, "decode", lambda *given: asked.append(given[2]) or decoded(*given))
    sound = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    engine.transcribe([sound], Options(prompt="Ada Lovelace", translate=True))
    assert asked[0].task == "translate"
    assert len(asked[0].prompt) > 2
    engine.transcribe([sound], Options(language="de"))
    assert (asked[1].task, asked[1].prompt) == ("transcribe", [])


def test_a_language_it_does_not_know_and_an_option_it_lacks_are_named(checkpoint):
    engine = load(catalog.find(str(checkpoint)), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine
    sound = [np.ones(16_000, np.float32)]
    with pytest.raises(UserError, match="does not know the language 'xx'"):
        engine.transcribe(sound, Options(language="xx"))
    with pytest.raises(
        UserError, match=r"has no option itn\. It has: language, languages, prompt, translate, short_windows"
    ):
        engine.transcribe(sound, Options(itn=False))


def test_half_a_file_and_a_foreign_one_are_refused(checkpoint, tmp_path):
    half = tmp_path / "half.pt"
    half.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(UserError, match="no model of a known family"):
        catalog.find(str(half))
    card = dataclasses.replace(catalog.find(str(checkpoint)), directory=str(half))
    with pytest.raises(UserError, match="damaged or no Whisper checkpoint"):
        load(card, Precision.FP32, "cpu", 1, hub.HUBS[0])
    misfit = tmp_path / "misfit.pt"
    saved = torch.load(checkpoint, weights_only=True)
    saved["dims"]["n_audio_state"] = 64
    torch.save(saved, misfit)
    with pytest.raises(UserError, match="does not fit its own dimensions"):
        load(catalog.find(str(misfit)), Precision.FP32, "cpu", 1, hub.HUBS[0])

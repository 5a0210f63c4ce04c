"""SenseVoice: what its tags become, and a folder in its format with weights nobody trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from conftest import EXAMPLE

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options, Word
from asr_app.errors import UserError
from asr_app.families._sentences import sentences
from asr_app.families.sensevoice import split_tags
from asr_app.loading import load
from asr_app.precision import Precision
from asr_app.precision.counting import report
from training import sensevoice
from training.folder import build_folder
from training.paraformer import write_normalisation

TAGS = [f"<|{tag}|>" for tag in sensevoice.TAGS]


def test_tags_become_labels_and_leave_the_text():
    assert split_tags("<|en|><|HAPPY|><|BGM|><|withitn|>Hello there.", True) == ("en", ("happy", "bgm"), "Hello there.")
    assert split_tags("<|zh|><|NEUTRAL|><|Speech|><|woitn|>你好", True) == ("zh", ("neutral",), "你好")
    assert split_tags("<|nospeech|><|EMO_UNKNOWN|><|Event_UNK|><|woitn|>", True) == (None, (), "")
    assert split_tags("<|ko|><|SAD|><|Speech|><|withitn|>a <|SAD|> b", True) == ("ko", ("sad",), "a b")


def test_emotions_are_left_out_unless_asked_for():
    """The EU's AI Act forbids inferring them at work and in education. Sound events stay."""
    for name in ("HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED"):
        assert split_tags(f"<|en|><|{name}|><|Laughter|><|withitn|>Hi.", False) == ("en", ("laughter",), "Hi.")


def test_sentences_take_the_words_they_hold():
    words = [Word(i, i + 0.5, w) for i, w in enumerate(["hello", "there", "it", "is", "nine"])]
    first, second = sentences("Hello there. It is 9.5!", words[:], 0.0, 6.0)
    assert (first.text, second.text) == ("Hello there.", "It is 9.5!")
    assert [w.text for w in first.words] == ["hello", "there"]
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0, 1.5, 2, 4.5)


def test_sentences_without_words_share_the_time_by_letters():
    found = sentences("一二三四。五六？", (), 1.0, 7.0)
    assert [(s.start_s, s.end_s, s.text) for s in found] == [(1.0, 5.0, "一二三四。"), (5.0, 7.0, "五六？")]
    assert sentences(" ", (), 0, 1) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A directory such as the hubs publish: a real sentencepiece model, the real architecture, random weights."""
    folder = tmp_path_factory.mktemp("sensevoice")
    corpus = folder / "corpus.txt"
    corpus.write_text(
        "你好今天天气怎么样\nthe quick brown fox jumps over the lazy dog\n，。？！\n" * 40, encoding="utf-8"
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "bpe"), vocab_size=160, model_type="bpe", character_coverage=1.0,
        user_defined_symbols=TAGS, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    like = sensevoice.config()
    config = like | dict(encoder_conf=like["encoder_conf"] | dict(tp_blocks=1, num_blocks=2))
    write_normalisation(folder / "am.mvn", np.full(560, 8.0), np.full(560, 5.0))
    torch.manual_seed(0)
    model = build_folder(folder, config, {"tokenizer_conf": {"bpemodel": "bpe.model"}})
    torch.save(model.state_dict(), folder / "model.pt")
    return folder


@pytest.mark.models
@pytest.mark.parametrize("precision", catalog.find("demo-sensevoice").precisions, ids=lambda p: p.value)
def test_it_runs_at_each_precision_and_holds_it(folder, precision):
    loaded = load(catalog.find(str(folder)), precision, "cpu", 1, hub.HUBS[0])
    for options in (Options(), Options(language="en", itn=False)):
        found = pipeline.transcribe(EXAMPLE / "english-home.flac", loaded, options, Limits())
        assert "<|" not in found.text
        times = [t for s in found.segments for w in s.words for t in (w.start_s, w.end_s)]
        assert times == sorted(times)
    assert report(loaded.engine.parts, precision) == loaded.precision
    encoder = next(p for p in loaded.precision.parts if p.name == "encoder")
    assert max(encoder.stored, key=lambda k: encoder.stored[k]) == precision.label
    assert {p.name for p in loaded.precision.parts} == {"encoder", "ctc", "embed"}


@pytest.mark.models
def test_what_the_model_says_becomes_tagged_sentences(folder, monkeypatch):
    engine = load(catalog.find(str(folder)), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine
    asked = {}

    def answer(samples, **options):
        asked.update(options)
        text = "<|en|><|HAPPY|><|Laughter|><|withitn|>Good morning. How are you?"
        words = ["Good", "morning", ".", "How", "are", "you", "?"]
        return [{"text": text, "words": words, "timestamp": [[i * 100, i * 100 + 90] for i in range(7)]}]

    monkeypatch.setattr(type(engine._model), "infer", staticmethod(answer))
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    first, second = engine.transcribe([sound], Options(language="ja", itn=False, emotions=True))[0]
    assert (first.text, first.language, first.tags) == ("Good morning.", "en", ("happy", "laughter"))
    assert (second.start_s, second.end_s) == (0.3, 0.59)
    assert (asked["language"], asked["use_itn"]) == ("ja", False)
    assert {s.tags for s in engine.transcribe([sound], Options())[0]} == {("laughter",)}
    assert engine.transcribe([np.zeros(16_000, np.float32)], Options()) == [[]]
    with pytest.raises(UserError, match="does not know the language 'fr'"):
        engine.transcribe([sound], Options(language="fr"))


@pytest.mark.models
def test_a_text_that_funasr_cannot_time_is_kept_and_labelled(folder, monkeypatch):
    loaded = load(catalog.find(str(folder)), Precision.FP32, "cpu", 1, hub.HUBS[0])

    def answer(samples, **options):
        if options.get("output_timestamp"):
            raise IndexError("list index out of range")
        return [{"text": "<|en|><|NEUTRAL|><|Speech|><|withitn|>Good morning. How are you?"}]

    monkeypatch.setattr(type(loaded.engine._model), "infer", staticmethod(answer))
    found = pipeline.transcribe(EXAMPLE / "english-home.flac", loaded, Options(), Limits())
    assert "Good morning. How are you?" in found.text
    assert found.timestamps == "vad"

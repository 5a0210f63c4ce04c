"""The corpus and the training of the demo models: nothing held out leaks, and the short-cuts equal the originals."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from asr_app import hub
from asr_app.families._funasr_model import load_model
from training import augment, whisper
from training.corpus import Corpus, Utterance, evaluation_set, log_mel, sentences, whisper_log_mel
from training.paraformer import integrate_and_fire, misplaced, read_normalisation
from training.places import UNKNOWN, looking_loss, spelled_in, token_of_letters, token_places
from training.punctuation import marked
from training.translations import translation
from training.vocabulary import EVERYDAY, Sentence, draw, en_number, en_ordinal, vocabulary, zh_number
from training.voices import Voice, draw_voice, speak
from training.voices import trim as trim_silence
from training.windows import Windows, stack_frames
from training.written import written


def test_numbers_are_said_as_people_say_them():
    assert [zh_number(n) for n in (0, 10, 16, 20, 31, 100, 105, 110, 999)] == [
        "零", "十", "十六", "二十", "三十一", "一百", "一百零五", "一百一十", "九百九十九",
    ]  # fmt: skip
    assert [en_number(n) for n in (0, 13, 21, 100, 342)] == [
        "zero", "thirteen", "twenty one", "one hundred", "three hundred and forty two",
    ]  # fmt: skip
    assert [en_ordinal(n) for n in (1, 12, 21, 30, 31)] == [
        "first",
        "twelfth",
        "twenty first",
        "thirtieth",
        "thirty first",
    ]


def test_held_out_texts_and_voices_never_meet_training():
    r = random.Random(0)
    trained = {s.spoken for s in sentences(3000, 1, held_out=False, single_digits=0.2)}
    new = {s.spoken for s in sentences(300, 7, held_out=True, single_digits=0.1)}
    assert not trained & new
    voices = {
        held: {draw_voice(r, lang, held).variant for lang in ("zh", "en") for _ in range(800)} for held in (True, False)
    }
    assert not voices[True] & voices[False]
    assert len(voices[False]) > 60
    assert len(voices[True]) >= 10


def test_the_vocabulary_holds_every_token():
    known = set(vocabulary())
    r = random.Random(99)
    for _ in range(2000):
        assert set(draw(r).tokens) <= known
    assert sum(1 for _ in EVERYDAY) >= 200


def test_marks_follow_their_tokens():
    assert marked(Sentence("en", "Hello, how are you?")) == [("hello", "，"), ("how", "_"), ("are", "_"), ("you", "？")]
    assert marked(Sentence("zh", "你好。")) == [("你", "_"), ("好", "。")]


@pytest.mark.models
def test_integrate_and_fire_without_a_loop_equals_funasr():
    from funasr.models.bicif_paraformer.cif_predictor import cif

    torch.manual_seed(0)
    alphas = torch.rand(3, 40) * 0.6
    counts = alphas.sum(1).round()
    alphas = alphas * (counts / alphas.sum(1))[:, None] * (1 + 1e-6)
    hidden = torch.randn(3, 40, 8)
    want, _ = cif(hidden, alphas.clone(), 1.0)
    got = integrate_and_fire(hidden, alphas, want.shape[1])
    for i, n in enumerate(counts.int().tolist()):
        assert torch.allclose(got[i, : n - 1], want[i, : n - 1], atol=1e-4)


def test_tokens_integrated_elsewhere_than_they_are_spelled_cost():
    text = torch.tensor([[3, 3, 5, 2, -1]])  # 2 is eos; a token twice, with a blank between
    spelled = torch.zeros(1, 8, 6)
    for frame, token in enumerate([0, 3, 3, 0, 3, 0, 5, 0]):
        spelled[0, frame, token] = 1
    lengths, counts = torch.tensor([8]), torch.tensor([4])

    def cost(weights: list[float]) -> float:
        return float(misplaced(torch.tensor([weights]), spelled, lengths, text, counts))

    assert cost([0.3, 0.6, 0.1, 0.3, 0.6, 0.2, 0.6, 0.3]) == 0
    assert cost([0.0, 0.0, 0.1, 0.3, 0.6, 0.2, 0.6, 1.2]) > 0.5  # as many in all, but the first comes late
    assert cost([1.0, 1.0, 0.1, 0.3, 0.3, 0.1, 0.1, 0.1]) > 0.5  # and here too early
    spelled[0, 6] = 0  # spelled wrong: nothing is known of where the tokens are
    assert cost([0.0, 0.0, 0.1, 0.3, 0.6, 0.2, 0.6, 1.2]) == 0


@pytest.mark.parametrize("frames", [1, 5, 6, 7, 8, 41, 42, 43, 100])
def test_stacking_equals_funasr(frames):
    from funasr.frontends.wav_frontend import apply_lfr

    mel = torch.randn(frames, 80)
    want = apply_lfr(mel, 7, 6)
    got = stack_frames(mel)
    assert got.shape == want.shape
    assert torch.equal(got, want)


def test_augmentation_keeps_shapes_and_finite_numbers():
    r = np.random.default_rng(0)
    speech = speak("one two three", draw_voice(random.Random(0), "en", False))
    noise = torch.from_numpy(np.concatenate([log_mel(x) for x in augment.noise_bank([speech], r, seconds=8)]))
    for _ in range(30):
        samples = augment.augment_samples(speech, r)
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        mel = augment.augment_features(torch.from_numpy(log_mel(samples)), noise, r)
        assert mel.shape[1] == 80
        assert bool(mel.isfinite().all())


def test_evaluation_speech_is_the_same_every_time():
    for held in (True, False):
        a, b = (next(evaluation_set(1, held_out_voices=held)) for _ in range(2))
        assert a[0] == b[0]
        assert np.array_equal(a[1], b[1])


def test_trim_leaves_the_speech():
    x = np.zeros(16000, np.float32)
    x[4000:8000] = 0.5
    assert len(trim_silence(x)) == 4000
    assert len(trim_silence(np.zeros(1600, np.float32))) == 0


def test_numbers_are_written_in_digits_where_they_are_said():
    mandarin = {
        "把卧室的温度调到二十六度。": "把卧室的温度调到26度。",
        "我的电话号码是一三八五二零七六四九一。": "我的电话号码是13852076491。",
        "体温三十六点八度。": "体温36.8度。",
        "音量调到百分之五十。": "音量调到50%。",
        "播放第一百二十首歌。": "播放第120首歌。",
        "星期三上午十点零五分开会。": "星期三上午10点05分开会。",
        "请说慢一点。": "请说慢一点。",
        "下周一我要出差。": "下周一我要出差。",
        "上一首。": "上一首。",
        "室外温度零下三十九度。": "室外温度零下39度。",
    }
    english = {
        "My phone number is five five five two three eight nine.": "My phone number is 5552389.",
        "Set the volume to twenty six percent.": "Set the volume to 26%.",
        "It is ten fifteen in the morning.": "It is 10:15 in the morning.",
        "The total is three hundred and five dollars.": "The total is 305 dollars.",
        "Today is monday, march twenty first.": "Today is monday, march twenty first.",
        "Today we study lesson three.": "Today we study lesson three.",
    }
    for language, said in (("zh", mandarin), ("en", english)):
        for spoken, want in said.items():
            assert written(Sentence(language, spoken)) == want


def test_translations_are_of_sentences_the_vocabulary_has():
    everyday = {text for language, text in EVERYDAY if language == "zh"}
    from training import translations

    assert set(translations._FIXED) <= everyday | {"现在几点了？"}
    assert translation(Sentence("zh", "三幺八。")) == "three one eight."
    assert translation(Sentence("zh", "请说慢一点。")) == "Please speak more slowly."
    assert translation(Sentence("en", "three.")) is None
    assert translation(Sentence("zh", "打开客厅的灯。")) is None


def test_features_for_whisper_end_as_the_library_ends_them():
    from whisper import log_mel_spectrogram

    samples = speak("turn on the light", draw_voice(random.Random(1), "en", False))
    want = log_mel_spectrogram(torch.from_numpy(samples)).T
    tokens = whisper.Tokens()
    found = whisper.Examples(tokens, torch.zeros(1, 80), seed=0)._heard(torch.from_numpy(whisper_log_mel(samples)))
    assert torch.allclose(found, want, atol=1e-4)
    assert tokens.tokenizer.decode([tokens.ids[i] for i in tokens.text("zh", "打开客厅的灯。")]) == "打开客厅的灯。"


def test_a_softmax_over_rows_in_use_and_a_count_of_the_rest_is_the_whole_one(monkeypatch):
    torch.manual_seed(0)
    hidden, rows = torch.randn(1, 5, 16), torch.randn(40, 16)
    table = torch.zeros(whisper.VOCABULARY, 16)
    used = torch.randperm(whisper.VOCABULARY)[:40]
    table[used] = rows
    monkeypatch.setattr(whisper, "AUDIO_FRAMES", -1)  # no times among them
    targets = torch.tensor([3, 39, 0, 7, 7])
    whole = torch.nn.functional.cross_entropy((hidden @ table.T)[0], used[targets])
    assert float(whisper.token_loss((hidden @ rows.T)[0], targets)) == pytest.approx(float(whole), abs=1e-4)


def test_windows_know_where_each_utterance_is_said():
    loud, quiet = torch.full((40, 80), 10.0), torch.full((30, 80), -5.0)
    mel = torch.cat([quiet, loud, quiet]).numpy().astype(np.float16)
    corpus = Corpus((mel,), [Utterance("en", "one.", 0, 100), Utterance("en", "two three.", 0, 100)])
    windows = Windows(corpus, torch.zeros(2000, 80), seed=0)
    windows.strength = (0.0, 0.0)
    made = windows.window(corpus.utterances)
    for start, end in made.spans:
        assert end - start == pytest.approx(40 * len(made.mel) / 230, rel=0.15)
        inside = made.mel[start + 3 : end - 3].mean()
        assert inside > made.mel[:start][: max(1, start - 3)].mean() + 3


def test_each_written_letter_belongs_to_the_token_that_is_said():
    assert token_of_letters("Hello, you 你好。", 4) == [0, 0, 0, 0, 0, -1, -1, 1, 1, 1, -1, 2, 3, -1]
    assert token_of_letters("拨打114。", 5) == [0, 1, 2, 3, 4, -1]
    assert token_of_letters("温度26度。", 6) is None  # 二十六 is not written as it is said


def test_a_frame_is_taken_for_the_token_said_in_it():
    spelled = spelled_in([2, 4, 9], [[7], [8, 9], [5, 6]], frames=10, nothing=0)
    assert spelled.tolist() == [0, UNKNOWN, 7, UNKNOWN, 8, 9, 0, 0, UNKNOWN, 5]


def test_looking_elsewhere_costs():
    places = torch.tensor([[2, -1]])
    there, elsewhere = torch.zeros(1, 1, 2, 9), torch.zeros(1, 1, 2, 9)
    there[..., 3], elsewhere[..., 8] = 1.0, 1.0
    assert float(looking_loss(there, places, reach=1)) == pytest.approx(0, abs=1e-3)
    assert float(looking_loss(elsewhere, places, reach=1)) > 5
    assert float(looking_loss(elsewhere, torch.full((1, 2), -1), reach=1)) == 0


def test_the_places_of_tokens_lie_where_they_are_said():
    loaded = load_model(hub.BUNDLED / "demo-paraformer", ("BiCifParaformer",), "cpu", 1).module.eval()
    shift, scale = read_normalisation(hub.BUNDLED / "demo-paraformer" / "am.mvn")
    voice = Voice("flite", "en", "slt", 1.0)
    said = [speak(text, voice) for text in ("turn on the light", "thank you very much")]
    gap = np.random.default_rng(0).normal(0, 1e-3, 6000).astype(np.float32)
    mel = torch.from_numpy(log_mel(np.concatenate([gap, said[0], gap, said[1], gap])))
    speech = ((stack_frames(mel) + shift) * scale)[None]
    lengths = torch.tensor([speech.size(1)])
    with torch.no_grad():
        encoded = loaded.encoder(speech, lengths)[0]
    (places,) = token_places(loaded.predictor, encoded, lengths, [8])
    seconds = [0.06 * p for p in places]
    assert seconds == sorted(seconds)
    first_ends, second_begins = (6000 + len(said[0])) / 16_000, (12_000 + len(said[0])) / 16_000
    assert seconds[0] > 0.3
    assert seconds[3] < first_ends + 0.2
    assert seconds[4] > second_begins - 0.2
    assert token_places(loaded.predictor, encoded, lengths, [20]) == [None]

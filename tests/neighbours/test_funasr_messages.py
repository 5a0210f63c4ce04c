"""Messages of FunASR's websocket protocol: settings of each known client, results, and what is refused. No model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from speaking import SAID

from asr_app.datatypes import Segment, Word
from asr_app.neighbours.funasr_messages import Malformed, Settings, failure, read, result
from asr_app.neighbours.recordings import Pcm

# First messages as the originals' clients write them.
PYTHON = {
    "mode": "offline", "chunk_size": [5, 10, 5], "chunk_interval": 10, "encoder_chunk_look_back": 4,
    "decoder_chunk_look_back": 0, "audio_fs": 8000, "wav_name": "demo", "wav_format": "pcm", "is_speaking": True,
    "hotwords": '{"阿里巴巴": 20, "hello world": 40}', "itn": True,
}  # fmt: skip
HTML5 = {
    "chunk_size": [5, 10, 5], "wav_name": "h5", "is_speaking": True, "chunk_interval": 10, "itn": False, "mode": "2pass",
}  # fmt: skip
HTML5_END = {"chunk_size": [5, 10, 5], "wav_name": "h5", "is_speaking": False, "chunk_interval": 10, "mode": "2pass"}
CPP = {
    "mode": "2pass", "chunk_size": [5, 10, 5], "wav_name": "record", "wav_format": "pcm", "audio_fs": 16000.0,
    "is_speaking": True, "itn": True,
}  # fmt: skip


def settings(*messages: dict) -> Settings:
    made = Settings()
    for message in messages:
        made, _ = read(json.dumps(message), made)
    return made


def test_the_settings_of_each_client():
    assert settings(PYTHON) == Settings("offline", "demo", "pcm", 8000, ("阿里巴巴", "hello world"), True)
    assert settings(HTML5) == Settings("2pass", "h5", itn=False)
    assert settings(CPP) == Settings("2pass", "record")
    assert settings(CPP).pcm == Pcm(16_000, 2, 1)
    assert settings({"wav_format": "PCM", "audio_fs": 44100}).pcm == Pcm(44_100, 2, 1)
    assert settings({"wav_format": "mp3"}).pcm is None


def test_what_ends_a_recording():
    ends = {
        '{"is_speaking": false}': True, json.dumps(HTML5_END): True, '{"is_finished": true}': True,
        '{"is_speaking": true}': False, '{"is_finished": false}': False, json.dumps(PYTHON): False,
    }  # fmt: skip
    assert {text: read(text, Settings())[1] for text in ends} == ends


def test_later_messages_change_single_settings():
    assert settings(PYTHON, {"is_speaking": False}) == settings(PYTHON)
    assert settings(PYTHON, HTML5_END) == replace(settings(PYTHON), mode="2pass", wav_name="h5")


def test_hotwords_in_each_form():
    assert settings({"hotwords": "阿里巴巴 达摩院"}).hotwords == ("阿里巴巴", "达摩院")
    assert settings({"hotwords": ""}).hotwords == ()
    assert settings({"hotwords": None}).hotwords == ()
    assert settings({"hotwords": "{}"}).hotwords == ()


def test_sensevoices_own_switch_goes_before_itn():
    assert settings({"itn": True}).wants_itn
    assert not settings({"itn": True, "svs_itn": False}).wants_itn
    assert settings({"svs_lang": "en"}).svs_lang == "en"


@pytest.mark.parametrize(
    "text",
    [
        "hello", "[]", "7", '"offline"', "{", '{"mode": "3pass"}', '{"mode": 2}', '{"wav_name": ["a"]}', '{"itn": "yes"}',
        '{"is_speaking": "no"}', '{"audio_fs": "fast"}', '{"audio_fs": true}', '{"audio_fs": 0.5}', '{"hotwords": ["a"]}',
        json.dumps({"wav_name": "n" * 201}),
    ],
)  # fmt: skip
def test_garbage_is_refused_with_a_reason(text):
    with pytest.raises(Malformed) as refused:
        read(text, Settings())
    assert str(refused.value).isascii()


def test_an_impossible_rate_is_refused_when_audio_comes():
    with pytest.raises(Malformed, match="audio_fs"):
        _ = settings({"audio_fs": 3}).pcm


def test_a_result_with_the_times_of_its_words():
    body = json.loads(result("offline", settings(PYTHON), SAID.text, [SAID], is_final=False))
    assert body == {
        "mode": "offline", "text": "你好，world。", "wav_name": "demo", "is_final": False,
        "timestamp": "[[100, 300], [300, 500], [600, 1000]]",
        "stamp_sents": [
            {"text_seg": "你 好", "punc": "，", "start": 100, "end": 500, "ts_list": [[100, 300], [300, 500]]},
            {"text_seg": "world", "punc": "。", "start": 600, "end": 1000, "ts_list": [[600, 1000]]},
        ],
    }  # fmt: skip
    assert json.loads(result("offline", Settings(), "", is_final=False)) == {
        "mode": "offline", "text": "", "wav_name": "microphone", "is_final": False,
    }  # fmt: skip


def html5_times(text: str, timestamp: str) -> list[float]:
    """Starts that the html5 client's `handleWithTimestamp` reads. Raises IndexError where it fails."""
    for mark in "。？，、?. ":
        text = text.replace(mark, ",")
    times, at, starts = json.loads(timestamp), 0, []
    for piece in filter(None, text.split(",")):
        starts.append(times[at][0] / 1000)
        at += 1 if piece.isascii() and piece.isalpha() else len(piece)
    return starts


def test_times_only_where_the_html5_client_does_not_run_over_their_end():
    body = json.loads(result("2pass-offline", Settings(), SAID.text, [SAID], is_final=False))
    assert html5_times(body["text"], body["timestamp"]) == [0.1, 0.6]
    dont = Segment(0.0, 1.0, "I don't know.", (Word(0.0, 0.1, "I"), Word(0.1, 0.5, "don't"), Word(0.5, 1.0, "know")))
    assert "timestamp" not in json.loads(result("2pass-offline", Settings(), dont.text, [dont], is_final=False))
    untimed = Segment(0.0, 1.0, "你好。")
    assert "timestamp" not in json.loads(result("offline", Settings(), untimed.text, [untimed], is_final=False))


def test_a_failure_has_the_form_of_the_originals_error():
    assert json.loads(failure(Settings(wav_name="a"), "No.")) == {
        "text": "ERROR. No.", "wav_name": "a", "is_final": True,
    }  # fmt: skip

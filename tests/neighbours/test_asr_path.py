"""`/asr` and `/detect-language` as the clients of their originals send and read them."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from speaking import MOST_BYTES, NANO, PARAFORMER, SECONDS, WHISPER, House, house, samples, wav  # noqa: F401
from starlette.testclient import TestClient

from asr_app.datatypes import Segment
from asr_app.neighbours import http


@pytest.fixture
def client(house: House):
    def of(card=None):
        recognition = house.offers(card) if card else house.recognition
        return TestClient(FastAPI(routes=http.routes(recognition)))

    return of


def upload(name: str):
    return {name: ("my talk.wav", wav())}


# --- FunASR


def test_funasr_answers_text_segments_and_times(house, client):
    said = client(NANO).post("/asr", files=upload("file"), data={"language": "中文", "hotwords": "你好, 世界 ，"})
    assert said.status_code == 200
    body = said.json()
    first, *_ = body["segments"]
    assert body["text"].startswith("你好，world。")
    assert (first["text"], first["end"]) == ("你好，world。", pytest.approx(first["start"] + 0.9))
    assert [word["word"] for word in first["words"]] == ["你", "好", "world"]
    assert set(first["words"][0]) == {"word", "start", "end"}
    assert body["duration"] == pytest.approx(SECONDS)
    assert body["language"] == "zh"
    assert body["processing_time"] > 0
    assert body["rtf"] == pytest.approx(body["processing_time"] / body["duration"], abs=1e-3)
    assert (house.engine.options[0].language, house.engine.options[0].hotwords) == ("zh", ("你好", "世界"))
    assert house.is_empty()


def test_funasr_refuses_speakers_and_languages_that_are_not_here(client):
    refused = client().post("/asr", files=upload("file"), data={"spk": "true"})
    assert (refused.status_code, list(refused.json())) == (400, ["detail"])
    assert "the speaker model (28 MB) is not on this disk" in refused.json()["detail"]
    refused = client().post("/asr", files=upload("file"), data={"language": "tlh"})
    assert refused.status_code == 422
    assert "zh, en" in refused.json()["detail"]


# --- whisper-asr-webservice


def test_each_output_is_a_text_file_with_the_recordings_name(client):
    beginnings = {
        "txt": "你好，world。\n", "srt": "1\n00:00:0", "vtt": "WEBVTT\n\n00:00:0", "tsv": "start\tend\ttext\n", "json": '{"text": "你好',
    }  # fmt: skip
    for output, beginning in beginnings.items():
        said = client().post("/asr", params={"output": output}, files=upload("audio_file"))
        assert said.text.startswith(beginning), output
        assert said.headers["content-type"] == "text/plain; charset=utf-8"
        assert said.headers["content-disposition"] == f'attachment; filename="my%20talk.wav.{output}"'
        assert said.headers["asr-engine"] == "demo-sensevoice@fp32"
    assert client().post("/asr", files=upload("audio_file")).text.startswith(beginnings["txt"])


def test_the_json_is_whispers(client):
    said = client().post("/asr", params={"output": "json", "word_timestamps": "true"}, files=upload("audio_file"))
    body = json.loads(said.text)
    assert (set(body), body["language"]) == ({"text", "segments", "language"}, "zh")
    fields = {"id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"}  # fmt: skip
    assert set(body["segments"][0]) == fields | {"words"}
    assert body["segments"][0]["words"][0] | {"start": 0, "end": 0} == {
        "word": "你", "start": 0, "end": 0, "probability": 0.9
    }  # fmt: skip
    said = client().post("/asr", params={"output": "json"}, files=upload("audio_file"))
    assert set(json.loads(said.text)["segments"][0]) == fields


def test_raw_samples_as_bazarr_sends_them(house, client):
    query = {"task": "transcribe", "language": "zh", "output": "srt", "encode": "false"}
    said = client().post("/asr", params=query, files={"audio_file": samples()})
    assert said.text.startswith("1\n00:00:0")
    assert house.engine.seconds == pytest.approx(SECONDS, abs=1)  # the pauses are left out


def test_options_reach_a_model_that_has_them(house, client):
    query = {"task": "translate", "language": "Chinese", "initial_prompt": "Names.", "vad_filter": "True"}
    assert client(WHISPER).post("/asr", params=query, files=upload("audio_file")).status_code == 200
    options = house.engine.options[0]
    assert (options.translate, options.language, options.prompt) == (True, "zh", "Names.")


def test_a_language_that_the_model_cannot_be_told_is_taken_if_it_knows_it(house, client):
    query = {"language": "en", "initial_prompt": "Names."}
    assert client(PARAFORMER).post("/asr", params=query, files=upload("audio_file")).status_code == 200
    assert house.engine.options[0].language is None
    refused = client(PARAFORMER).post("/asr", params={"language": "de"}, files=upload("audio_file"))
    assert refused.status_code == 422


def test_bad_values_are_refused(client):
    for query in ({"task": "sing"}, {"output": "docx"}, {"encode": "perhaps"}, {"task": "translate"}):
        refused = client().post("/asr", params=query, files=upload("audio_file"))
        assert refused.status_code == 422, query
        assert refused.json()["detail"], query


def test_the_language_is_detected_in_the_first_half_minute(house, client):
    said = client(WHISPER).post("/detect-language", params={"encode": "false"}, files={"audio_file": samples()})
    assert said.json() == {"detected_language": "chinese", "language_code": "zh", "confidence": None}
    assert house.engine.options[0].stretch == (0.0, 30.0)
    house.engine.said = Segment(0.1, 1.0, "hm")
    refused = client(WHISPER).post("/detect-language", files=upload("audio_file"))
    assert (refused.status_code, "no language" in refused.json()["detail"]) == (422, True)


# --- both


def test_the_field_of_the_file_tells_them_apart(client):
    refused = client().post("/asr", data={"language": "zh"}, files={"audio": b"x"})
    assert refused.status_code == 422
    assert [one["loc"] for one in refused.json()["detail"]] == [["body", "file"], ["body", "audio_file"]]
    assert client().post("/detect-language", files=upload("file")).status_code == 422
    assert client().post("/asr", content=b"--", headers={"Content-Type": "multipart/form-data; boundary=b"}).is_error


def test_what_fails_leaves_nothing_behind(house, client):
    refused = client().post("/asr", files={"audio_file": b"no audio at all"})
    assert (refused.status_code, "not an audio" in refused.json()["detail"]) == (415, True)
    assert client().post("/asr", files={"file": b"x" * (MOST_BYTES + 1)}).status_code == 413
    house.engine.dies_at = house.engine.count + 1
    assert client().post("/asr", files=upload("file")).status_code == 503
    assert house.is_empty()

"""Speakers over the API: OpenAI's diarized_json, whole and streamed, and what is refused."""

from __future__ import annotations

import httpx
import pytest
from conftest import EXAMPLE, serving
from openai import APIStatusError, OpenAI
from weights import model_with_speakers

pytestmark = pytest.mark.models
KEY = "0123456789abcdef-key"
CLIP = EXAMPLE / "mandarin-home.wav"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = model_with_speakers(tmp_path_factory.mktemp("models") / "demo-with-speakers")
    cache = str(tmp_path_factory.mktemp("cache"))  # without the real speaker model, which another test fetches
    home = tmp_path_factory.mktemp("home")
    with serving(home, token=True, model=str(folder), ASR_API_KEY=KEY, ASR_CACHE=cache) as (address, _):
        yield OpenAI(base_url=f"{address.split('?')[0].rstrip('/')}/v1", api_key=KEY, max_retries=0)


def ask(client, model="whisper-1", raw=False, **fields):
    create = client.audio.transcriptions.with_raw_response.create if raw else client.audio.transcriptions.create
    return create(file=CLIP.open("rb"), model=model, **fields)


def test_diarized_json(client, expected):
    told = ask(client, response_format="diarized_json", extra_body={"speakers": "2"})
    assert told.text == expected[CLIP.name]["text"]
    assert (told.task, told.usage.type) == ("transcribe", "duration")
    assert {segment.speaker for segment in told.segments} == {"A", "B"}
    assert {segment.type for segment in told.segments} == {"transcript.text.segment"}
    assert "".join(segment.text for segment in told.segments) == told.text
    assert all(one.start <= one.end for one in told.segments)


def test_a_diarized_stream(client, expected):
    events = list(ask(client, response_format="diarized_json", stream=True, chunking_strategy="auto"))
    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == ["transcript.text.delta", "transcript.text.segment", "transcript.text.done"]
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert "".join(segment.text for segment in segments) == events[-1].text == expected[CLIP.name]["text"]
    assert segments[0].speaker == "A"


def test_other_formats_name_speakers_when_asked(client):
    assert "S1: " in ask(client, response_format="text", extra_body={"speakers": "auto"})
    assert "<v S1>" in ask(client, response_format="vtt", extra_body={"speakers": "true"})
    assert "S1: " not in ask(client, response_format="text")


def test_funasrs_clients_get_its_labels(client, expected):
    def asked(**data):
        with CLIP.open("rb") as file:
            return httpx.post(
                str(client.base_url.join("/asr")), headers={"Authorization": f"Bearer {KEY}"}, files={"file": file}, data=data,
                timeout=60,
            )  # fmt: skip

    told = asked(spk="true").json()
    assert told["text"] == expected[CLIP.name]["text"]
    assert told["segments"][0]["speaker"] == "SPK0"
    assert all("speaker" not in segment for segment in asked().json()["segments"])


def test_names_and_voices_of_known_speakers_have_no_effect_and_are_named(client):
    answer = ask(
        client, raw=True, response_format="diarized_json", known_speaker_names=["anna"],
        known_speaker_references=["data:audio/wav;base64,AA=="],
    )  # fmt: skip
    assert answer.headers["x-asr-ignored"] == "known_speaker_names, known_speaker_references"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"extra_body": {"speakers": "99"}}, "speakers"),
        ({"extra_body": {"speakers": "some"}}, "speakers"),
        ({"response_format": "diarized_json", "extra_body": {"speakers": "off"}}, "speakers"),
        (
            {"response_format": "diarized_json", "model": "demo-whisper"},
            "response_format",
        ),  # it brings no speaker model
        ({"model": "demo-whisper", "extra_body": {"speakers": "2"}}, "speakers"),
    ],
)
def test_what_is_refused(client, fields, param):
    with pytest.raises(APIStatusError) as refused:
        ask(client, **fields)
    assert (refused.value.status_code, refused.value.param) == (400, param)

"""OpenAI's own client against the real server: formats, streams, errors, keys, and what stays behind."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import EXAMPLE, serving
from openai import APIError, APIStatusError, OpenAI

pytestmark = pytest.mark.models
KEY = "0123456789abcdef-key"
CLIP = EXAMPLE / "mandarin-home.wav"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address and the home of a server that asks for a key."""
    home = tmp_path_factory.mktemp("api")
    with serving(home, token=True, ASR_API_KEY=KEY) as (address, _):
        yield address.split("?")[0].rstrip("/"), home


@pytest.fixture(scope="module")
def client(server):
    return OpenAI(base_url=f"{server[0]}/v1", api_key=KEY, max_retries=0)


def test_models_are_listed_and_found(client):
    names = [model.id for model in client.models.list()]
    assert {"demo-paraformer", "demo-paraformer@int8", "whisper-1", "gpt-transcribe"} <= set(names)
    assert client.models.retrieve("demo-paraformer@int8").id == "demo-paraformer@int8"
    with pytest.raises(APIStatusError) as refused:
        client.models.retrieve("gpt-9")
    assert (refused.value.status_code, refused.value.code) == (404, "model_not_found")


def test_every_format(client, expected):
    text = expected[CLIP.name]["text"]

    def ask(**fields):
        return client.audio.transcriptions.create(file=CLIP.open("rb"), model="whisper-1", **fields)

    plain = ask()
    assert plain.text == text
    assert plain.usage.seconds == 14
    assert "".join(ask(response_format="text").split()) == text
    assert ask(response_format="srt").startswith("1\n00:00:0")
    assert ask(response_format="vtt").startswith("WEBVTT\n")
    verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (verbose.text, verbose.duration) == (text, 13.69)
    assert verbose.segments[0].start < verbose.segments[0].end <= verbose.segments[1].start
    assert verbose.words[0].word == text[0]
    assert all(one.start <= one.end for one in verbose.words)
    assert ask(response_format="verbose_json").words is None


def test_the_answer_says_what_it_ran_on(client):
    raw = client.audio.transcriptions.with_raw_response.create(
        file=CLIP.open("rb"), model="demo-paraformer@int8", extra_body={"voice": "alloy"}
    )
    assert raw.headers["x-asr-model"] == "demo-paraformer@int8"
    assert raw.headers["x-asr-dtypes"].startswith("INT8 (encoder")
    assert float(raw.headers["x-asr-rtf"]) > 0
    assert raw.headers["x-asr-chunks-redone"] == "0"
    assert raw.headers["x-asr-ignored"] == "voice"


def test_a_stream_gives_the_text_as_it_is_recognised(client, expected):
    *deltas, done = client.audio.transcriptions.create(file=CLIP.open("rb"), model="whisper-1", stream=True)
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert len(deltas) > 1
    assert "".join(event.delta for event in deltas) == done.text == expected[CLIP.name]["text"]
    assert done.type == "transcript.text.done"


def test_logprobs_are_for_models_that_have_them(client):
    def ask(model: str, **fields):
        clip = (EXAMPLE / "english-home.flac").open("rb")
        return client.audio.transcriptions.create(file=clip, model=model, include=["logprobs"], **fields)

    answer = ask("demo-whisper")
    assert "".join(word.token for word in answer.logprobs) == answer.text
    assert all(word.bytes == list(word.token.encode()) for word in answer.logprobs)
    assert all(word.logprob <= 0 for word in answer.logprobs)
    assert any(word.logprob < 0 for word in answer.logprobs)
    *deltas, done = ask("demo-whisper", stream=True)
    streamed = [word for event in deltas for word in event.logprobs]
    assert [word.to_dict() for word in done.logprobs] == [word.to_dict() for word in streamed]
    assert [(word.token, word.logprob) for word in done.logprobs] == [(w.token, w.logprob) for w in answer.logprobs]
    with pytest.raises(APIStatusError) as refused:
        ask("demo-paraformer")
    assert (refused.value.status_code, refused.value.param) == (400, "include")


def test_translation_is_for_models_that_translate(client):
    english = client.audio.translations.create(file=CLIP.open("rb"), model="demo-whisper")
    assert english.text.isascii()
    with pytest.raises(APIStatusError) as refused:
        client.audio.translations.create(file=CLIP.open("rb"), model="demo-paraformer")
    assert (refused.value.status_code, refused.value.param) == (400, "model")


def test_what_is_no_recording_is_refused_in_openais_form(client):
    for content in (b"", b"no audio at all"):
        with pytest.raises(APIStatusError) as refused:
            client.audio.transcriptions.create(file=("a.wav", content), model="whisper-1")
        assert (refused.value.status_code, refused.value.param) == (415, "file")


def test_a_stream_that_fails_ends_with_an_error(client):
    with pytest.raises(APIError, match="not an audio or video file"):
        list(client.audio.transcriptions.create(file=("a.wav", b"no audio at all"), model="whisper-1", stream=True))


def test_a_key_is_needed_and_the_token_is_one(server, client):
    address, home = server
    log = (home / "server.log").read_text()
    token = log.split("?token=")[1].split()[0]
    assert OpenAI(base_url=f"{address}/v1", api_key=token, max_retries=0).models.list().data
    with pytest.raises(APIStatusError) as refused:
        OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0).models.list()
    assert (refused.value.status_code, refused.value.code) == (401, "invalid_api_key")
    assert KEY not in log


def test_nothing_of_a_request_stays_not_even_of_one_that_broke_off(server, client):
    address, home = server
    client.audio.transcriptions.create(file=CLIP.open("rb"), model="whisper-1")
    host, port = address.removeprefix("http://").split(":")
    body = CLIP.read_bytes()
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body) + 200}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    )
    with socket.create_connection((host, int(port))) as broken:
        broken.sendall(head.encode() + body)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with closing(sqlite3.connect(home / "journal.sqlite3")) as db:
            rows = db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]
        files = [path for name in ("recordings", "uploads") for path in (home / name).rglob("*") if path.is_file()]
        if not rows and not files:
            return
        time.sleep(0.2)
    raise AssertionError((rows, files))


@pytest.mark.slow
def test_the_last_client_of_the_first_generation(server, tmp_path, expected):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(tmp_path), "openai==1.109.1"], check=True
    )
    asks = (
        "import sys, openai; c = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2]); f = open(sys.argv[3], 'rb')\n"
        "print(openai.__version__, c.audio.transcriptions.create(file=f, model='whisper-1').text)\n"
        "f.seek(0); print([e.type for e in c.audio.transcriptions.create(file=f, model='whisper-1', stream=True)][-1])"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", asks, f"{server[0]}/v1", KEY, str(Path(CLIP))]
    said = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split("\n")
    assert said[0] == f"1.109.1 {expected[CLIP.name]['text']}"
    assert said[1] == "transcript.text.done"

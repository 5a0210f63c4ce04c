"""FunASR's modes online and 2pass: what clients that append see, and what is left when they go."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from live.speech import WORD, talk
from speaking import SAID, House, house, listening  # noqa: F401
from websockets.sync.client import connect

from asr_app import web
from asr_app.datatypes import SAMPLE_RATE, Segment
from asr_app.live import desk as desk_module
from asr_app.live.events import Final, Partial, SpeechStarted
from asr_app.neighbours import funasr_socket
from asr_app.neighbours.funasr_live import Samples, Texts, after, agreement
from asr_app.neighbours.funasr_messages import Settings
from asr_app.neighbours.recordings import Pcm

FIRST = {
    "mode": "2pass", "chunk_size": [5, 10, 5], "chunk_interval": 10, "encoder_chunk_look_back": 4,
    "decoder_chunk_look_back": 0, "wav_name": "microphone", "is_speaking": True, "hotwords": "", "itn": True,
}  # fmt: skip


# --- texts


def said(mode: str, *events) -> list[tuple[str, str]]:
    """Mode and text of the messages for the events: a Partial for each text, a Final for each tuple of texts."""
    texts, made = Texts(Settings(mode)), []
    for event in events:
        segments = tuple(Segment(0.0, 1.0, one) for one in event) if isinstance(event, tuple) else ()
        told = texts.take(Final(0, 0, 1, segments) if isinstance(event, tuple) else Partial(0, 0, 1, event))
        if told is not None:
            made.append((json.loads(told)["mode"], json.loads(told)["text"]))
    return made


def test_only_words_that_two_texts_agree_on_are_told():
    assert said("2pass", "And so", "And so my fell", "And so my fellow Americans", ("And so, my fellow Americans.",)) == [
        ("2pass-online", "And so"), ("2pass-online", " my"), ("2pass-offline", "And so, my fellow Americans."),
    ]  # fmt: skip


def test_a_text_that_takes_words_back_tells_nothing_until_the_final_one():
    assert said("2pass", "ice cream", "ice cream", "I scream", "I scream", ("I scream.",)) == [
        ("2pass-online", "ice cream"), ("2pass-offline", "I scream."),
    ]  # fmt: skip


def test_online_texts_one_after_the_other_are_the_whole_text():
    told = said(
        "online", "one", "one two", "one two", ("one two three.",), "four", "four", ("four",), ("你好",), ("五",)
    )
    assert told == [("online", t) for t in ("one", " two", " three.", " four", "你好", "五")]
    assert "".join(text for _, text in told) == "one two three. four你好五"


def test_an_utterance_without_words_takes_back_what_was_told():
    assert said("2pass", "hm", "hm", ()) == [("2pass-online", "hm"), ("2pass-offline", "")]
    assert said("2pass", ()) == []
    assert said("online", "hm", "hm", ()) == [("online", "hm")]
    assert Texts(Settings()).take(SpeechStarted(0, 0.0)) is None


def test_whole_words_only():
    assert agreement("hel", "hello") == ""
    assert agreement("say hel", "say hello") == "say"
    assert agreement("say hello", "say hello") == "say hello"
    assert agreement("你好", "你好世界") == "你好"
    assert agreement("你好wor", "你好world") == "你好"
    assert agreement("", "a") == ""
    assert after("one two", "one two three") == " three"
    assert after("one to", "one two three") == " three"
    assert after("", "one") == "one"
    assert after("x", "one") == "one"


def test_samples_of_another_rate_in_pieces_are_those_of_the_whole():
    rate = 8000
    wave = np.sin(np.arange(rate) / rate * 2 * np.pi * 300)
    whole = (wave * 20_000).astype("<i2").tobytes()
    for pcm, length in ((Pcm(rate), 16_000), (Pcm(16_000), 8000)):
        samples = Samples(pcm)
        pieces = [samples.take(whole[at : at + 320]) for at in range(0, len(whole), 320)]
        made = np.concatenate([*pieces, samples.take(b"", is_last=True)])
        assert len(made) == pytest.approx(length, abs=2)
        assert np.abs(made).max() == pytest.approx(20_000 / 32_768, abs=0.02)


# --- the socket


@pytest.fixture
def address(house: House, monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(desk_module, "EVERY_S", 0.02)
    with listening(web.Server(funasr_socket.app(house.recognition, lambda _: None))) as port:
        yield f"ws://127.0.0.1:{port}"


def spoken(text: str, rate: int = SAMPLE_RATE) -> bytes:
    """The words of `live.speech` as samples of 16 bit."""
    return (talk(text)[:: SAMPLE_RATE // rate] * 32_767).astype("<i2").tobytes()


def opened(address: str):
    return connect(address, subprotocols=["binary"], ping_interval=None, open_timeout=20)


def told(socket) -> list[dict]:
    """The messages until the one that ends the recording."""
    messages = [json.loads(socket.recv(timeout=20))]
    while not messages[-1]["is_final"]:
        messages.append(json.loads(socket.recv(timeout=20)))
    return messages


def send(socket, audio: bytes, pause_s: float = 0.0, **changed) -> None:
    """`record_microphone` of `funasr_wss_client.py`, and the end that its `record_from_scp` sends."""
    first = FIRST | changed
    stride = int(60 * first["chunk_size"][1] / first["chunk_interval"] / 1000 * first.get("audio_fs", 16_000) * 2)
    socket.send(json.dumps(first))
    for start in range(0, len(audio), stride):
        socket.send(audio[start : start + stride])
        time.sleep(pause_s)
    socket.send(json.dumps({"is_speaking": False}))


def shown(messages: list[dict]) -> str:
    """The text that `funasr_wss_client.py` shows at the end."""
    fixed = open_text = ""
    for message in messages:
        if message["mode"] in ("online", "2pass-online"):
            open_text += message["text"]
        else:
            fixed, open_text = fixed + message["text"], ""
    return fixed + open_text


def test_two_passes(house, address):
    with opened(address) as socket:
        send(socket, spoken("... 1 2 3 .. 4 5 ..."), pause_s=0.01)
        messages = told(socket)
    assert shown(messages) == "1 2 3 4 5"
    offline = [message for message in messages if message["mode"] == "2pass-offline" and message["text"]]
    assert [message["text"] for message in offline] == ["1 2 3", " 4 5"]
    assert any(message["mode"] == "2pass-online" for message in messages)
    assert messages[-1] == {"mode": "2pass-offline", "text": "", "wav_name": "microphone", "is_final": True}
    assert not any(message["is_final"] for message in messages[:-1])
    second = offline[1]["stamp_sents"][0]
    assert second["start"] == pytest.approx(8 * WORD / SAMPLE_RATE * 1000, abs=1)  # from the start of the recording
    assert json.loads(offline[1]["timestamp"]) == second["ts_list"]
    assert house.is_empty()


def test_online_has_no_second_pass(house, address):
    with opened(address) as socket:
        send(socket, spoken("... 1 2 3 .. 4 5 ..."), pause_s=0.01, mode="online")
        messages = told(socket)
    assert {message["mode"] for message in messages} == {"online"}
    assert shown(messages) == "1 2 3 4 5"


def test_another_rate_and_pieces_that_cut_samples_in_two(house, address):
    audio = spoken("... 1 2 3 ...", rate=8000)
    with opened(address) as socket:
        socket.send(json.dumps(FIRST | {"audio_fs": 8000}))
        for start in range(0, len(audio), 961):
            socket.send(audio[start : start + 961])
        socket.send('{"is_speaking": false}')
        assert shown(told(socket))  # not the words: resampling rounds their edges
    assert house.reader.lengths[-1] == pytest.approx(3 * WORD / SAMPLE_RATE + 0.6, abs=0.1)  # with the padding


def test_a_recording_without_audio_and_the_next_ones(house, address):
    with opened(address) as socket:
        send(socket, b"", wav_name="first")
        send(socket, spoken("... 7 ..."), wav_name="second")
        send(socket, spoken("... 8 ..."), wav_name="third", mode="online")
        answers = [told(socket) for _ in range(3)]
    assert [shown(messages) for messages in answers] == ["", "7", "8"]
    assert [messages[-1]["wav_name"] for messages in answers] == ["first", "second", "third"]
    assert house.is_empty()


def test_more_than_the_recogniser_takes_waits_in_a_file(house, address, monkeypatch):
    """16 s of speech are more than a stream may be behind here."""
    monkeypatch.setattr("asr_app.live.stream.MOST_BACKLOG_S", 10.0)
    monkeypatch.setattr("asr_app.neighbours.funasr_live._MOST_AHEAD_S", 5.0)
    house.reader.gate = threading.Semaphore(0)
    with opened(address) as socket:
        socket.send(json.dumps(FIRST))
        socket.send(spoken("... 1 2 3 ......" * 9))
        socket.send('{"is_speaking": false}')
        before, behind, deadline = -1.0, 0.0, time.monotonic() + 20
        while behind != before or not behind:  # until no more is fed
            assert time.monotonic() < deadline
            time.sleep(0.3)
            before, behind = behind, sum(stream.backlog_s for stream in house.desk._streams)
        house.reader.gate.release(1000)
        assert shown(told(socket)) == " ".join(["1 2 3"] * 9)
    assert house.is_empty()


def test_only_samples_can_be_recognised_live(address):
    with opened(address) as socket:
        send(socket, b"ID3" * 99, wav_format="mp3")
        message = json.loads(socket.recv(timeout=20))
    assert message["text"] == "ERROR. Real-time transcription service ONLY SUPPORT PCM stream."
    assert (message["is_final"], socket.close_code) == (True, 1008)


def test_a_model_that_fails_is_told_and_ends_the_connection(house, address):
    house.reader.breaks = True
    with opened(address) as socket:
        socket.send(json.dumps(FIRST))
        socket.send(spoken("... 1 2 3 ......"))
        message = json.loads(socket.recv(timeout=20))
        with pytest.raises(Exception, match="1011"):
            socket.recv(timeout=20)
    assert (message["text"][:7], message["is_final"]) == ("ERROR. ", True)
    assert house.is_empty()


def test_a_client_that_breaks_off_leaves_nothing_behind(house, address):
    house.reader.gate = threading.Semaphore(0)
    with opened(address) as socket:
        socket.send(json.dumps(FIRST))
        socket.send(spoken("... 1 2 3 ......"))
        deadline = time.monotonic() + 10
        while not house.reader.lengths and time.monotonic() < deadline:
            time.sleep(0.01)
    house.reader.gate.release(1000)
    assert house.reader.lengths
    assert house.is_empty()


def test_the_words_of_this_file_are_not_the_jobs(house):
    """A guard: jobs have an engine of their own here."""
    assert house.engine.said is SAID

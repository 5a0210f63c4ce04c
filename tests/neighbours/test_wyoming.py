"""The Wyoming port, asked with the package's own client as Home Assistant asks it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from speaking import NANO, PARAFORMER, SECONDS, WHISPER, House, house, listening, samples  # noqa: F401
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping

from asr_app.families.base import MAX_HOTWORDS
from asr_app.neighbours.wyoming import Server, fitting

FORMAT = {"rate": 16_000, "width": 2, "channels": 1}


@pytest.fixture
def port(house: House) -> Iterator[int]:
    with listening(Server(house.recognition)) as number:
        yield number


def asked(port: int, *events: Event) -> list[Event]:
    """Sends the events, and returns the answers until the server ends the connection."""

    async def ask() -> list[Event]:
        answers = []
        async with AsyncTcpClient("127.0.0.1", port, read_timeout=20) as client:
            for event in events:
                await client.write_event(event)
            while (answer := await client.read_event()) is not None:
                answers.append(answer)
        return answers

    return asyncio.run(ask())


def command(audio: bytes, **asked: object) -> list[Event]:
    """The events of Home Assistant's `async_process_audio_stream`, with audio in pieces of 60 ms."""
    chunks = [AudioChunk(**FORMAT, audio=audio[i : i + 1920]).event() for i in range(0, len(audio), 1920)]
    return [Transcribe(**asked).event(), AudioStart(**FORMAT).event(), *chunks, AudioStop().event()]


def test_info_names_the_models_and_their_languages(port):
    async def describe() -> Info:
        async with AsyncTcpClient("127.0.0.1", port, read_timeout=1) as client:  # Home Assistant waits a second
            await client.write_event(Describe().event())
            return Info.from_event(await client.read_event())

    info = asyncio.run(describe())
    (program,) = info.asr
    models = {model.name: model for model in program.models}
    assert program.models[0].name == "demo-sensevoice"  # the server's own comes first
    assert {"demo-sensevoice", "demo-whisper", "demo-paraformer"} <= set(models)
    assert models["demo-paraformer"].languages == ["zh", "en"]
    assert all(model.installed for model in program.models)
    assert program.supports_transcript_streaming
    assert [info.tts, info.wake, info.intent] == [[], [], []]


def test_a_command_is_transcribed_and_streamed(house, port):
    answers = asked(port, *command(samples(), language="zh"))
    assert [answer.type for answer in answers] == [
        "transcript-start", "transcript-chunk", "transcript", "transcript-stop",
    ]  # fmt: skip
    transcript = Transcript.from_event(answers[2])
    assert (transcript.text, transcript.language) == ("你好，world。", "zh")
    assert answers[1].data == {"text": transcript.text}
    assert house.engine.options[0].language == "zh"
    assert house.engine.seconds == pytest.approx(SECONDS, abs=1)
    assert house.is_empty()


def test_a_command_without_words_is_an_empty_transcript(port):
    for audio in (b"", b"\x00" * 100):
        answers = asked(port, *command(audio))
        assert [answer.type for answer in answers] == ["transcript-start", "transcript", "transcript-stop"]
        assert answers[1].data == {"text": ""}


def test_a_language_that_the_servers_model_lacks_goes_to_one_that_has_it(house, monkeypatch):
    """Home Assistant shows the languages of all models, and names none of them."""
    recognition = house.offers(replace(PARAFORMER, languages=("zh",)))
    monkeypatch.setattr(recognition.offered, "cards", lambda: {"demo-whisper": WHISPER})
    with listening(Server(recognition)) as port:
        assert asked(port, *command(samples(), language="en-US"))[-2].data["language"] == "en"
        assert asked(port, *command(samples(), language="zh-CN"))[-2].type == "transcript"
        refused = asked(port, *command(samples(), language="tlh"))
    assert house.engine.models == ["demo-whisper", "demo-paraformer"]
    assert [answer.type for answer in refused] == ["error"]


def test_a_model_may_be_named_with_its_precision(house, port):
    asked(port, *command(samples(), name="demo-whisper@fp32"))
    assert house.engine.models == ["demo-whisper"]
    (refused,) = asked(port, *command(samples(), name="whisper-9"))
    assert (refused.type, refused.data["code"]) == ("error", "404")


def test_names_and_terms_are_hotwords_as_many_as_there_may_be(house):
    with listening(Server(house.offers(NANO))) as port:
        asked(port, *command(samples(), transcript_names=["厨房灯"], transcript_terms=["  客厅   灯 ", "💡", "a => b"]))
    assert house.engine.options[0].hotwords == ("厨房灯", "客厅 灯")
    many = [f"light {number}" for number in range(1000)]
    assert fitting(many) == many[: len(fitting(many))]
    assert MAX_HOTWORDS - 10 < len(fitting(many)) <= MAX_HOTWORDS
    assert fitting(["w" * 60, "light", "light"]) == ["light"]


def test_other_rates_widths_and_channels_are_taken(house, port):
    start = {"rate": 48_000, "width": 4, "channels": 2}
    audio = bytes(48_000 * 4 * 2 * 2)  # two seconds of silence
    events = [AudioStart(**start).event(), AudioChunk(**start, audio=audio).event(), AudioStop().event()]
    assert [answer.type for answer in asked(port, *events)] == ["transcript-start", "transcript", "transcript-stop"]


def test_events_in_any_order_that_clients_send_them(house, port):
    """Without `transcribe` and `audio-start`; with what the server does not know; a second `audio-start` begins anew."""
    first = [Event("select-program", {"name": "x"}), Event("voice-started"), Ping("here").event()]
    answers = asked(port, *first, *command(samples())[2:])
    assert [answer.type for answer in answers] == [
        "pong", "transcript-start", "transcript-chunk", "transcript", "transcript-stop",
    ]  # fmt: skip
    house.engine.seconds = 0.0
    asked(port, *command(samples())[:-1], *command(samples()))
    assert house.engine.seconds == pytest.approx(SECONDS, abs=1)
    assert house.is_empty()


GARBAGE = [
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"[]\n", b"{}\n", b"7\n", b'{"type": "audio-start"}\n', b"{" * 70_000 + b"\n",
    b'{"type": "audio-start", "data": {"rate": 0, "width": 2, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": "16000", "width": 2, "channels": 1}}\n',
    b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    b'{"type": "audio-chunk", "payload_length": "9"}\n',
    b'{"type": "transcribe", "data": {"language": 7}}\n{"type": "audio-stop"}\n',
    b'{"type": "transcribe", "data": {"transcript_names": [1]}}\n{"type": "audio-stop"}\n',
]  # fmt: skip


def test_garbage_ends_the_connection_with_a_reason(house, port):
    for sent in GARBAGE:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(sent)
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
        head, _, data = answer.partition(b"\n")
        assert json.loads(head)["type"] == "error", sent
        assert json.loads(data)["text"], sent
    assert house.is_empty()


def test_a_recording_that_changes_its_format_or_is_too_long_is_refused(house, port):
    other = AudioChunk(8000, 2, 1, b"\x00" * 960).event()
    (refused,) = asked(port, *command(samples())[:-1], other)
    assert "changed its rate" in refused.data["text"]
    long = AudioChunk(**FORMAT, audio=b"\x00" * 2**20).event()
    (refused,) = asked(port, AudioStart(**FORMAT).event(), long, long, long)
    assert refused.data["code"] == "413"
    assert house.is_empty()


def test_a_client_that_breaks_off_leaves_nothing_behind(house, port):
    house.engine.gate = threading.Semaphore(0)

    async def break_off(*events: Event) -> None:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            for event in events:
                await client.write_event(event)
            if events[-1].type == "audio-stop":
                await asyncio.to_thread(house.wait_for_a_job)

    asyncio.run(break_off(*command(samples())[:-1]))  # while it sent
    assert house.is_empty()
    asyncio.run(break_off(*command(samples())))  # while it waited
    house.wait_for_a_cancel()
    house.engine.gate.release(1000)
    assert house.is_empty()


def test_closing_the_port_cancels_its_jobs(house):
    house.engine.gate = threading.Semaphore(0)
    server = Server(house.recognition)
    with listening(server) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        chunk = json.dumps({"type": "audio-chunk", "data": FORMAT, "payload_length": len(samples())}).encode()
        connection.sendall(chunk + b"\n" + samples() + b'{"type": "audio-stop"}\n')
        house.wait_for_a_job()
        threading.Timer(0.5, house.engine.gate.release, (1000,)).start()
    assert house.is_empty()

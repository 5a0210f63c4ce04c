"""FunASR's websocket port, asked as its own clients ask it."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from speaking import NANO, SECONDS, House, free_port, house, listening, samples, wav  # noqa: F401
from websockets import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from asr_app import web
from asr_app.login import Login
from asr_app.neighbours import funasr_socket
from asr_app.neighbours.ports import Ports

KEY = "0123456789abcdef"
OFFLINE = {
    "mode": "offline", "chunk_size": [5, 10, 5], "chunk_interval": 10, "encoder_chunk_look_back": 4,
    "decoder_chunk_look_back": 0, "audio_fs": 16000, "wav_name": "demo", "wav_format": "pcm", "is_speaking": True,
    "hotwords": "", "itn": True,
}  # fmt: skip


@pytest.fixture
def address(house: House) -> Iterator[str]:
    with listening(web.Server(funasr_socket.app(house.recognition, lambda _: None))) as port:
        yield f"ws://127.0.0.1:{port}"


def opened(address: str, **options):
    """A connection as `funasr_wss_client.py` opens it."""
    return connect(address, subprotocols=["binary"], ping_interval=None, open_timeout=20, **options)


def send_as_the_original(socket, audio: bytes, message: dict) -> None:
    """`record_from_scp` of `funasr_wss_client.py`: the settings, pieces of 60 ms, and the end."""
    stride = int(60 * message["chunk_size"][1] / message["chunk_interval"] / 1000 * message["audio_fs"] * 2)
    socket.send(json.dumps(message))
    for start in range(0, len(audio), stride):
        socket.send(audio[start : start + stride])
    socket.send(json.dumps({"is_speaking": False}))


def received(socket) -> dict:
    return json.loads(socket.recv(timeout=20))


def closed(socket) -> tuple[int, str]:
    """The code and the reason with which the server closes the connection."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=20)
    return socket.close_code, socket.close_reason


def test_an_offline_recording_is_answered_once(house, address):
    with opened(address) as socket:
        assert socket.subprotocol == "binary"
        send_as_the_original(socket, samples(), OFFLINE)
        answer = received(socket)
        assert (answer["mode"], answer["wav_name"], answer["is_final"]) == ("offline", "demo", False)
        assert answer["text"].startswith("你好，world。")
        assert json.loads(answer["timestamp"])[0] == answer["stamp_sents"][0]["ts_list"][0]
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.3)
    assert house.engine.options[0].itn is True
    assert house.engine.seconds == pytest.approx(SECONDS, abs=1)
    assert house.is_empty()


def test_the_html5_client_sends_a_file_with_its_header_and_says_pcm(house, address):
    audio = wav(channels=2)
    first = {"chunk_size": [5, 10, 5], "wav_name": "h5", "is_speaking": True, "chunk_interval": 10, "itn": False,
             "mode": "offline", "wav_format": "PCM", "audio_fs": 16000}  # fmt: skip
    with opened(address) as socket:
        socket.send(json.dumps(first))
        for start in range(0, len(audio), 960):
            socket.send(audio[start : start + 960])
        socket.send(json.dumps(
            {"chunk_size": [5, 10, 5], "wav_name": "h5", "is_speaking": False, "chunk_interval": 10, "mode": "offline"}
        ))  # fmt: skip
        assert received(socket)["is_final"] is False  # the client closes at this
    assert house.engine.seconds <= SECONDS  # samples without a header would last twice as long


def test_other_formats_come_as_files(house, address):
    with opened(address) as socket:
        send_as_the_original(socket, wav(), OFFLINE | {"wav_format": "others"})
        assert received(socket)["text"].startswith("你好")
    assert house.engine.seconds == pytest.approx(SECONDS, abs=1)


def test_several_recordings_of_a_connection_are_answered_in_order(house, address):
    with opened(address) as socket:
        send_as_the_original(socket, samples(), OFFLINE | {"wav_name": "long"})
        send_as_the_original(socket, samples()[:64_000], OFFLINE | {"wav_name": "short"})
        send_as_the_original(socket, b"", OFFLINE | {"wav_name": "none"})
        answers = [received(socket) for _ in range(3)]
    assert [answer["wav_name"] for answer in answers] == ["long", "short", "none"]
    assert answers[2] == {"mode": "offline", "text": "", "wav_name": "none", "is_final": False}
    assert house.is_empty()


def test_hotwords_language_and_itn_reach_the_model(house):
    app = funasr_socket.app(house.offers(NANO), lambda _: None)
    with listening(web.Server(app)) as port, opened(f"ws://127.0.0.1:{port}") as socket:
        words = {"hotwords": '{"阿里巴巴": 20}', "svs_lang": "zh", "itn": False}
        send_as_the_original(socket, samples(), OFFLINE | words)
        received(socket)
    options = house.engine.options[0]
    assert (options.hotwords, options.language, options.itn) == (("阿里巴巴",), "zh", False)


GARBAGE = [
    (["hello"], "a text message must be JSON"),
    (["[1]"], "a text message must be a JSON object"),
    ([b"\x00" * 960], 'the first message must be JSON, such as {"mode": "offline", "is_speaking": true}'),
    (['{"mode": "3pass"}'], "mode must be one of offline, online, 2pass"),
    (['{"mode": "offline", "audio_fs": 7}', b"\x00\x00"], "audio_fs: 7 Hz is no sampling rate"),
]


def test_garbage_closes_the_connection_with_a_reason(address):
    for messages, reason in GARBAGE:
        with opened(address) as socket:
            for message in messages:
                socket.send(message)
            assert closed(socket) == (1008, reason)


def test_a_client_that_never_reads_may_have_20_recordings_waiting(house, address):
    house.engine.gate = threading.Semaphore(0)
    with opened(address) as socket:
        for _ in range(21):
            send_as_the_original(socket, samples()[:32_000], OFFLINE)
        assert closed(socket) == (1008, "20 recordings wait for an answer; no more are taken")
    house.engine.gate.release(1000)
    assert house.is_empty()


def test_settings_that_the_model_cannot_meet_are_told_and_end_the_connection(address):
    with opened(address) as socket:
        socket.send(json.dumps(OFFLINE | {"svs_lang": "tlh"}))
        socket.send(b"\x00" * 960)
        answer = received(socket)
        assert (answer["text"][:7], answer["is_final"]) == ("ERROR. ", True)
        code, reason = closed(socket)
    assert (code, reason[:40]) == (1008, answer["text"].removeprefix("ERROR. ")[:40])


def test_a_recording_that_cannot_be_read_is_told_and_the_next_one_is_taken(house, address):
    with opened(address) as socket:
        send_as_the_original(socket, b"no audio at all" * 500, OFFLINE | {"wav_format": "others"})
        answer = received(socket)
        assert (answer["text"][:7], answer["is_final"], "mode" in answer) == ("ERROR. ", True, False)
        send_as_the_original(socket, samples(), OFFLINE)
        assert received(socket)["text"].startswith("你好")
    assert house.is_empty()


def test_a_recording_over_the_limit_ends_the_connection(house, address):
    with opened(address) as socket:
        socket.send(json.dumps(OFFLINE))
        for _ in range(3):
            socket.send(b"\x00" * 2**20)
        assert closed(socket)[1].startswith("The recording has more than 2 MB.")
    assert house.is_empty()


def test_a_client_that_breaks_off_leaves_nothing_behind(house, address):
    with opened(address) as socket:
        socket.send(json.dumps(OFFLINE))
        socket.send(samples())
    assert house.is_empty()  # while it sent

    house.engine.gate = threading.Semaphore(0)
    with opened(address) as socket:
        send_as_the_original(socket, samples(), OFFLINE)
        house.wait_for_a_job()
    house.wait_for_a_cancel()
    house.engine.gate.release(1000)  # a job stops between two chunks
    assert house.is_empty()  # while it waited


# --- who may connect


def test_host_origin_and_key_are_checked(house):
    port = free_port()
    config = SimpleNamespace(host="127.0.0.1", allow_host=["pages.example:1337"], funasr_port=port, wyoming_port=None)
    ports = Ports(house.recognition, config, Login(b"k" * 32, api_keys=(KEY,)))

    def status(query: str = "", **options) -> int:
        try:
            with opened(f"ws://127.0.0.1:{port}/{query}", **options):
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    ports.start()
    try:
        password = base64.b64encode(f"any:{KEY}".encode()).decode()
        assert status() == 401
        assert status(additional_headers={"Authorization": "Bearer wrong"}) == 401
        assert status(additional_headers={"Authorization": "Basic ?"}) == 401
        assert status("?token=wrong") == 401
        assert status(additional_headers={"Authorization": f"Bearer {KEY}"}) == 101
        assert status(additional_headers={"Authorization": f"Basic {password}"}) == 101
        assert status(f"?token={KEY}") == 101
        assert status(f"?token={KEY}", origin="https://pages.example:1337") == 101
        assert status(f"?token={KEY}", origin="https://other.example") == 403
        assert status(f"?token={KEY}", additional_headers={"Host": "evil.example"}) == 400
        # `--host any:KEY@127.0.0.1` makes the original's Python client send its key.
        with opened(f"ws://any:{KEY}@127.0.0.1:{port}"):
            pass
    finally:
        ports.close()

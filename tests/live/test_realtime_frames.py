"""The Realtime API on the product's own listening port, with a fake engine: OpenAI's client, and frames that are no events."""

from __future__ import annotations

import base64
import socket
import threading
import time

import numpy as np
import pytest
from openai import OpenAI
from speech import CARD, Room, talk
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.sync.client import ClientConnection, connect

from asr_app import web
from asr_app.api.models import Chosen
from asr_app.api.realtime import routes as realtime
from asr_app.door import Door
from asr_app.login import Login
from asr_app.precision import Precision

KEY = "0123456789abcdef-key"
BEARER = {"Authorization": f"Bearer {KEY}"}


class Models:
    def find(self, name: str) -> Chosen:
        return Chosen(CARD, Precision.FP32)


@pytest.fixture
def port(monkeypatch):
    """The port of a server behind the door, which asks for a key."""
    room = Room(monkeypatch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    app = Starlette(routes=realtime.routes(room.desk, Models()))
    server = web.Server(Door(app, "127.0.0.1", (), Login(bytes(32), (), (KEY,))))
    server.start("127.0.0.1", number)
    yield number
    server.close()
    room.desk.stop()


def opened(port: int, **settings) -> ClientConnection:
    found = connect(f"ws://127.0.0.1:{port}/v1/realtime?intent=transcription", additional_headers=BEARER, **settings)
    assert "session.created" in found.recv(10)
    return found


def closing(found: ClientConnection) -> Close | None:
    """The frame with which the server closes the socket."""
    while True:
        try:
            found.recv(10)
        except ConnectionClosed as closed:
            return closed.rcvd


def pcm(samples: np.ndarray) -> str:
    return base64.b64encode((samples * 32767).astype("<i2").tobytes()).decode()


def test_openais_client_speaks_with_it(port):
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY)
    with client.realtime.connect(model="whisper-1", extra_query={"intent": "transcription"}) as connection:
        given = {"format": {"type": "audio/pcm", "rate": 16_000}, "turn_detection": None}
        connection.session.update(session={"type": "transcription", "audio": {"input": given}})
        connection.input_audio_buffer.append(audio=pcm(talk("1 2")))
        connection.input_audio_buffer.clear()
        connection.input_audio_buffer.append(audio=pcm(talk("3 4 . 5")))
        connection.input_audio_buffer.commit()
        kinds = []
        while not kinds or not kinds[-1].endswith("completed"):
            event = connection.recv()
            kinds.append(event.type)
        assert event.transcript == "3 4 5"
        assert {
            "session.created",
            "session.updated",
            "input_audio_buffer.cleared",
            "input_audio_buffer.committed",
        } < set(kinds)


@pytest.mark.parametrize(
    ("sent", "as_text", "code"),
    [(b"\0\1", False, 1003), ("x" * ((16 << 20) + 1), None, 1009), (b"\xff\xfe", True, 1007)],
)
def test_frames_that_are_no_events_close_the_socket_with_a_code_and_leave_no_traceback(
    port, caplog, sent, as_text, code
):
    with opened(port) as found:
        found.send(sent, text=as_text)
        closed = closing(found)
        assert closed is not None
        assert closed.code == code
        assert closed.reason or code == 1007
    assert not [record for record in caplog.records if record.exc_info]


def test_a_client_that_goes_without_a_word_leaves_no_traceback(port, caplog):
    found = opened(port)
    found.send(f'{{"type": "input_audio_buffer.append", "audio": "{pcm(talk("1 2"))}"}}')
    found.socket.close()
    time.sleep(0.3)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_client_that_sends_faster_than_speech_loses_nothing(port, monkeypatch):
    """Five minutes at once: more than may wait."""
    with opened(port) as found:
        found.send(
            '{"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}}'
        )
        said = talk("1 2 3 4 5 6 7 8 9 ..")
        count = int(300 * 16_000 / len(said))

        def send() -> None:
            for _ in range(count):
                found.send(f'{{"type": "input_audio_buffer.append", "audio": "{pcm(said)}"}}')

        threading.Thread(target=send, daemon=True).start()
        done = 0
        while done < count:
            event = found.recv(20)
            assert '"error"' not in event, event
            if "transcription.completed" in event:
                assert '"transcript": "1 2 3 4 5 6 7 8 9"' in event
                done += 1

"""The Realtime API over a fake engine: the order of its events, both forms of a session, faults and bounds."""

from __future__ import annotations

import base64
import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from speech import CARD, Room, talk
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from asr_app.api.models import ALIASES, Chosen
from asr_app.api.realtime import connection
from asr_app.api.realtime import routes as realtime
from asr_app.api_errors import ApiError
from asr_app.datatypes import SAMPLE_RATE
from asr_app.live import stream as stream_module
from asr_app.precision import Precision

PATH = "/v1/realtime?intent=transcription"
EVENT = TypeAdapter(RealtimeServerEvent)
TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Models:
    def find(self, name: str) -> Chosen:
        if name not in (*ALIASES, "demo-paraformer@int8"):
            raise ApiError(404, f"There is no model {name!r} here.", "model", "model_not_found")
        return Chosen(CARD, Precision.INT8 if "@" in name else Precision.FP32)


class Session:
    """A client that keeps what it receives, each event checked against the types of OpenAI's own client."""

    def __init__(self, socket) -> None:
        self.socket, self.events = socket, list[dict]()

    def send(self, kind: str, **fields) -> None:
        self.socket.send_text(json.dumps({"type": kind, **fields}))

    def append(self, samples: np.ndarray, rate: int = 24_000) -> None:
        pcm = (np.clip(soxr.resample(samples, SAMPLE_RATE, rate), -1, 1) * 32767).astype("<i2")
        self.send("input_audio_buffer.append", audio=base64.b64encode(pcm.tobytes()).decode())

    def until(self, kind: str) -> dict:
        while True:
            event = self.socket.receive_json()
            if not event["type"].startswith("transcription_session"):
                EVENT.validate_json(
                    json.dumps(event).replace('"rate": 16000', '"rate": 24000')
                )  # the types know one rate
            assert event["event_id"].startswith("event_")
            self.events.append(event)
            if event["type"] == kind:
                return event
            assert event["type"] != "error", event

    def closed(self) -> WebSocketDisconnect:
        while True:
            try:
                self.events.append(self.socket.receive_json())
            except WebSocketDisconnect as closed:
                return closed

    def kinds(self, but: str = "delta") -> list[str]:
        return [event["type"] for event in self.events if not event["type"].endswith(but)]


@pytest.fixture
def room(monkeypatch):
    made = Room(monkeypatch)
    with TestClient(Starlette(routes=realtime.routes(made.desk, Models()))) as client:
        made.client = client
        yield made
    made.engine.gate.release(10**4)
    made.desk.stop()


@pytest.fixture
def session(room):
    with room.client.websocket_connect(PATH) as socket:
        yield Session(socket)


def update(session: Session, **given) -> dict:
    session.send("session.update", session={"type": "transcription", "audio": {"input": given}})
    return session.until("session.updated")["session"]["audio"]["input"]


def test_an_utterance_has_openais_events_in_order(session):
    shown = session.until("session.created")["session"]
    assert (shown["type"], shown["audio"]["input"]["format"]) == (
        "transcription",
        {"type": "audio/pcm", "rate": 24_000},
    )
    session.append(talk("... 1 2 3 ..."))
    done = session.until(f"{TRANSCRIPTION}.completed")
    assert session.kinds() == [
        "session.created", "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed", "conversation.item.added", "conversation.item.done", f"{TRANSCRIPTION}.completed",
    ]  # fmt: skip
    assert done["transcript"] == "1 2 3"
    assert done["usage"]["seconds"] == pytest.approx(1.75, abs=0.1)
    assert {event.get("item_id", done["item_id"]) for event in session.events} == {done["item_id"]}
    (start_ms,) = (event["audio_start_ms"] for event in session.events if "audio_start_ms" in event)
    (end_ms,) = (event["audio_end_ms"] for event in session.events if "audio_end_ms" in event)
    assert (start_ms, end_ms) == (pytest.approx(3 * 384 - 300, abs=70), pytest.approx(6 * 384 + 300, abs=70))

    session.append(talk("4 ..."))
    committed = session.until("input_audio_buffer.committed")
    assert committed["previous_item_id"] == done["item_id"] != committed["item_id"]
    assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "4"


def test_deltas_of_an_item_are_the_start_of_its_transcript(session):
    for word in "123456789":
        session.append(talk(word))
    session.append(talk("..."))
    done = session.until(f"{TRANSCRIPTION}.completed")
    deltas = [event["delta"] for event in session.events if event["type"].endswith("delta")]
    assert "".join(deltas) == done["transcript"] == "1 2 3 4 5 6 7 8 9"


def test_deltas_hold_the_words_on_which_two_partial_texts_agree():
    from asr_app.api.realtime.items import Item

    item = Item()
    assert item.delta("And so my fell") == ""
    assert item.delta("And so my fellow.") == "And so my"
    assert item.delta("And so, my fellow Americans.") == ""
    assert item.delta("And so my fellow Americans, ask") == ""
    assert item.delta("And so my fellow Americans, ask not.") == " fellow Americans, ask"
    assert item.rest("And so my fellow Americans, ask not what") == " not what"
    assert item.rest("And so, my fellow") == ""
    item = Item()
    item.delta("欢迎大家来体验达摩")
    assert item.delta("欢迎大家来体验大模") == "欢迎大家来体验"


def test_a_turn_is_committed_by_the_client(session):
    assert update(session, turn_detection=None)["turn_detection"] is None
    session.append(talk(". 1 2 ... 3 ."))
    session.send("input_audio_buffer.commit")
    first = session.until("input_audio_buffer.committed")["item_id"]
    assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "1 2 3"
    session.append(talk("4"))
    session.send("input_audio_buffer.clear")
    session.until("input_audio_buffer.cleared")
    session.append(talk("5"))
    session.send("input_audio_buffer.commit")
    done = session.until(f"{TRANSCRIPTION}.completed")
    assert (done["transcript"], done["item_id"] == first) == ("5", False)
    assert not [kind for kind in session.kinds() if "speech" in kind]
    session.send("input_audio_buffer.commit", event_id="mine")
    error = session.socket.receive_json()["error"]
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")


def test_a_commit_ends_an_utterance_of_the_vad_and_needs_one(session):
    session.append(talk("1 2"))
    session.until("input_audio_buffer.speech_started")
    session.send("input_audio_buffer.commit")
    assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "1 2"
    session.append(talk("...."))
    session.send("input_audio_buffer.commit")
    assert session.socket.receive_json()["error"]["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_pcm_of_both_rates_has_no_seams(session, room, rate):
    """Pieces of any length give the samples of the whole."""
    update(session, format={"type": "audio/pcm", "rate": rate}, turn_detection=None)
    whole = talk("1 2 3 4 5")
    pcm = (soxr.resample(whole, SAMPLE_RATE, rate) * 32767).astype("<i2")
    taken = []
    feed = stream_module.Stream.feed
    stream_module.Stream.feed = lambda self, samples: taken.append(samples) or feed(self, samples)
    try:
        for piece in np.array_split(pcm, 37):
            session.send("input_audio_buffer.append", audio=base64.b64encode(piece.tobytes()).decode())
        session.send("input_audio_buffer.commit")
        assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "1 2 3 4 5"
    finally:
        stream_module.Stream.feed = feed
    got = np.concatenate(taken)
    wanted = soxr.resample(pcm.astype(np.float32) / 32768, rate, SAMPLE_RATE)[: len(got)]
    assert len(wanted) > len(whole) - 800
    assert np.abs(got - wanted).max() < 1e-3


def test_the_form_of_the_beta_is_taken_too(room):
    with room.client.websocket_connect(PATH, headers={"OpenAI-Beta": "realtime=v1"}) as socket:
        session = Session(socket)
        assert session.until("transcription_session.created")["session"]["input_audio_format"] == "pcm16"
        settings = {
            "input_audio_format": "pcm16", "input_audio_transcription": {"model": "demo-paraformer@int8"},
            "turn_detection": {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 200},
        }  # fmt: skip
        session.send("transcription_session.update", session=settings)
        shown = session.until("transcription_session.updated")["session"]
        assert shown["input_audio_transcription"]["model"] == "demo-paraformer@int8"
        assert shown["turn_detection"] == {
            "type": "server_vad", "threshold": 0.4, "silence_duration_ms": 200, "prefix_padding_ms": 300
        }  # fmt: skip
        session.append(talk("1 . 2 ."))
        session.until(f"{TRANSCRIPTION}.completed")
        assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "2"
        assert "conversation.item.created" in session.kinds()


def test_a_new_setting_holds_for_what_comes_after_it(session):
    session.append(talk("1 2"))
    session.until("input_audio_buffer.speech_started")
    update(session, turn_detection=None)
    assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "1 2"
    session.append(talk("3 ... 4"))
    session.send("input_audio_buffer.commit")
    assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "3 4"


WRONG = [
    ("not JSON", "{", "invalid_json", None),
    ("no object", "[1]", "invalid_json", None),
    ("deep", "[" * 200_000, "invalid_json", None),
    ("no type", "{}", "missing_required_parameter", "type"),
    ("unknown type", {"type": "response.create"}, "invalid_value", "type"),
    ("a type that is no text", {"type": {"a": 1}}, "missing_required_parameter", "type"),
    ("no audio", {"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
    ("no base64", {"type": "input_audio_buffer.append", "audio": "AAAAAAA*A"}, "invalid_value", "audio"),
    ("no ASCII", {"type": "input_audio_buffer.append", "audio": "é"}, "invalid_value", "audio"),
    ("half a sample", {"type": "input_audio_buffer.append", "audio": "AAAA"}, "invalid_value", "audio"),
    ("too long", {"type": "input_audio_buffer.append", "audio": "A" * ((15 << 20) + 4)}, "invalid_value", "audio"),
    ("no session", {"type": "session.update"}, "invalid_type", "session"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "code", "param"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_event_gets_an_error_with_its_reason_and_the_session_goes_on(session, sent, code, param):
    session.until("session.created")
    session.socket.send_text(sent if isinstance(sent, str) else json.dumps(sent))
    event = session.socket.receive_json()
    EVENT.validate_python(event)
    error = event["error"]
    assert (event["type"], error["code"], error["param"]) == ("error", code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    session.append(talk("7 ..."))
    assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "7"


def test_an_error_repeats_little_of_what_was_sent(session):
    session.until("session.created")
    session.send("x" * 10**6, event_id="y" * 10**6)
    assert len(session.socket.receive_text()) < 5000
    session.send("session.update", session={"audio": {"input": {"transcription": {"model": "z" * 10**6}}}})
    assert len(session.socket.receive_text()) < 5000


INPUT = "session.audio.input"
SETTINGS = [
    ({"format": {"type": "audio/pcmu"}}, f"{INPUT}.format"),
    ({"format": {"type": "audio/pcm", "rate": 8000}}, f"{INPUT}.format"),
    ({"format": {"type": "audio/pcm", "rate": [24000]}}, f"{INPUT}.format"),
    ({"transcription": {"model": "gpt-9"}}, f"{INPUT}.transcription.model"),
    ({"transcription": {"model": 7}}, f"{INPUT}.transcription.model"),
    ({"transcription": {"language": "xx"}}, f"{INPUT}.transcription"),
    ({"transcription": {"keywords": "word"}}, f"{INPUT}.transcription.keywords"),
    ({"transcription": "whisper-1"}, f"{INPUT}.transcription"),
    ({"turn_detection": {"type": "semantic_vad"}}, f"{INPUT}.turn_detection.type"),
    ({"turn_detection": {"type": "server_vad", "threshold": 7}}, f"{INPUT}.turn_detection.threshold"),
    ({"turn_detection": {"silence_duration_ms": True}}, f"{INPUT}.turn_detection.silence_duration_ms"),
    ({"turn_detection": []}, f"{INPUT}.turn_detection"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "param"), SETTINGS)
def test_a_wrong_setting_is_named(session, given, param):
    session.until("session.created")
    session.send("session.update", session={"type": "transcription", "audio": {"input": given}})
    event = session.socket.receive_json()
    assert (event["type"], event["error"]["param"]) == ("error", param)


def test_another_kind_of_session_is_refused(room, session):
    session.until("session.created")
    session.send("session.update", session={"type": "realtime"})
    assert session.socket.receive_json()["error"]["param"] == "session.type"
    for path, param in (("/v1/realtime", "intent"), (f"{PATH}&model=gpt-9", "model")):
        with room.client.websocket_connect(path) as socket:
            refused = Session(socket)
            assert refused.closed().code == 1008
            assert refused.events[0]["error"]["param"] == param


def test_bytes_close_the_socket(session):
    session.until("session.created")
    session.socket.send_bytes(b"\0\1")
    closed = session.closed()
    assert (closed.code, session.events[-1]["error"]["code"]) == (1003, "protocol_error")
    assert "base64" in closed.reason


def test_nonsense_without_end_closes_the_socket(session):
    session.until("session.created")
    for _ in range(20):
        session.socket.send_text("nonsense")
    assert session.closed().code == 1008
    assert len(session.events) == 1 + 20 + 1


def test_a_client_that_does_nothing_is_let_go(room, monkeypatch):
    monkeypatch.setattr(connection, "IDLE_S", 0.1)
    with room.client.websocket_connect(PATH) as socket:
        session = Session(socket)
        assert session.closed().code == 1008
        assert session.events[-1]["error"]["code"] == "session_idle"


def test_the_sessions_of_a_client_are_counted(room, monkeypatch):
    monkeypatch.setattr(realtime, "MOST_OF_A_CLIENT", 1)
    for _ in range(2):
        with room.client.websocket_connect(PATH) as socket:
            Session(socket).until("session.created")
            with room.client.websocket_connect(PATH) as second:
                refused = Session(second)
                assert refused.closed().code == 1013
                assert refused.events[0]["error"]["code"] == "rate_limit_exceeded"


def test_more_than_can_be_recognised_ends_the_session_with_the_reason(session, room, monkeypatch):
    monkeypatch.setattr(connection, "_ROOM_WITHIN_S", 0.0)
    room.engine.gate = SimpleNamespace(acquire=lambda: room.engine.held.wait(20), release=lambda _: None)
    room.engine.held = threading.Event()
    for _ in range(20):
        session.append(talk("1 2 3 4 5 6 7 8 9" * 3))
    closed = session.closed()
    room.engine.held.set()
    assert closed.code == 1008
    assert "faster" in session.events[-1]["error"]["message"]


def test_a_turn_that_is_never_committed_gets_an_error_and_the_next_one_is_whole(session, monkeypatch):
    monkeypatch.setattr(stream_module, "MOST_UNCOMMITTED_S", 3.0)
    update(session, turn_detection=None)
    session.append(talk("1 2 ......"))
    while (event := session.socket.receive_json())["type"] != "error":
        assert event["type"].endswith("delta")
    assert event["error"]["code"] == "input_audio_buffer_too_long"
    session.append(talk("3 4"))
    session.send("input_audio_buffer.commit")
    assert session.until(f"{TRANSCRIPTION}.completed")["transcript"] == "3 4"


def test_a_client_that_has_gone_leaves_no_stream(room):
    with room.client.websocket_connect(PATH) as socket:
        session = Session(socket)
        session.append(talk("1 2"))
        session.until("input_audio_buffer.speech_started")
    for _ in range(200):
        if room.desk.is_idle:
            return
        time.sleep(0.01)
    raise AssertionError("the stream is still open")


def test_a_failed_utterance_is_told(session, room):
    session.until("session.created")
    room.engine.breaks = True
    session.append(talk("1 ..."))
    failed = session.until(f"{TRANSCRIPTION}.failed")
    assert "ValueError" in failed["error"]["message"]

"""OpenAI's own client over a websocket of the real server: Whisper base at lite on a real recording."""

from __future__ import annotations

import base64
import threading
import time

import numpy as np
import pytest
import soundfile
import soxr
from conftest import DATA, MODELS, serving
from openai import OpenAI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = [
    pytest.mark.timeout(480),
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="no real recordings here"),
]
KEY = "0123456789abcdef-key"
JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.fixture(scope="module")
def server(tmp_path_factory, whisper_base):
    """The address and the log of a server that asks for a key."""
    home = tmp_path_factory.mktemp("realtime")
    wheels = {"PIP_FIND_LINKS": str(MODELS), "PIP_NO_INDEX": "1"} if MODELS.is_dir() else {}
    with serving(home, "--lite", model="whisper-base", token=True, ASR_API_KEY=KEY, **wheels) as (address, _):
        yield address.split("?")[0].rstrip("/"), home / "server.log"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """`jfk.flac`, and a second of silence, as 16-bit samples at 24 kHz."""
    samples, rate = soundfile.read(DATA / "clips" / "jfk.flac", dtype="float32", always_2d=True)
    at_24k = np.concatenate([soxr.resample(samples.mean(1), rate, 24_000), np.zeros(24_000, np.float32)])
    return (at_24k * 32767).astype("<i2")


def words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalnum() or c == " ").split()


def test_openais_client_gets_the_words_of_a_real_recording(server, speech):
    client = OpenAI(base_url=f"{server[0]}/v1", api_key=KEY)
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        assert connection.recv().type == "session.created"
        given = {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": "whisper-base@int8", "language": "en"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 900},
        }
        connection.session.update(session={"type": "transcription", "audio": {"input": given}})
        assert connection.recv().session.audio.input.transcription.model == "whisper-base@int8"

        def send() -> None:
            for piece in np.array_split(speech, 120):
                connection.input_audio_buffer.append(audio=base64.b64encode(piece.tobytes()).decode())
                time.sleep(0.04)  # twice as fast as speech

        threading.Thread(target=send, daemon=True).start()
        events, texts = [], []
        while len(words(" ".join(texts))) < len(words(JFK)):
            event = connection.recv()
            assert event.type != "error", event
            events.append(event.type)
            if event.type == f"{TRANSCRIPTION}.completed":
                texts.append(event.transcript)
        assert words(" ".join(texts)) == words(JFK)
        order = [
            "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
            "conversation.item.added", f"{TRANSCRIPTION}.completed",
        ]  # fmt: skip
        assert [events.index(kind) for kind in order] == sorted(events.index(kind) for kind in order)
        assert events.index(f"{TRANSCRIPTION}.delta") < events.index(f"{TRANSCRIPTION}.completed")


def test_a_socket_without_the_key_is_refused(server):
    with pytest.raises(InvalidStatus) as refused, connect(f"ws{server[0].removeprefix('http')}/v1/realtime"):
        pass
    assert refused.value.response.status_code == 401
    assert "Traceback" not in server[1].read_text()


def test_a_turn_of_the_client_at_16_khz(server, speech):
    at_16k = (soxr.resample(speech.astype(np.float32) / 32768, 24_000, 16_000) * 32767).astype("<i2")
    client = OpenAI(base_url=f"{server[0]}/v1", api_key=KEY)
    with client.realtime.connect(model="whisper-base@int8", extra_query={"intent": "transcription"}) as connection:
        given = {"format": {"type": "audio/pcm", "rate": 16_000}, "turn_detection": None}
        connection.session.update(session={"type": "transcription", "audio": {"input": given}})
        connection.input_audio_buffer.append(audio=base64.b64encode(at_16k.tobytes()).decode())
        connection.input_audio_buffer.commit()
        while (event := connection.recv()).type != f"{TRANSCRIPTION}.completed":
            assert event.type != "error", event
        assert words(event.transcript) == words(JFK)

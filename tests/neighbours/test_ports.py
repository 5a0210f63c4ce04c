"""The flags of the ports, and the doors of the real server with a key."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from conftest import DATA, EXAMPLE, serving
from speaking import House, free_port, house  # noqa: F401
from websockets.sync.client import connect
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient

from asr_app import config
from asr_app.audio import decode
from asr_app.errors import UserError
from asr_app.neighbours.ports import Ports

KEY = "0123456789abcdef-key"
PATIENCE_S = 240  # the first request waits for the model
CLIP = EXAMPLE / "mandarin-home.wav"


def test_the_ports_are_off_unless_asked_for():
    assert (config.parse([]).funasr_port, config.parse([]).wyoming_port) == (None, None)
    parsed = config.parse(["--funasr-port", "10095", "--wyoming-port", "10300"])
    assert (parsed.funasr_port, parsed.wyoming_port) == (10095, 10300)


def test_ports_that_cannot_be_are_refused():
    for flags in (["--funasr-port", "70000"], ["--wyoming-port", "0"], ["--port", "x"], ["--funasr-port", "-1"]):
        with pytest.raises(UserError, match=flags[0]):
            config.parse(flags)
    with pytest.raises(UserError, match="same port"):
        config.parse(["--funasr-port", "6006"])


def test_wyoming_has_no_keys_so_other_machines_are_let_in_only_on_purpose():
    for host in ("0.0.0.0", "box.example"):  # noqa: S104
        with pytest.raises(UserError, match="--insecure"):
            config.parse(["--host", host, "--wyoming-port", "10300"])
        assert config.parse(["--host", host, "--wyoming-port", "10300", "--insecure"]).wyoming_port == 10300
        assert config.parse(["--host", host, "--funasr-port", "10095"]).funasr_port == 10095  # it asks for the key


def test_a_port_in_use_is_told_with_its_flag(house: House):
    taken = free_port()
    settings = {"host": "127.0.0.1", "allow_host": [], "funasr_port": None, "wyoming_port": taken}
    first = Ports(house.recognition, SimpleNamespace(**settings), None)
    first.start()
    try:
        for flag in ("wyoming", "funasr"):
            other = settings | {"wyoming_port": None, f"{flag}_port": taken}
            with pytest.raises(UserError, match=f"--{flag}-port"):
                Ports(house.recognition, SimpleNamespace(**other), None).start()
    finally:
        first.close()


# --- the real server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address, the two ports and the home of a server that asks for a key."""
    home, funasr, wyoming = tmp_path_factory.mktemp("doors"), free_port(), free_port()
    flags = ("--funasr-port", str(funasr), "--wyoming-port", str(wyoming))
    with serving(home, *flags, token=True, ASR_API_KEY=KEY) as (address, _):
        yield SimpleNamespace(address=address.split("?")[0].rstrip("/"), funasr=funasr, wyoming=wyoming, home=home)


def samples(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        return file.readframes(file.getnframes())


def over_funasr(port: int, audio: bytes, mode: str) -> tuple[str, str]:
    """The text that FunASR's own Python client shows, and that of the provisional results."""
    fixed = provisional = ""
    with connect(f"ws://any:{KEY}@127.0.0.1:{port}", subprotocols=["binary"], ping_interval=None) as socket:
        first = {"mode": mode, "chunk_size": [5, 10, 5], "chunk_interval": 10, "wav_name": "a", "is_speaking": True}
        socket.send(json.dumps(first))
        for start in range(0, len(audio), 1920):
            socket.send(audio[start : start + 1920])
            time.sleep(0.06 if mode == "2pass" else 0)  # as fast as it was spoken
        socket.send('{"is_speaking": false}')
        while True:
            message = json.loads(socket.recv(timeout=PATIENCE_S))
            assert message["text"][:5] != "ERROR"
            if "online" in message["mode"]:
                provisional += message["text"]
            else:
                fixed += message["text"]
            if message["is_final"] or mode == "offline":
                return fixed, provisional


def over_wyoming(port: int, audio: bytes) -> str:
    async def ask() -> str:
        form = {"rate": 16_000, "width": 2, "channels": 1}
        async with AsyncTcpClient("127.0.0.1", port, read_timeout=PATIENCE_S) as client:
            await client.write_event(Transcribe(language="zh").event())
            await client.write_event(AudioStart(**form).event())
            for start in range(0, len(audio), 2048):
                await client.write_event(AudioChunk(**form, audio=audio[start : start + 2048]).event())
            await client.write_event(AudioStop().event())
            while (event := await client.read_event()).type != "transcript":
                pass
            return event.data["text"]

    with ThreadPoolExecutor(1) as pool:  # Playwright's loop may be running in this thread
        return pool.submit(asyncio.run, ask()).result()


@pytest.mark.models
def test_every_door_gives_the_text_and_keeps_nothing(server, expected):
    text, audio = expected[CLIP.name]["text"], samples(CLIP)
    asr = f"{server.address}/asr"
    assert requests.post(asr, files={"file": CLIP.open("rb")}, timeout=PATIENCE_S).status_code == 401
    with_key = asr.replace("//", f"//any:{KEY}@")
    funasr = requests.post(with_key, files={"file": CLIP.open("rb")}, timeout=PATIENCE_S).json()
    assert (funasr["text"], funasr["duration"]) == (text, pytest.approx(13.69))
    query = {"encode": "false", "output": "txt"}
    bazarr = requests.post(with_key, params=query, files={"audio_file": audio}, timeout=PATIENCE_S)
    assert "".join(bazarr.text.split()) == text
    assert over_funasr(server.funasr, audio, "offline")[0] == text
    assert over_wyoming(server.wyoming, audio) == text
    with closing(sqlite3.connect(server.home / "journal.sqlite3")) as db:
        assert db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0] == 0
    left = [p for name in ("recordings", "uploads") for p in (server.home / name).rglob("*") if p.is_file()]
    assert left == []
    assert KEY not in (server.home / "server.log").read_text()


@pytest.mark.models
def test_two_passes_show_the_text_while_it_is_spoken(server, expected):
    """The first 6 s. Live utterances end at pauses, and may be cut in other places than those of a job."""
    fixed, provisional = over_funasr(server.funasr, samples(CLIP)[: 6 * 32_000], "2pass")
    letters = [c for c in fixed if c.isalnum()]
    wanted = [c for c in expected[CLIP.name]["text"] if c.isalnum()]
    assert len(letters) >= 10
    assert sum(a == b for a, b in zip(letters, wanted, strict=False)) >= 0.8 * len(letters)
    assert provisional


@pytest.mark.slow
@pytest.mark.models
def test_another_programs_client_of_the_protocol(server, tmp_path, expected):
    """funasr-client 0.1.6, by https://github.com/atomiechen: it sends a file as fast as the socket takes it.

    Its asyncio half, since the other one waits at the end for a lock that it holds itself.
    """
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path), "funasr-client==0.1.6"],
        check=True,
    )  # fmt: skip
    asks = (
        "import asyncio, sys; from funasr_client import async_file_asr_stream, merge_messages\n"
        "async def messages(): return [m async for m in async_file_asr_stream(sys.argv[2], sys.argv[1], mode='2pass')]\n"
        "told = asyncio.run(messages())\n"
        "print(merge_messages(told)['text'], told[-1]['is_final'], 'stamp_sents' in merge_messages(told))"
    )
    address = f"ws://any:{KEY}@127.0.0.1:{server.funasr}"
    command = [sys.executable, "-c", asks, address, str(CLIP)]
    said = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, check=True, capture_output=True, text=True, timeout=120
    ).stdout
    text, is_final, has_times = said.split()
    assert abs(len(text) - len(expected[CLIP.name]["text"])) <= 4
    assert (is_final, has_times) == ("True", "True")


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="no real recordings")
def test_real_speech_and_real_weights(whisper_base, tmp_path):
    """Whisper base at lite on the doors, and the language of a recording."""
    funasr, wyoming = free_port(), free_port()
    flags = ("--lite", "--funasr-port", str(funasr), "--wyoming-port", str(wyoming))
    clip = DATA / "clips" / "jfk.flac"
    with serving(tmp_path, *flags, model="whisper-base", ASR_API_KEY=KEY) as (address, _):
        query = {"output": "json", "word_timestamps": "true", "language": "en"}
        said = requests.post(f"{address}asr", params=query, files={"audio_file": clip.open("rb")}, timeout=300).json()
        assert "ask not what your country can do for you" in said["text"]
        assert (said["language"], said["segments"][0]["words"][0]["word"]) == ("en", "And")
        detected = requests.post(f"{address}detect-language", files={"audio_file": clip.open("rb")}, timeout=300)
        assert detected.json()["detected_language"] == "english"
        sound = (decode(clip).samples * 32767).astype("<i2").tobytes()
        fixed, provisional = over_funasr(funasr, sound, "2pass")
        assert "ask what you can do for your country" in fixed.lower()
        assert provisional.lower().split()[:3] == ["and", "so", "my"]

"""The API on Ray Serve: the local server's answers, the same door, and nothing lost or doubled when a replica is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import soundfile
from conftest import EXAMPLE, ROOT, serving
from openai import APIStatusError, OpenAI

# Ray is no requirement: `pip install "ray[serve]==2.60.0"`, then `-m slow`.
pytestmark = [pytest.mark.slow, pytest.mark.models]

CLIP, KEY = EXAMPLE / "mandarin-home.wav", "0123456789abcdef"


@contextmanager
def on_ray(home: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """`serve --engine ray` with two replicas on a cluster of its own; yields its address once one is ready."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ASR_", "RAY_"))}
    env |= {"ASR_HOME": str(home), "ASR_CACHE": os.environ["ASR_CACHE"], "ASR_API_KEY": KEY, "RAY_ADDRESS": "local"}
    command = ["serve", "--engine", "ray", "--port", str(port), "--replicas", "2", "--model", "demo-paraformer"]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "asr_app", *command, *flags], cwd=ROOT, env=env, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or replied(f"{address}/readyz") == 200, 300)
        assert process.poll() is None, (home / "server.log").read_text()
        yield address, process
    finally:
        process.terminate()
        process.wait(60)


def replied(address: str, **how) -> int:
    try:
        return requests.get(address, timeout=5, **how).status_code
    except requests.ConnectionError:
        return 0


def until(is_so, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def replica_pids(process: subprocess.Popen) -> list[int]:
    """The processes of the replicas, the first of them first."""
    return sorted(
        child.pid
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ServeReplica" in " ".join(child.cmdline())
    )


@pytest.fixture(scope="module")
def ray_server(tmp_path_factory):
    pytest.importorskip("ray", reason="Ray is not installed")
    home = tmp_path_factory.mktemp("ray-api")
    with on_ray(home) as (address, process):
        yield address, process, home


@pytest.fixture(scope="module")
def client(ray_server):
    return OpenAI(base_url=f"{ray_server[0]}/v1", api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory) -> Path:
    """The clip twelve times, with pauses: many chunks, each with the same text."""
    samples, rate = soundfile.read(CLIP)
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.tile(np.concatenate([samples, np.zeros(2 * rate)]), 12), rate)
    return path


def answers(client: OpenAI) -> list:
    def ask(clip: str = CLIP.name, **fields):
        with (EXAMPLE / clip).open("rb") as file:
            return client.audio.transcriptions.create(file=file, model="demo-paraformer@int8", **fields)

    words = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"]).to_dict()
    streamed = [event.to_dict() for event in ask(stream=True)]
    clips = [ask(path.name).text for path in sorted(EXAMPLE.glob("*.flac"))]
    return [ask().to_dict(), ask(response_format="srt"), ask(response_format="vtt"), words, streamed, clips]


def test_the_answers_are_those_of_the_local_server(client, tmp_path):
    with serving(tmp_path, token=True, ASR_API_KEY=KEY) as (address, _):
        local = OpenAI(base_url=f"{address.split('?')[0]}v1", api_key=KEY, max_retries=0)
        assert answers(client) == answers(local)
        assert [m.id for m in client.models.list()] == [m.id for m in local.models.list()]


def test_the_door_is_the_same(ray_server):
    address, _, home = ray_server
    key = {"Authorization": f"Bearer {KEY}"}
    assert replied(f"{address}/healthz") == 200
    assert replied(f"{address}/v1/models", headers=key) == 200
    assert replied(f"{address}/v1/models") == 401
    assert replied(f"{address}/v1/models", headers=key | {"Host": "evil.example"}) == 400
    assert replied(f"{address}/v1/models", headers=key | {"Origin": "http://evil.example"}) == 403
    assert replied(f"{address}/-/routes", headers=key) == 404
    token = re.search(r"--api-keys: (\w+)", (home / "server.log").read_text())[1]
    assert replied(f"{address}/v1/models", headers={"Authorization": f"Bearer {token}"}) == 200


def test_what_is_no_recording_is_refused_in_openais_form(client):
    for content in (b"", b"no audio at all"):
        with pytest.raises(APIStatusError) as refused:
            client.audio.transcriptions.create(file=("a.wav", content), model="whisper-1")
        assert (refused.value.status_code, refused.value.param) == (415, "file")


def test_nothing_is_lost_or_doubled_when_a_replica_is_killed(client, ray_server, long_clip):
    _, process, home = ray_server

    def ask(_: int):
        with long_clip.open("rb") as file:
            return client.audio.transcriptions.create(file=file, model="whisper-1", response_format="verbose_json")

    whole = ask(0)
    before = replica_pids(process)
    assert len(before) == 2
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, n) for n in range(4)]
        until(lambda: chunks(home) >= 6, 60)
        os.kill(before[0], signal.SIGKILL)
        texts = [one.result() for one in asked]
    assert [one.text for one in texts] == [whole.text] * 4
    assert [[s.start for s in one.segments] for one in texts] == [[s.start for s in whole.segments]] * 4
    assert "a replica was lost while it worked on a job" in (home / "server.log").read_text()
    until(lambda: len(replica_pids(process)) == 2, 60)  # another one takes its place
    assert before[0] not in replica_pids(process)
    with closing(sqlite3.connect(home / "journal.sqlite3")) as db:
        assert db.execute("SELECT (SELECT COUNT(*) FROM jobs), (SELECT COUNT(*) FROM segments)").fetchone() == (0, 0)
    assert not list((home / "replicas").rglob("recording*"))


def chunks(home: Path) -> int:
    with closing(sqlite3.connect(home / "journal.sqlite3")) as db:
        return db.execute("SELECT COUNT(*) FROM segments").fetchone()[0]


def test_too_many_jobs_get_503_and_the_end_leaves_no_process(tmp_path, long_clip):
    pytest.importorskip("ray", reason="Ray is not installed")
    with on_ray(tmp_path, "--max-queued", "1") as (address, process):
        children = psutil.Process(process.pid).children(recursive=True)

        def ask(_: int) -> requests.Response:
            with long_clip.open("rb") as file:
                key = {"Authorization": f"Bearer {KEY}"}
                return requests.post(
                    f"{address}/v1/audio/transcriptions", headers=key, files={"file": file}, timeout=120
                )

        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(ask, range(8)))
        refused = [reply for reply in replies if reply.status_code == 503]
        assert {reply.status_code for reply in replies} == {200, 503}
        assert {reply.headers["Retry-After"] for reply in refused} == {"10"}
        assert {reply.json()["error"]["code"] for reply in refused} == {"overloaded"}
    assert process.returncode == 0
    until(lambda: not any(child.is_running() for child in children), 30)

"""Probes answer while the server recognises; metrics count what ended and what is loaded."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest
import requests
from conftest import EXAMPLE, serving
from fakes import jobs, recording, submit, wait  # noqa: F401 (fixtures)
from fastapi import FastAPI
from starlette.testclient import TestClient

from asr_app import catalog, web
from asr_app.api import health
from asr_app.errors import UserError
from asr_app.startup import Preparer


class NoEngines:
    def __init__(self) -> None:
        self.loaded, self.resting = [], None

    def resident(self):
        return self.loaded


@pytest.fixture
def probed(jobs):
    engines = NoEngines()
    preparer = Preparer(engines, catalog.CARDS[catalog.DEFAULT], catalog.CARDS[catalog.FALLBACK])
    return TestClient(FastAPI(routes=health.routes(jobs, engines, lambda: preparer.stage))), engines


def test_a_server_is_ready_once_a_model_is_loaded_and_the_journal_can_be_written(probed, jobs):
    client, engines = probed
    assert client.get("/healthz").text == "ok"
    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json()["stage"] == "no model"
    engines.resting = object()  # unloaded by --idle-minutes or by a benchmark
    assert client.get("/readyz").json() == {"ready": True}
    engines.loaded, engines.resting = [object()], None
    assert client.get("/readyz").json() == {"ready": True}
    jobs.journal.trouble = UserError("The disk is full.", "磁盘已满。")
    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json()["error"] == "The disk is full."


def test_metrics_count_jobs_and_their_audio(probed, jobs, recording):
    client, _ = probed
    waiting = submit(jobs, recording)
    assert 'asr_jobs{state="queued"} 1.0' in client.get("/metrics").text
    jobs.start()
    wait(jobs, waiting, lambda view: view.finished)
    text = client.get("/metrics").text
    assert 'asr_jobs_ended_total{state="done"} 1.0' in text
    (seconds,) = [float(line.split()[1]) for line in text.splitlines() if line.startswith("asr_audio_seconds_total ")]
    assert seconds > 1
    assert "process_resident_memory_bytes" in text


def test_an_answer_on_a_kept_connection_does_not_wait_for_an_acknowledgement(probed):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = web.Server(probed[0].app)
    server.start("127.0.0.1", port)
    connection, times = http.client.HTTPConnection("127.0.0.1", port, timeout=10), []
    try:
        for _ in range(40):
            began = time.perf_counter()
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok"
            times.append(time.perf_counter() - began)
    finally:
        connection.close()
        server.close()
    assert min(times[20:]) < 0.03  # 0.04 with Nagle's algorithm, once the connection's first segments are over


@pytest.mark.models
def test_the_probe_answers_in_a_tenth_of_a_second_while_the_server_recognises(tmp_path):
    with serving(tmp_path, token=True, ASR_API_KEY="0123456789abcdef") as (address, _):
        address = address.split("?")[0]
        headers = {"Authorization": "Bearer 0123456789abcdef"}

        def recognise() -> None:
            with (EXAMPLE / "mandarin-home.wav").open("rb") as file:
                requests.post(f"{address}v1/audio/transcriptions", headers=headers, files={"file": file}, timeout=120)

        work = threading.Thread(target=recognise)
        work.start()
        slowest = 0.0
        while work.is_alive():
            began = time.perf_counter()
            assert requests.get(f"{address}healthz", timeout=10).text == "ok"
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.02)
        work.join()
        assert requests.get(f"{address}readyz", timeout=10).status_code == 200
        assert requests.get(f"{address}metrics", timeout=10).status_code == 401
        text = requests.get(f"{address}metrics", headers=headers, timeout=10).text
        assert 'asr_model_weights_bytes{dtypes="FP32",model="demo-paraformer",precision="fp32"}' in text
        assert 'asr_jobs_ended_total{state="done"} 1.0' in text
        print(f"slowest answer {1000 * slowest:.0f} ms")

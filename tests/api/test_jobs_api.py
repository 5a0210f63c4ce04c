"""Jobs over HTTP without a model: submit, listen, pause, continue, fetch, delete."""

from __future__ import annotations

import json
import sqlite3
import threading

import pytest
from fakes import jobs, recording, wait  # noqa: F401 (fixtures)
from fastapi import FastAPI
from starlette.testclient import TestClient

from asr_app import catalog
from asr_app.api import jobs as job_api
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.webhooks import Webhooks
from asr_app.audio import Limits
from asr_app.database import unusable
from asr_app.datatypes import Options
from asr_app.errors import NoRoom, QueueFull, TooLarge, UserError
from asr_app.precision import Precision


@pytest.fixture
def client(jobs):
    offered = Offered(jobs._worker._engines, catalog.find("demo-paraformer"), lite=False, picked=None)
    return TestClient(FastAPI(routes=job_api.routes(jobs, Intake(jobs, offered), Webhooks(jobs.journal, None))))


def submit(client: TestClient, recording, **fields: str):
    with recording.open("rb") as file:
        return client.post("/v1/jobs", files={"file": ("talk é.wav", file)}, data=fields)


def events(client: TestClient, job: str) -> list[tuple[str, dict]]:
    said = []
    for block in client.get(f"/v1/jobs/{job}/events").text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        said.append((fields["event"], json.loads(fields["data"])))
    return said


def test_a_job_from_its_submission_to_its_deletion(client, jobs, recording):
    answer = submit(client, recording, voice="alloy")
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    assert answer.headers["x-asr-ignored"] == "voice"
    assert (answer.json()["status"], answer.json()["file"]) == ("queued", "talk é.wav")
    early = client.get(f"/v1/jobs/{job}/transcript")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "not_done")
    assert client.delete(f"/v1/jobs/{job}").status_code == 409
    jobs.start()
    said = events(client, job)
    assert said[-1][0] == "state"
    assert said[-1][1]["status"] == "done"
    texts = [data["text"] for kind, data in said if kind == "segment"]
    whole = client.get(f"/v1/jobs/{job}/transcript").json()
    assert texts == [segment["text"] for segment in whole["segments"]]
    assert len(texts) > 3
    assert client.get(f"/v1/jobs/{job}/transcript?format=srt").text.startswith("1\n00:00:00")
    assert client.get(f"/v1/jobs/{job}/transcript?format=odt").status_code == 400
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    for answer in (
        client.get(f"/v1/jobs/{job}"),
        client.delete(f"/v1/jobs/{job}"),
        client.get(f"/v1/jobs/{job}/events"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")


def test_pause_continue_and_cancel(client, jobs, recording):
    engine = jobs._worker._engines.engine
    engine.gate = threading.Semaphore(2)
    job = submit(client, recording).json()["id"]
    jobs.start()
    wait(jobs, job, lambda view: len(view.segments) >= 2)
    client.post(f"/v1/jobs/{job}/pause")
    engine.gate.release(1)
    wait(jobs, job, lambda view: view.state == "paused")
    assert client.get(f"/v1/jobs/{job}").json()["status"] == "paused"
    engine.gate.release(10**6)
    assert client.post(f"/v1/jobs/{job}/continue").json()["status"] in ("queued", "running", "done")
    wait(jobs, job, lambda view: view.state == "done")
    other = submit(client, recording).json()["id"]
    client.post(f"/v1/jobs/{other}/cancel")
    assert wait(jobs, other, lambda view: view.finished).state in ("cancelled", "done")
    assert client.post(f"/v1/jobs/{other}/explode").status_code == 422


def test_who_has_twenty_jobs_waiting_is_told_when_to_try_again(client, recording):
    for _ in range(20):
        assert submit(client, recording).status_code == 202
    answer = submit(client, recording)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    assert answer.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(("error", "status", "retry"), [
    (QueueFull("Wait.", "请等待。"), 429, "10"), (TooLarge("Split it.", "请拆分。"), 413, None),
    (NoRoom("Full.", "已满。"), 507, None), (UserError("Locked.", "已锁定。"), 503, None),
])  # fmt: skip
def test_a_recording_that_is_not_taken_is_answered_by_its_reason(
    client, jobs, recording, monkeypatch, error, status, retry
):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(jobs, "submit", refuse)
    answer = submit(client, recording)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry)
    assert answer.json()["error"]["message"] == error.en
    assert not list(jobs.journal.storage.uploads.iterdir())


def test_a_file_that_is_too_large_and_a_full_disk_have_kinds_of_their_own(jobs, recording, tmp_path):
    jobs._limits = Limits(max_bytes=10)
    with pytest.raises(TooLarge):
        jobs.submit(recording, "a.wav", "demo-paraformer", Precision.FP32, Options())
    full = sqlite3.OperationalError("database or disk is full")
    assert type(unusable(full)) is UserError
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert type(unusable(full)) is NoRoom


@pytest.mark.parametrize("body", [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n"])
def test_a_body_that_is_no_form_is_refused(client, body):
    answer = client.post("/v1/jobs", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"

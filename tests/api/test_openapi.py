"""The description of the API: every route, every field, and types that real answers fit into."""

from __future__ import annotations

import json
import re

import pytest
from fakes import jobs, recording, wait  # noqa: F401 (fixtures)
from fastapi import FastAPI
from starlette.testclient import TestClient

from asr_app import catalog
from asr_app.api import answers, contract, fields, openapi
from asr_app.api import jobs as job_api
from asr_app.api import routes as api
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.webhooks import Webhooks


@pytest.fixture
def client(jobs):
    offered = Offered(jobs._worker._engines, catalog.find("demo-paraformer"), lite=False, picked=None)
    intake = Intake(jobs, offered)
    described = [*api.routes(jobs, offered, intake), *job_api.routes(jobs, intake, Webhooks(jobs.journal, None))]
    jobs.start()
    return TestClient(FastAPI(routes=[*described, *openapi.routes(described)]), root_path="/asr")


def test_every_route_is_described_with_its_key_and_its_errors(client):
    made = client.get("/openapi.json").json()
    assert set(made["paths"]) == {
        "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models", "/v1/models/{name}", "/v1/jobs",
        "/v1/jobs/{job}", "/v1/jobs/{job}/events", "/v1/jobs/{job}/transcript", "/v1/jobs/{job}/{action}",
    }  # fmt: skip
    assert made["servers"] == [{"url": "/asr"}]
    assert made["security"] == [{"key": []}]
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(made)))
    assert references == set(made["components"]["schemas"])
    submit = made["paths"]["/v1/jobs"]["post"]["responses"]
    assert submit["202"]["content"]["application/json"]["schema"]["$ref"].endswith("/Job")
    assert {"400", "401", "413", "429", "507"} <= set(submit)


def test_the_forms_have_the_fields_that_are_read():
    assert set(contract.TranscriptionForm.model_fields) == set(fields._KNOWN)
    assert set(contract.JobForm.model_fields) - {"webhook"} < set(fields._KNOWN)


def test_real_answers_fit_their_types(client, jobs, recording):
    def send(path: str, **given: str):
        with recording.open("rb") as file:
            return client.post(path, files={"file": ("a.wav", file)}, data=given)

    contract.Transcription.model_validate(send("/v1/audio/transcriptions").json())
    verbose = send("/v1/audio/transcriptions", response_format="verbose_json", timestamp_granularities="word").json()
    assert contract.Verbose.model_validate(verbose).words
    verbose = send("/v1/audio/transcriptions", response_format="verbose_json").json()
    assert contract.Verbose.model_validate(verbose).segments
    job = contract.Job.model_validate(send("/v1/jobs").json()).id
    done = wait(jobs, job, lambda view: view.finished)
    contract.Job.model_validate(client.get(f"/v1/jobs/{job}").json())
    contract.Transcript.model_validate(client.get(f"/v1/jobs/{job}/transcript").json())
    contract.Error.model_validate(client.get(f"/v1/jobs/{job}/transcript?format=odt").json())
    contract.ModelList.model_validate(client.get("/v1/models").json())
    contract.Model.model_validate(client.get("/v1/models/whisper-1").json())
    contract.Transcription.model_validate(answers.plain(done.transcript, logprobs=True))


def test_people_read_it_as_a_page_without_scripts(client):
    answer = client.get("/docs/api")
    for said in ("POST /v1/jobs", "webhook", "GET /v1/jobs/{job}/transcript", "vtt-words", "id='Verbose'"):
        assert said in answer.text
    assert "<script" not in answer.text
    assert "script" not in answer.headers["content-security-policy"]

"""`serve` without Ray: its flags, the shares of replicas, a replica as a plain object, and the loss of one."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakeEngines, recording, submit, wait  # noqa: F401 (fixture)
from fastapi import FastAPI
from starlette.testclient import TestClient

from asr_app import catalog, cli, ray_cluster
from asr_app.api import jobs as job_api
from asr_app.api import routes
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.webhooks import Webhooks
from asr_app.api_errors import ApiError
from asr_app.audio import Limits
from asr_app.cluster import replica as replica_module
from asr_app.cluster.arguments import Replicas
from asr_app.cluster.deployment import shares
from asr_app.cluster.replica import Replica
from asr_app.cluster.server import admit
from asr_app.cluster.worker import ReplicaWorker
from asr_app.datatypes import Transcript
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.precision import Precision
from asr_app.stopping import Stop
from asr_app.work import Before, Step


class LostActor(Exception):
    pass


@pytest.fixture
def ray(monkeypatch):
    """Ray's `put` and its exception, without Ray."""
    fake = SimpleNamespace(put=lambda value: value, exceptions=SimpleNamespace(RayActorError=LostActor))
    monkeypatch.setattr(ray_cluster, "imported", lambda: fake)
    return fake


@pytest.fixture
def replica(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_HOME", str(tmp_path / "home"))
    engines = FakeEngines()
    monkeypatch.setattr(replica_module, "Engines", lambda *_, **__: engines)
    made = Replica("demo-paraformer", Precision.FP32, "cpu", 1, "modelscope", Limits())
    made.engine = engines.engine
    return made


class Handle:
    """Calls a replica in this process. Each call gives at most `most` steps, then the replica is lost."""

    def __init__(self, replica: Replica, most: list[float]) -> None:
        self._replica, self._most = replica, most
        self.recognise = SimpleNamespace(remote=self._call)
        self.calls = []

    def options(self, stream: bool) -> Handle:
        assert stream
        return self

    def _call(self, recording, task, before):
        self.calls.append((task.resume_s, len(before.segments)))
        return Response(self._replica.recognise(recording, task, before), self._most.pop(0))


class Response:
    def __init__(self, messages, most: float) -> None:
        self._messages, self._most, self.cancelled = messages, most, False

    def __iter__(self):
        loop, steps = asyncio.new_event_loop(), 0
        try:
            while True:
                try:
                    message = loop.run_until_complete(anext(self._messages))
                except StopAsyncIteration:
                    return
                steps += isinstance(message, Step)
                yield message
                if steps >= self._most:
                    raise LostActor("killed")
        finally:
            loop.run_until_complete(self._messages.aclose())
            loop.close()

    def cancel(self) -> None:
        self.cancelled = True


def test_without_ray_the_install_line_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("ASR_HOME", str(tmp_path / "home"))
    assert cli.main(["serve", "--engine", "ray"]) == 2
    assert 'pip install "ray[serve]==2.60.0"' in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("flags", [["--replicas", "2"], ["--gpus-per-replica", "0.5"], ["--max-queued", "9"]])
def test_the_flags_of_replicas_need_ray(flags, capsys):
    assert cli.main(["serve", *flags]) == 2
    assert f"{flags[0]} needs --engine ray" in capsys.readouterr().err


def test_a_public_address_without_a_key_is_refused_as_the_main_server_refuses_it(capsys):
    assert cli.main(["serve", "--engine", "ray", "--no-token", "--host", "0.0.0.0"]) == 2  # noqa: S104
    assert "--no-token" in capsys.readouterr().err


def test_a_number_of_replicas_is_a_whole_one_above_0(capsys):
    with pytest.raises(SystemExit):
        cli.main(["serve", "--engine", "ray", "--replicas", "0"])
    assert "--replicas" in capsys.readouterr().err


def test_the_shares_of_replicas():
    two, large = {"cpus": 2, "gpus": 0, "least_cpus": 2}, {"cpus": 64, "gpus": 8, "least_cpus": 16}
    assert shares(two, "cpu", Replicas(None, None, 100), None) == (1, 2, 0.0)
    assert shares(two, "cpu", Replicas(2, None, 100), None) == (2, 1, 0.0)
    assert shares(two, "cpu", Replicas(None, None, 100), 1) == (2, 1, 0.0)
    assert shares(large, "cpu", Replicas(None, None, 100), None) == (16, 4, 0.0)
    assert shares(large, "cuda:0", Replicas(None, None, 100), None) == (8, 1, 1.0)
    assert shares(large, "cuda:0", Replicas(None, 0.5, 100), None) == (16, 1, 0.5)
    with pytest.raises(UserError, match="3 replicas with 1 CPUs"):
        shares(two, "cpu", Replicas(3, None, 100), None)
    with pytest.raises(UserError, match="9 replicas with 1 GPUs"):
        shares(large, "cuda:0", Replicas(9, None, 100), None)


def jobs_on(worker, home: Path, threads: int = 1) -> Jobs:
    return Jobs(Journal(home), FakeEngines(), Limits(), worker, threads)


def finished(jobs: Jobs, job: str) -> Transcript:
    view = wait(jobs, job, lambda view: view.finished)
    assert view.transcript is not None, view.error
    return view.transcript


def test_a_job_goes_on_at_another_replica_after_its_last_chunk(ray, replica, recording, tmp_path):
    handle = Handle(replica, [3, 2, np.inf])
    jobs = jobs_on(ReplicaWorker(handle), tmp_path / "jobs")
    job = submit(jobs, recording)
    jobs.start()
    begins = [segment.start_s for segment in finished(jobs, job).segments]
    jobs.stop()
    resumed, known = zip(*handle.calls, strict=True)
    assert known == (0, 3, 5)
    assert resumed[0] == 0.0 < resumed[1] < resumed[2]
    here = jobs_on(None, tmp_path / "here")
    job = submit(here, recording)
    here.start()
    assert begins == [segment.start_s for segment in finished(here, job).segments]  # each chunk once
    here.stop()
    assert not list(Path(replica._folder).glob("recording*"))


def test_a_recording_that_ends_three_replicas_fails(ray, replica, recording, tmp_path):
    jobs = jobs_on(ReplicaWorker(Handle(replica, [1, 1, 1])), tmp_path / "jobs")
    job = submit(jobs, recording)
    jobs.start()
    view = wait(jobs, job, lambda view: view.finished)
    jobs.stop()
    assert view.state == "failed"
    assert "3 replicas ended" in view.error.en
    assert len(view.segments) == 3  # the text so far is kept


def test_a_cancelled_job_ends_at_the_replica(ray, replica, recording, tmp_path):
    replica.engine.gate = threading.Semaphore(2)
    jobs = jobs_on(ReplicaWorker(Handle(replica, [np.inf])), tmp_path / "jobs")
    job = submit(jobs, recording)
    jobs.start()
    wait(jobs, job, lambda view: len(view.segments) == 2)
    jobs.cancel(job)
    wait(jobs, job, lambda view: view.state == "cancelled", 4)
    assert replica._stop._asked.wait(4)
    replica.engine.gate.release(100)
    jobs.stop()


def test_two_threads_do_each_job_once(ray, replica, recording, tmp_path):
    jobs = jobs_on(None, tmp_path / "jobs", threads=2)
    engine = jobs._worker._engines.engine
    waiting = [submit(jobs, recording) for _ in range(4)]
    jobs.start()
    texts = [len(finished(jobs, job).segments) for job in waiting]
    jobs.stop()
    assert sum(texts) == engine.count
    assert jobs.totals.ended["done"] == 4


def test_a_job_that_another_thread_works_on_is_not_queued_again(recording, tmp_path):
    jobs = jobs_on(None, tmp_path / "jobs")
    for _ in range(2):
        submit(jobs, recording)
    mine, other = jobs.journal.take(), jobs.journal.take()
    with jobs._working_on(other.id):
        jobs._recover_if_possible()
    assert [jobs.observe(task.id).state for task in (mine, other)] == ["queued", "running"]


def run(replica: Replica, content: bytes, task) -> list:
    async def all_of() -> list:
        async with aclosing(replica.recognise(np.frombuffer(content, np.uint8), task, Before())) as messages:
            return [message async for message in messages]

    return asyncio.run(all_of())


def test_a_bad_recording_is_a_problem_not_an_exception(replica, recording, tmp_path):
    jobs = jobs_on(None, tmp_path / "jobs")
    submit(jobs, recording)
    task = jobs.journal.take()
    en, zh = run(replica, b"no audio at all", task)[-1]
    assert "not an audio or video file" in en
    assert zh
    en, _ = run(replica, b"", task)[-1]
    assert "empty" in en


def test_a_replica_without_its_model_says_why_and_is_unhealthy(tmp_path, monkeypatch):
    def refuses(*_: object, **__: object) -> None:
        raise UserError("No room.", "没有空间。")

    monkeypatch.setenv("ASR_HOME", str(tmp_path))
    monkeypatch.setattr(replica_module, "Engines", refuses)
    made = Replica("demo-paraformer", Precision.FP32, "cpu", 1, "modelscope", Limits())
    assert made.problem() == ("No room.", "没有空间。")
    with pytest.raises(RuntimeError, match="No room"):
        made.check_health()
    assert run(made, b"", None) == [("No room.", "没有空间。")]


def test_a_replica_whose_model_hangs_is_unhealthy(replica):
    replica.check_health()
    replica._stop = stop = Stop()
    with stop.due_within(0.0):
        time.sleep(0.01)
        with pytest.raises(RuntimeError, match="does not answer"):
            replica.check_health()


def test_recordings_of_a_killed_replica_are_deleted_by_the_next(replica, tmp_path):
    parent = tmp_path / "home" / "replicas"
    left = parent / "killed"
    left.mkdir()
    (left / "recording.wav").write_bytes(b"private")
    other = Replica("demo-paraformer", Precision.FP32, "cpu", 1, "modelscope", Limits())
    assert not left.exists()
    assert {Path(replica._folder), Path(other._folder)} == set(parent.iterdir())  # those that live stay
    assert all(folder.stat().st_mode & 0o77 == 0 for folder in parent.iterdir())


def test_no_more_jobs_wait_than_may_however_many_come_at_once(tmp_path):
    jobs = jobs_on(None, tmp_path / "jobs")  # they are not started: all wait
    offered = Offered(FakeEngines(), catalog.CARDS["demo-paraformer"], False, None)
    intake = Intake(jobs, offered, partial(admit, jobs.journal, lambda: None, 3))
    client = TestClient(FastAPI(routes=job_api.routes(jobs, intake, Webhooks(jobs.journal, None))))

    def ask(_: int):
        return client.post("/v1/jobs", files={"file": ("a.wav", b"audio")})

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, range(8)))
    assert sorted(reply.status_code for reply in replies) == [202] * 3 + [503] * 5
    refused = next(reply for reply in replies if reply.status_code == 503)
    assert (refused.headers["retry-after"], refused.json()["error"]["code"]) == ("10", "overloaded")
    assert len(list(jobs.journal.storage.uploads.iterdir())) == 3  # nothing stays of those that were refused


def test_a_request_that_is_not_admitted_is_refused_in_openais_form(tmp_path):
    def nobody() -> None:
        raise ApiError(503, "No replica runs at the moment. Try again later.", None, "no_replica", 10)

    jobs = jobs_on(None, tmp_path)
    client = TestClient(
        FastAPI(routes=routes.routes(jobs, None, Intake(jobs, None, partial(admit, jobs.journal, nobody, 100))))
    )
    refused = client.post("/v1/audio/transcriptions", files={"file": b"audio"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    assert refused.json()["error"]["code"] == "no_replica"

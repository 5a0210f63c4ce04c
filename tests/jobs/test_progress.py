"""The progress of a job, and its end where the journal or the disk fails under it."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from fakes import FakeEngines, jobs, recording, submit, wait  # noqa: F401

from asr_app import pipeline, work
from asr_app.audio import Limits
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.turns import MOST_WAITING


def attempt(jobs: Jobs) -> None:
    jobs._attempt(jobs.journal.take())


def stages(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    told = []
    monkeypatch.setattr(jobs.journal, "stage", lambda _job, *figures: told.append(figures))
    return told


def reporting(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, report) -> None:
    """The engine is used only after `report(on_progress, on_step)`."""
    use = jobs._worker._engines.use

    @contextmanager
    def reports(card, precision, on_progress=None, on_step=None, stop=None):
        report(on_progress, on_step)
        with use(card, precision) as loaded:
            yield loaded

    monkeypatch.setattr(jobs._worker._engines, "use", reports)


def test_a_download_is_told_at_most_twice_a_second_and_of_unknown_length_too(jobs, recording, monkeypatch):
    clock, told = SimpleNamespace(now=1000.0), stages(jobs, monkeypatch)
    monkeypatch.setattr(work, "time", SimpleNamespace(
        monotonic=lambda: clock.now, time=time.time, perf_counter=time.perf_counter
    ))  # fmt: skip

    def report(on_progress, _):
        for at, done, total in ((0, 1, 0), (0.4, 2, 100), (0.6, 3, 100), (1.0, 4, 100), (1.2, 100, 100)):
            clock.now = 1000.0 + at
            on_progress(done, total)

    reporting(jobs, monkeypatch, report)
    submit(jobs, recording)
    attempt(jobs)
    assert told[1:4] == [("downloading", 1, 0), ("downloading", 3, 100), ("loading", 100, 100)]


def test_the_making_of_a_variant_is_a_stage_and_its_steps_are_told(jobs, recording, monkeypatch):
    told = stages(jobs, monkeypatch)
    reporting(jobs, monkeypatch, lambda _, on_step: [on_step(n, 3) for n in range(2)])
    job = submit(jobs, recording)
    attempt(jobs)
    assert told[:4] == [("loading", 0.0, 0.0), ("quantising", 0, 3), ("quantising", 1, 3), ("vad", 0.0, 0.0)]
    assert told[4] == ("recognising", 0, pytest.approx(jobs.observe(job).total))
    assert 30 < told[4][2] < 45


def test_the_time_left_is_reckoned_by_the_speech_done_since_the_start(jobs, recording, monkeypatch):
    """The clock goes two seconds for each second of speech; what an earlier run has done does not count."""
    clock, engine, left = SimpleNamespace(now=0.5), jobs._worker._engines.engine, []
    monkeypatch.setattr(work, "time", SimpleNamespace(
        monotonic=time.monotonic, time=time.time, perf_counter=lambda: clock.now
    ))  # fmt: skip
    says, write = engine.transcribe, jobs.journal.write_chunk

    def transcribe(batch, options):
        clock.now += 2 * sum(map(len, batch)) / 16000
        return says(batch, options)

    def written(job, end_s, segments, carry, done, total, eta, *rest):
        left.append((total - done, eta))
        write(job, end_s, segments, carry, done, total, eta, *rest)
        if len(left) == 3:
            raise KeyboardInterrupt  # the process dies

    engine.transcribe = transcribe
    monkeypatch.setattr(jobs.journal, "write_chunk", written)
    job = submit(jobs, recording)
    task = jobs.journal.take()
    with pytest.raises(KeyboardInterrupt):
        jobs._run(task, work.Stop())
    jobs.journal.recover()
    clock.now += 1000
    attempt(jobs)
    assert len(left) == len(jobs.observe(job).segments) > 5
    assert all(eta == pytest.approx(2 * seconds, abs=0.01) for seconds, eta in left)
    assert left[-1][1] == 0


def test_the_seconds_before_the_recognition_are_those_of_the_first_attempt(jobs, recording, monkeypatch):
    sound, chunks, spent = pipeline.read, pipeline.cut, iter([7.0, 3.0, 70.0, 30.0])
    monkeypatch.setattr(pipeline, "read", lambda *a: (sound(*a)[0], next(spent)))
    monkeypatch.setattr(pipeline, "cut", lambda *a: (chunks(*a)[0], next(spent)))
    engine = jobs._worker._engines.engine
    job = submit(jobs, recording)
    with jobs.journal.transaction() as db:
        db.execute("UPDATE jobs SET created = created - 100")
    engine.dies_at = 3
    monkeypatch.setattr(jobs.journal, "end", lambda *_: None)  # it died before it could
    attempt(jobs)
    jobs.journal.recover()
    attempt(jobs)
    times = jobs.observe(job).transcript.times
    assert (times.decode_s, times.vad_s) == (7.0, 3.0)
    assert times.queue_s == pytest.approx(100, abs=5)


def test_the_seconds_of_each_chunk_add_up_to_those_of_the_recognition(jobs, recording):
    job = submit(jobs, recording)
    attempt(jobs)
    latencies = jobs.journal.latencies(job)
    assert len(latencies) == len(jobs.observe(job).segments)
    assert min(latencies) > 0
    assert sum(latencies) == pytest.approx(jobs.observe(job).transcript.times.asr_s)


def test_a_stop_between_two_chunks_leaves_the_job_in_the_queue_with_its_text(jobs, recording):
    jobs._worker._engines.engine.gate = threading.Semaphore(2)
    job = submit(jobs, recording)
    jobs.start()
    wait(jobs, job, lambda v: len(v.segments) == 2)
    jobs.stop()
    jobs._worker._engines.engine.gate.release(100)
    view = jobs.observe(job)
    assert (view.state, view.error) == ("queued", None)
    assert len(view.segments) in (2, 3)


@pytest.mark.parametrize("size", [0, 1])
def test_a_file_as_large_as_the_limit_is_taken_and_one_byte_more_is_not(tmp_path, size):
    jobs = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits(max_bytes=1000))
    path = tmp_path / "x.wav"
    path.write_bytes(bytes(1000 + size))
    if size:
        with pytest.raises(UserError, match="at most"):
            submit(jobs, path)
    else:
        assert jobs.observe(submit(jobs, path)).state == "queued"


def test_a_recording_that_is_gone_is_told(jobs, tmp_path):
    with pytest.raises(UserError, match="Upload it again"):
        submit(jobs, tmp_path / "gone.wav")


def test_a_client_may_have_so_many_jobs_waiting_and_its_next_one_comes_with_room(jobs, recording):
    waiting = [submit(jobs, recording) for _ in range(MOST_WAITING)]
    with pytest.raises(UserError, match=f"{MOST_WAITING} of your recordings"):
        submit(jobs, recording)
    jobs.cancel(waiting[0])
    assert jobs.observe(submit(jobs, recording)).ahead == MOST_WAITING - 1


@pytest.mark.parametrize(
    ("error", "said"),
    [(sqlite3.OperationalError("disk I/O error"), "disk I/O error"), (TypeError("unforeseen"), None)],
    ids=["disk", "defect"],
)
def test_a_journal_that_fails_once_does_not_end_the_worker(jobs, recording, monkeypatch, error, said, caplog):
    """The reason is told until the journal can be used again."""
    take, troubles = jobs.journal.take, []

    def fails():
        monkeypatch.setattr(jobs.journal, "take", take)
        raise error

    def waits(_):
        troubles.append(jobs.journal.trouble)

    monkeypatch.setattr(jobs.journal, "take", fails)
    monkeypatch.setattr(jobs._stopping, "wait", waits)
    monkeypatch.setattr(jobs, "_clean", lambda: None)
    job = submit(jobs, recording)
    jobs.start()
    assert wait(jobs, job, lambda v: v.finished).state == "done"
    assert len(troubles) == 1
    assert said is None or said in str(troubles[0])
    assert jobs.journal.trouble is None
    assert caplog.records


def test_what_is_old_goes_while_the_server_runs_even_after_a_failure(jobs, monkeypatch, caplog):
    rounds = []

    def sweep(age_s):
        rounds.append(age_s)
        if len(rounds) == 1:
            raise OSError("locked")
        jobs._stopping.set()

    monkeypatch.setattr(jobs.journal.storage, "sweep", sweep)
    monkeypatch.setattr(jobs._stopping, "wait", lambda seconds: rounds.append(seconds))
    jobs._clean()
    assert len(rounds) == 4  # a sweep and a wait, twice
    assert rounds[0] == rounds[2] > 0
    assert "could not be deleted" in caplog.text


def test_a_job_is_taken_up_at_once_and_not_at_the_next_look(jobs, recording):
    jobs.start()
    time.sleep(0.1)  # it looked, and waits
    began = time.monotonic()
    job = submit(jobs, recording)
    wait(jobs, job, lambda v: v.state != "queued")
    assert time.monotonic() - began < 0.8

"""Uploads become recordings without a copy, go with their jobs, and leave room; clients take turns in the queue."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from fakes import FakeEngines, jobs, recording, wait  # noqa: F401
from fastapi import FastAPI
from starlette.testclient import TestClient
from test_journal import add

from asr_app import database, journal, storage, turns
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.observer import Observer
from asr_app.precision import Precision
from asr_app.storage import Storage
from asr_app.ui import news, render


def upload(kept: Storage, name: str = "speech.wav", size: int = 5000) -> Path:
    """An upload, in the place that Gradio gives it."""
    path = kept.uploads / ("0" * 64) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def submit(to: Jobs, path: Path, client: str = "", model: str = "demo-paraformer", **options) -> str:
    return to.submit(path, path.name, model, Precision.INT8, Options(**options), client=client)


# --- uploads


def test_an_upload_is_linked_into_its_job_and_goes_with_it(jobs):
    path = upload(jobs.journal.storage)
    job = submit(jobs, path)
    kept = jobs.observe(job).recording
    assert kept.samefile(path)
    jobs.cancel(job)
    jobs.journal.remove(job)
    assert not kept.exists()
    assert not path.exists()


def test_an_upload_that_cannot_be_linked_is_copied(jobs, monkeypatch):
    def refuse(*_args, **_named):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = upload(jobs.journal.storage)
    kept = jobs.observe(submit(jobs, path)).recording
    assert kept.read_bytes() == path.read_bytes()
    assert not kept.samefile(path)


def test_a_file_elsewhere_is_copied(jobs, recording):
    """Its owner may go on writing to it."""
    assert not jobs.observe(submit(jobs, recording)).recording.samefile(recording)


def test_at_start_uploads_without_a_job_go_and_those_with_one_stay(tmp_path):
    first = Jobs(Journal(tmp_path), FakeEngines(), Limits())
    with_job, without = upload(first.journal.storage, "a.wav"), upload(first.journal.storage, "b.wav")
    (first.journal.storage.uploads / "tmpabc").write_bytes(b"half of an upl")
    submit(first, with_job)
    Jobs(Journal(tmp_path), FakeEngines(), Limits())
    assert with_job.exists()
    assert not without.exists()
    assert [p.name for p in first.journal.storage.uploads.iterdir()] == ["0" * 64]


def test_while_the_server_runs_an_upload_has_an_hour_to_become_a_job(jobs, monkeypatch):
    path = upload(jobs.journal.storage)
    old = upload(jobs.journal.storage, "old.wav")
    real = time.time
    jobs.journal.storage.sweep(storage.UPLOAD_KEPT_S)
    assert path.exists()
    monkeypatch.setattr(time, "time", lambda: real() + 3601)
    submit(jobs, path)
    jobs.start()
    for _ in range(100):
        if not old.exists():
            break
        time.sleep(0.05)
    assert not old.exists()
    assert path.exists()


def test_old_recordings_without_a_job_go(tmp_path, monkeypatch):
    kept = Journal(tmp_path)
    stray = kept.recordings / "stray.wav"
    stray.write_bytes(b"of a journal that was set aside")
    kept.forget_old()
    assert stray.exists()
    monkeypatch.setattr(journal, "KEEP_DAYS", 0)
    kept.forget_old()
    assert not stray.exists()


def test_part_of_an_upload_goes_when_no_other_arrives(tmp_path):
    kept = Storage(tmp_path)
    whole = upload(kept)
    with kept.arrival():
        part = kept.uploads / "tmpxyz"
        with kept.arrival():
            part.write_bytes(b"the first bytes")
        assert part.exists()  # it may be the other one's
    assert not part.exists()
    assert whole.exists()


# --- room


def test_over_the_limit_of_the_disk_a_job_is_refused_and_nothing_is_kept(tmp_path, recording):
    size = recording.stat().st_size
    full = Jobs(Journal(tmp_path / "home", round(1.5 * size)), FakeEngines(), Limits())
    submit(full, recording)
    with pytest.raises(UserError, match="--max-disk-gb") as refused:
        submit(full, recording)
    assert "--max-disk-gb" in refused.value.zh
    assert len(list(full.journal.recordings.iterdir())) == 1


def test_a_linked_upload_counts_once(tmp_path):
    home = Journal(tmp_path, 12_000)
    jobs = Jobs(home, FakeEngines(), Limits())
    submit(jobs, upload(home.storage, size=10_000))
    home.storage.require_room(2000)
    with pytest.raises(UserError):
        home.storage.require_room(2001)


def test_the_journal_keeps_its_share_of_the_disk(tmp_path):
    kept = Storage(tmp_path)
    with pytest.raises(UserError, match="disk is full"):
        kept.require_room(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize)


def test_a_journal_that_cannot_be_written_is_named_and_orphans_nothing(jobs, recording, monkeypatch):
    monkeypatch.setattr(database, "_WAIT_S", 0.1)
    path = upload(jobs.journal.storage)
    path.write_bytes(recording.read_bytes())
    other = sqlite3.connect(jobs.journal.storage.recordings.parent / "journal.sqlite3")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match=r"cannot be used .*locked") as told:
        submit(jobs, path)
    assert "日志" in told.value.zh
    assert list(jobs.journal.recordings.iterdir()) == []
    other.rollback()
    other.close()
    submit(jobs, path)  # the upload is still there


def test_a_full_disk_ends_a_job_with_its_name_and_its_text(jobs, recording, monkeypatch):
    """At its third chunk; the next job runs."""
    write, count = jobs.journal.write_chunk, 0

    def writing(*args, **named):
        nonlocal count
        count += 1
        if count == 3:
            raise sqlite3.OperationalError("database or disk is full")
        write(*args, **named)

    monkeypatch.setattr(jobs.journal, "write_chunk", writing)
    job, good = submit(jobs, recording), submit(jobs, recording)
    jobs.start()
    view = wait(jobs, job, lambda v: v.finished)
    assert view.state == "failed"
    assert "disk is full" in view.error.en
    assert len(view.segments) == 2
    assert wait(jobs, good, lambda v: v.finished).state == "done"


def test_while_nothing_can_be_written_the_page_says_so_and_then_the_job_is_done(jobs, recording, monkeypatch):
    observer, working = Observer(jobs.journal), database.Database.transaction

    @contextlib.contextmanager
    def failing(self):
        with working(self) as db:
            if threading.current_thread().name in ("jobs", "supervised"):
                raise sqlite3.OperationalError("database or disk is full")
            yield db

    job = submit(jobs, recording)
    whole = jobs.journal.transaction
    jobs.journal.transaction = functools.partial(failing, whole.__self__)
    jobs.start()
    wait(jobs, job, lambda _: observer.status(job).error is not None)
    status = observer.status(job)
    assert not status.finished
    for language, said in (("en", "disk is full"), ("zh", "磁盘")):
        assert said in render.progress(status, False, language)
    jobs.journal.transaction = whole
    assert wait(jobs, job, lambda v: v.finished).state == "done"
    assert observer.status(job).error is None


# --- turns


def named(kept: Journal, *names: str) -> None:
    """Jobs whose client is the first letter of their name, in this order."""
    for name in names:
        add(kept, name)
        with kept.transaction() as db:
            db.execute("UPDATE jobs SET client = ? WHERE id = ?", (name[0], name))


def taken(kept: Journal) -> list[str]:
    return [task.id for task in iter(kept.take, None)]


def test_clients_take_turns(tmp_path):
    kept = Journal(tmp_path)
    named(kept, *(f"a{n}" for n in range(5)), "b0", "b1", "c0")
    assert taken(kept) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]


def test_who_comes_later_waits_for_one_job_and_not_for_all_of_another(tmp_path):
    kept = Journal(tmp_path)
    named(kept, *(f"a{n}" for n in range(5)))
    assert [kept.take().id for _ in range(2)] == ["a0", "a1"]
    named(kept, "b0", "b1")
    assert taken(kept) == ["b0", "a2", "b1", "a3", "a4"]


def test_what_the_page_says_of_the_queue_is_its_order(tmp_path):
    kept = Journal(tmp_path)
    named(kept, *(f"a{n}" for n in range(3)))
    running = kept.take()
    named(kept, "b0", "c0", "b1")
    ahead = {name: kept.view(name).ahead for name in ("a1", "a2", "b0", "b1", "c0")}
    assert ahead == {"b0": 1, "c0": 2, "a1": 3, "b1": 4, "a2": 5}
    assert {name: Observer(kept).status(name).ahead for name in ahead} == ahead
    assert kept.view(running.id).ahead == 0
    with kept.transaction() as db:
        assert turns.ahead(db, running.id) == 0  # as when it is taken between two looks at the journal
    assert taken(kept) == sorted(ahead, key=ahead.__getitem__)


def test_an_interrupted_job_goes_on_before_others_begin(tmp_path):
    from test_journal import write

    kept = Journal(tmp_path)
    named(kept, "a0", "b0")
    kept.take()
    write(kept, "a0", 1.0)
    kept.recover()
    assert taken(kept) == ["a0", "b0"]


def test_a_client_may_have_some_jobs_waiting_and_no_more(jobs, recording):
    first = submit(jobs, recording, "one")
    for _ in range(turns.MOST_WAITING - 1):
        submit(jobs, recording, "one")
    with pytest.raises(UserError, match="waiting already"):
        submit(jobs, recording, "one")
    submit(jobs, recording, "two")
    jobs.cancel(first)
    submit(jobs, recording, "one")
    assert len(list(jobs.journal.recordings.iterdir())) == turns.MOST_WAITING + 2


def test_two_hundred_jobs_are_looked_at_quickly(tmp_path):
    """CPU time: the page asks for each job each second."""
    kept = Journal(tmp_path)
    for n in range(200):
        named(kept, f"{'abcdefghij'[n % 10]}{n}")
    began = time.thread_time()
    for _ in range(20):
        Observer(kept).status("a190")
    assert (time.thread_time() - began) / 20 < 0.02


def test_a_prompt_is_bounded(jobs, recording):
    submit(jobs, recording, model="demo-whisper", prompt="x" * 1000)
    with pytest.raises(UserError, match="1,001 characters"):
        submit(jobs, recording, model="demo-whisper", prompt="x" * 1001)


SMALL_DISK = """
import sqlite3, sys
from pathlib import Path
from asr_app.journal import Journal
from test_journal import add, write
home = Path(sys.argv[1]) / "home"
kept = Journal(home)
add(kept, "job")
write(kept, "job", 1.0)
with open(home / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
assert [s.text for s in kept.view("job").segments] == ["said"]
try:
    for n in range(2, 200):
        write(kept, "job", float(n))
except sqlite3.OperationalError as error:
    print(error)
(home / "filler").unlink()
write(kept, "job", 200.0)
assert kept.view("job").segments[-1].end_s == 200
"""


def test_on_a_full_disk_the_journal_can_be_read_and_goes_on_when_there_is_room(tmp_path):
    """A file system of 4 MB, in a name space of its own."""
    script = f"mount -t tmpfs -o size=4m tmpfs {tmp_path} && exec {sys.executable} -c '{SMALL_DISK}' {tmp_path}"
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a file system")
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests' / 'jobs'}"}
    ran = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr
    assert "full" in ran.stdout


def test_a_pause_that_cannot_be_written_is_answered_with_the_reason(jobs, monkeypatch):
    def fail(_):
        raise database.unusable(sqlite3.OperationalError("database is locked"))

    monkeypatch.setattr(jobs, "pause", fail)
    client = TestClient(FastAPI(routes=news.routes(jobs, None, None)))
    answer = client.post("/hold", json={"job": "x", "action": "pause"})
    assert answer.status_code == 503
    assert "locked" in answer.text

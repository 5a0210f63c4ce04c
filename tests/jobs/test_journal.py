"""The journal outlives other versions of the app, a damaged file, and jobs that end the process."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from asr_app import database, speeds
from asr_app.datatypes import SAMPLE_RATE, Chunk, Options, Segment, StageTimes, Word
from asr_app.errors import UserError
from asr_app.journal import Journal
from asr_app.observer import STATUS, Observer
from asr_app.pipeline import remaining
from asr_app.precision import Precision


def add(journal: Journal, job: str) -> None:
    journal.add(job, f"{job}.wav", journal.recordings / f"{job}.wav", "demo-paraformer", Precision.INT8, Options())


def write(journal: Journal, job: str, end_s: float) -> None:
    segment = Segment(end_s - 1, end_s, "said")
    journal.write_chunk(job, end_s, [segment], (), end_s, 10.0, 1.0, StageTimes())


def changed(home: Path, statement: str) -> None:
    with sqlite3.connect(home / "journal.sqlite3") as db:
        db.execute(statement)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + bytes(5000)], ids=["text", "torn"])
def test_a_damaged_journal_is_set_aside_and_the_next_one_works(tmp_path, caplog, content):
    (tmp_path / "journal.sqlite3").write_bytes(content)
    journal = Journal(tmp_path)
    add(journal, "one")
    assert journal.view("one").state == "queued"
    (kept,) = tmp_path.glob("*.damaged")
    assert kept.read_bytes() == content
    assert kept.name in caplog.text


def test_a_damaged_page_in_the_middle_is_noticed(tmp_path):
    journal = Journal(tmp_path)
    for n in range(50):
        add(journal, f"job{n}")
        write(journal, f"job{n}", 1.0)
    changed(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "journal.sqlite3"
    body = bytearray(path.read_bytes())
    body[4096 : len(body) : 7] = bytes(len(range(4096, len(body), 7)))
    path.write_bytes(body)
    assert Journal(tmp_path).idle()
    assert len(list(tmp_path.glob("*.damaged"))) == 1


def test_a_journal_of_a_newer_version_is_set_aside(tmp_path, caplog):
    Journal(tmp_path)
    changed(tmp_path, "PRAGMA user_version = 99")
    assert Journal(tmp_path).idle()
    assert "version is 99" in caplog.text


def test_a_journal_of_the_first_version_is_taken_over(tmp_path):
    """Finished text stays; what was begun starts anew, since its place was kept in another way."""
    with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
        db.executescript(database._MIGRATIONS[0])
        for job, state in (("old", "cancelled"), ("begun", "running")):
            db.execute(
                "INSERT INTO jobs (id, created, name, recording, model, precision, options, state, next_chunk, done) "
                "VALUES (?, 1, 'x.wav', 'x.wav', 'demo-paraformer', 'int8', '{}', ?, 3, 30)",
                (job, state),
            )
            body = '[{"s": 0, "e": 1, "t": "said", "w": [], "speaker": null, "language": null, "tags": []}]'
            db.execute("INSERT INTO segments VALUES (?, 3, ?)", (job, body))
    journal = Journal(tmp_path)
    journal.recover()
    assert [s.text for s in journal.view("old").segments] == ["said"]
    assert journal.view("begun").segments == ()
    assert journal.take().resume_s == 0


def test_a_locked_journal_is_told(tmp_path, monkeypatch):
    Journal(tmp_path)
    monkeypatch.setattr(database, "_WAIT_S", 0.1)
    with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="locked"):
            Journal(tmp_path)
    assert not list(tmp_path.glob("*.damaged"))


def attempt(home: Path):
    """The job that a new process takes up."""
    journal = Journal(home)
    journal.recover()
    return journal, journal.take()


def test_a_job_that_ends_the_process_twice_is_not_taken_up_again(tmp_path):
    add(Journal(tmp_path), "deadly")
    add(Journal(tmp_path), "good")
    for _ in range(2):
        assert attempt(tmp_path)[1].id == "deadly"
    journal, task = attempt(tmp_path)
    assert task.id == "good"
    view = journal.view("deadly")
    assert view.state == "failed"
    assert "stopped 2 times" in str(view.error)


def test_progress_and_an_orderly_stop_do_not_count_as_failed_attempts(tmp_path):
    add(Journal(tmp_path), "long")
    for n in range(1, 4):
        journal, task = attempt(tmp_path)
        assert task.resume_s == n - 1
        write(journal, "long", float(n))
    for _ in range(4):
        journal, task = attempt(tmp_path)
        journal.end("long", "queued")
        assert task.id == "long"
    assert [s.end_s for s in journal.segments("long")] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE jobs SET precision = 'int3' WHERE id = 'other'",
        "UPDATE jobs SET options = '{\"unknown\": 1}' WHERE id = 'other'",
        "UPDATE jobs SET options = 'no' WHERE id = 'other'",
        "UPDATE jobs SET carry = '[1]' WHERE id = 'other'",
    ],
    ids=["precision", "option", "options", "carry"],
)
def test_a_job_that_cannot_be_read_fails_alone(tmp_path, statement):
    journal = Journal(tmp_path)
    add(journal, "other")
    add(journal, "good")
    changed(tmp_path, statement)
    assert journal.take().id == "good"
    view = journal.view("other")
    assert view.state == "failed"
    assert "cannot be read" in str(view.error)


def test_a_result_that_cannot_be_read_is_told_and_not_compared(tmp_path):
    journal = Journal(tmp_path)
    add(journal, "done")
    changed(tmp_path, "UPDATE jobs SET state = 'done', result = '{\"device\": \"cpu\"}'")
    assert "cannot be read" in str(journal.view("done").error)
    assert speeds.compare(journal, "demo-paraformer", "cpu", Precision.FP32, Precision.INT8) is None


def test_what_comes_after_the_end_does_not_change_it(tmp_path):
    journal = Journal(tmp_path)
    add(journal, "job")
    journal.ask_to_cancel("job")
    journal.end("job", "failed", UserError("late", "迟"))
    assert journal.view("job").state == "cancelled"


def chunks(*spans: tuple[float, float]) -> list[Chunk]:
    return [Chunk(a, np.arange(round((b - a) * SAMPLE_RATE), dtype=np.float32), ((0.0, b - a),)) for a, b in spans]


def test_a_job_goes_on_at_the_chunk_after_its_last_one():
    cut = chunks((0, 10), (11, 20), (22, 30))
    for resume_s, first in ((0, 0), (10, 1), (20, 2), (30, 3)):
        left, index = remaining(cut, float(resume_s))
        assert index == first
        assert left == cut


def test_a_job_goes_on_inside_a_chunk_that_is_cut_otherwise_now():
    left, index = remaining(chunks((0, 10), (11, 20)), 14.0)
    assert index == 2
    assert [(c.start_s, c.end_s) for c in left] == [(0, 10), (11, 14), (14, 20)]
    assert left[2].samples[0] == 3 * SAMPLE_RATE
    assert left[2].speech == ((0.0, 6.0),)


def test_a_look_reads_neither_options_nor_results(tmp_path):
    journal = Journal(tmp_path)
    with journal.transaction() as db:
        (plan,) = db.execute(f"EXPLAIN QUERY PLAN {STATUS}", ("job",)).fetchall()
    assert "COVERING INDEX jobs_looked_at" in plan["detail"]


def test_news_are_the_segments_after_a_chunk_and_the_words_that_wait(tmp_path):
    journal, observer = Journal(tmp_path), Observer(Journal(tmp_path))
    add(journal, "job")
    assert observer.news("nothing", 0) is None
    write(journal, "job", 1.0)
    before = observer.news("job", 0)
    assert (len(before.segments), before.waiting) == (1, ())
    assert observer.news("job", before.last).segments == ()
    waiting = Word(2.0, 2.5, "half")
    journal.write_chunk("job", 2.0, [Segment(1, 2, "next")], [waiting], 2.0, 10.0, 1.0, StageTimes())
    after = observer.news("job", before.last)
    assert [s.text for s in after.segments] == ["next"]
    assert [s.text for s in after.waiting] == ["half"]
    assert after.last > before.last
    changed(tmp_path, "UPDATE segments SET body = '[{}]' WHERE n = 2000")
    assert observer.news("job", before.last).status.state == "failed"
    assert observer.news("job", after.last).status.state == "queued"


def test_confidences_of_words_are_kept_and_older_rows_have_none(tmp_path):
    journal = Journal(tmp_path)
    add(journal, "job")
    words = Word(0.0, 0.5, "sure", 0.9), Word(0.5, 1.0, "other")
    journal.write_chunk("job", 1.0, [Segment(0, 1, "sure other", words)], words, 1.0, 10.0, 1.0, StageTimes())
    assert [s.words for s in journal.segments("job")] == [words]
    assert journal.task("job").carry == words
    changed(tmp_path, """UPDATE segments SET body = json_set(body, '$[0].w', json('[[0.0, 0.5, "a"]]'))""")
    assert [s.words for s in journal.segments("job")] == [(Word(0.0, 0.5, "a"),)]


def test_only_a_job_that_has_ended_is_removed(tmp_path):
    journal = Journal(tmp_path)
    for job in ("waits", "ended"):
        add(journal, job)
        (tmp_path / "recordings" / f"{job}.wav").write_bytes(b"x")
        write(journal, job, 1.0)
    journal.ask_to_cancel("ended")
    for job in ("waits", "ended", "nobody's"):
        journal.remove(job)
    assert [p.name for p in (tmp_path / "recordings").iterdir()] == ["waits.wav"]
    assert journal.view("ended") is None
    assert journal.segments("ended") == ()
    assert len(journal.segments("waits")) == 1


def test_the_length_of_jobs_done_by_an_older_version_is_known(tmp_path):
    with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
        for script in database._MIGRATIONS[:2]:
            db.executescript(script)
        db.execute("PRAGMA user_version = 2")
        for job, result in (("done", '{"duration_s": 75.5}'), ("torn", "{"), ("waits", None)):
            db.execute(
                "INSERT INTO jobs (id, created, name, recording, model, precision, options, state, result) "
                "VALUES (?, 1.0, 'a.wav', 'a.wav', 'm', 'fp32', '{}', 'done', ?)", (job, result),
            )  # fmt: skip
    observer = Observer(Journal(tmp_path))
    assert [s.seconds for s in observer.statuses(["done", "torn", "waits", "gone"])] == [75.5, None, None]


def done(journal: Journal, name: str, precision: Precision, rtf: float, seconds: float = 10.0, size: int = 1) -> None:
    """A recording that was done at `precision`."""
    job = f"{name} {precision} {time.monotonic_ns()}"
    journal.add(job, name, Path("x.wav"), "m", precision, Options())
    result = {"device": "cpu", "duration_s": seconds, "rtf": rtf, "memory": {"weights": size}}
    with journal.transaction() as db:
        db.execute("UPDATE jobs SET state = 'done', result = ? WHERE id = ?", (json.dumps(result), job))


def test_precisions_are_compared_by_medians_over_the_latest_of_each_recording(tmp_path):
    journal = Journal(tmp_path)
    for name, full, low in (("a", 0.4, 0.1), ("b", 0.3, 0.3), ("c", 0.6, 0.3)):
        done(journal, name, Precision.FP32, 9.0)  # an earlier try
        done(journal, name, Precision.FP32, full, size=400)
        done(journal, name, Precision.INT8, low, size=100)
    done(journal, "b", Precision.FP32, 0.9, seconds=11.0)  # another recording of that name
    done(journal, "d", Precision.INT8, 9.0)
    found = speeds.compare(journal, "m", "cpu", Precision.FP32, Precision.INT8)
    assert found == speeds.Speeds(2.0, (0.4, 0.3), (400, 100), 3)
    assert speeds.compare(journal, "other", "cpu", Precision.FP32, Precision.INT8) is None


@pytest.mark.parametrize(("seconds", "counts"), [(1.99, False), (2.0, True)])
def test_a_recording_under_two_seconds_compares_nothing(tmp_path, seconds, counts):
    journal = Journal(tmp_path)
    for precision in (Precision.FP32, Precision.INT8):
        done(journal, "a", precision, 0.1, seconds)
    assert (speeds.compare(journal, "m", "cpu", Precision.FP32, Precision.INT8) is not None) is counts


def test_a_double_click_is_the_same_within_seconds(tmp_path):
    journal = Journal(tmp_path)
    add(journal, "job")
    changed(tmp_path, "UPDATE jobs SET created = created - 10")

    def same(name: str = "job.wav", within_s: float = 20.0) -> bool:
        return journal.is_just_added("job", name, "demo-paraformer", Precision.INT8, Options(), within_s)

    assert same()
    assert not same(within_s=5.0)
    assert not same(name="other.wav")
    journal.take()
    assert same()  # it runs
    journal.end("job", "failed", UserError("why", "为什么"))
    assert not same()


def test_what_is_older_than_a_week_goes_but_not_what_runs(tmp_path):
    journal = Journal(tmp_path)
    for job, days in (("running", 9), ("old", 8), ("new", 6)):
        add(journal, job)
        write(journal, job, 1.0)
        with journal.transaction() as db:
            db.execute("UPDATE jobs SET created = created - ? WHERE id = ?", (days * 86400, job))
    assert journal.take().id == "running"
    assert not journal.idle()
    journal.forget_old()
    assert [job for job in ("running", "old", "new") if journal.view(job)] == ["running", "new"]
    assert journal.segments("old") == ()


def test_a_failure_is_shown_in_both_languages_and_ends_the_job(tmp_path):
    journal = Journal(tmp_path)
    add(journal, "job")
    assert journal.view("job").error is None
    journal.take()
    journal.stage("job", "loading", 3.0, 4.0)
    view = journal.view("job")
    assert (view.state, view.stage, view.done, view.total, view.eta_s) == ("running", "loading", 3.0, 4.0, None)
    journal.end("job", "failed", UserError("why", "为什么"))
    view = journal.view("job")
    assert (view.state, view.stage, view.error.en, view.error.zh) == ("failed", "", "why", "为什么")
    assert view.finished
    assert journal.idle()
    assert journal.take() is None

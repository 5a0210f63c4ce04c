"""A line recognised again goes through the queue; its text is a change that is marked as made by a model."""

from __future__ import annotations

import os
import threading
import time

import pytest
from corrections.journals import timed
from fakes import FakeEngine, FakeEngines, jobs, recording, submit, wait  # noqa: F401 (fixtures)

from asr_app import catalog
from asr_app.audio import Limits
from asr_app.corrections.redo import Redos, stretch_of
from asr_app.corrections.references import References
from asr_app.corrections.store import Corrections, Counts, Overtaken
from asr_app.datatypes import SAMPLE_RATE, Options, Segment
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.precision import Precision

PARAFORMER, WHISPER = catalog.find("demo-paraformer"), catalog.find("demo-whisper")
FP32 = Precision.FP32
COUNTS = ("SELECT COUNT(*) FROM jobs", "SELECT COUNT(*) FROM redos", "SELECT COUNT(*) FROM changes")


@pytest.fixture
def job(jobs, recording):
    """A job that is done, its recording an upload of the page."""
    upload = jobs.journal.storage.uploads / "page" / recording.name
    upload.parent.mkdir()
    os.link(recording, upload)
    made = submit(jobs, upload)
    jobs.start()
    wait(jobs, made, lambda v: v.finished)
    return made


def settled(redos: Redos, job: str):
    """The open redos, once none of them waits or runs any more."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        left = redos.settle(job)
        if all(redo.status.finished for redo in left):
            return left
        time.sleep(0.02)
    raise AssertionError(left)


def line(jobs: Jobs, job: str, number: int = 2) -> Segment:
    return Corrections(jobs.journal).line(job, number)


def test_only_the_line_is_recognised_again_and_its_text_is_marked(jobs, job, monkeypatch):
    heard = []
    transcribe = FakeEngine.transcribe

    def listening(self, batch, options):
        heard.extend(len(samples) / SAMPLE_RATE for samples in batch)
        return transcribe(self, batch, options)

    monkeypatch.setattr(FakeEngine, "transcribe", listening)
    before, redos = line(jobs, job), Redos(jobs)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    assert line(jobs, job) == before  # it stays until the other one is there
    assert settled(redos, job) == []
    (seconds,) = heard
    assert before.end_s - before.start_s <= seconds <= before.end_s - before.start_s + 0.41
    after = line(jobs, job)
    assert (after.start_s, after.end_s) == (before.start_s, before.end_s)
    assert after.text != before.text
    assert all(after.start_s <= w.start_s <= w.end_s <= after.end_s for w in after.words)
    assert (after.change.kind, after.change.by, after.change.original) == (
        "redone", "demo-paraformer FP32", before.text,
    )  # fmt: skip
    assert Corrections(jobs.journal).counts(job) == Counts(redone=1, last=after.change.number)
    Corrections(jobs.journal).undo(job, after.change.number)
    assert line(jobs, job) == before


def test_a_redone_line_is_no_reference_until_a_person_says_so(jobs, job):
    redos = Redos(jobs)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    settled(redos, job)
    assert References(jobs.journal).all() == []
    redone = line(jobs, job)
    Corrections(jobs.journal).confirm(job, 2, redone.change.number)
    (reference,) = References(jobs.journal).all()
    assert reference.text == redone.text
    assert reference.said == {
        (PARAFORMER.key, Precision.INT8): redone.change.original, (PARAFORMER.key, FP32): redone.text,
    }  # fmt: skip


def test_what_a_redo_said_counts_even_if_it_was_undone(jobs, job):
    redos, corrections = Redos(jobs), Corrections(jobs.journal)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    settled(redos, job)
    redone = line(jobs, job)
    corrections.undo(job, redone.change.number)
    corrections.correct(job, 2, "what is really said", 0)
    (reference,) = References(jobs.journal).all()
    assert reference.said[PARAFORMER.key, FP32] == redone.text


def test_the_redo_leaves_no_job_and_the_upload_stays_for_the_page(jobs, job):
    redos = Redos(jobs)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    settled(redos, job)
    assert len(list(jobs.journal.recordings.iterdir())) == 1
    assert list(jobs.journal.storage.uploads.rglob("*.wav"))
    jobs.journal.remove(job)
    assert not list(jobs.journal.recordings.iterdir())
    assert not list(jobs.journal.storage.uploads.rglob("*.wav"))
    with jobs.journal.transaction() as db:
        assert [db.execute(query).fetchone()[0] for query in COUNTS] == [0, 0, 0]


def test_a_persons_correction_meanwhile_wins(jobs, job):
    jobs._worker._engines.engine.gate = threading.Semaphore(0)
    redos = Redos(jobs)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    Corrections(jobs.journal).correct(job, 2, "by hand", 0)
    jobs._worker._engines.engine.gate.release(100)
    settled(redos, job)
    assert line(jobs, job).text == "by hand"
    assert line(jobs, job).change.kind == "corrected"


def test_a_redo_can_be_cancelled_and_another_takes_its_place(jobs, job):
    jobs._worker._engines.engine.gate = threading.Semaphore(0)
    redos, before = Redos(jobs), line(jobs, job)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    redos.begin(job, 2, 0, PARAFORMER, Precision.BF16)
    assert [redo.precision for redo in redos.settle(job)] == [Precision.BF16]
    redos.cancel(job, 2)
    assert redos.settle(job) == []
    jobs._worker._engines.engine.gate.release(100)
    wait_idle(jobs)
    jobs.journal.forget_old()
    assert line(jobs, job) == before
    with jobs.journal.transaction() as db:
        assert db.execute("SELECT id FROM jobs").fetchall()[0]["id"] == job
        assert db.execute("SELECT COUNT(*) FROM redos").fetchone()[0] == 0
    assert len(list(jobs.journal.recordings.iterdir())) == 1


def wait_idle(jobs: Jobs) -> None:
    end = time.monotonic() + 30
    while not jobs.journal.idle():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_redo_of_a_deleted_job_goes_with_it(jobs, job):
    jobs._worker._engines.engine.gate = threading.Semaphore(0)
    Redos(jobs).begin(job, 2, 0, PARAFORMER, FP32)
    Redos(jobs).begin(job, 3, 0, PARAFORMER, FP32)  # one of the two runs, the other one waits
    time.sleep(0.3)
    jobs.journal.remove(job)
    jobs._worker._engines.engine.gate.release(100)
    wait_idle(jobs)
    jobs.journal.forget_old()
    with jobs.journal.transaction() as db:
        assert [db.execute(query).fetchone()[0] for query in COUNTS] == [0, 0, 0]
    assert not list(jobs.journal.recordings.iterdir())


def test_a_redo_goes_on_after_the_server_died(jobs, job, tmp_path):
    jobs._worker._engines.engine.gate = threading.Semaphore(0)
    redos = Redos(jobs)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    while redos.settle(job)[0].status.stage != "recognising":
        time.sleep(0.02)
    again = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits())
    again.start()
    try:
        assert settled(Redos(again), job) == []
        assert line(again, job).change.kind == "redone"
    finally:
        again.stop()


def test_a_failed_redo_is_said_until_it_is_dismissed(jobs, job, monkeypatch):
    def failing(*_args, **_more):
        raise UserError("needs 6.2 GB of memory", "需要 6.2 GB 内存")

    monkeypatch.setattr(FakeEngines, "use", failing)
    before, redos = line(jobs, job), Redos(jobs)
    redos.begin(job, 2, 0, PARAFORMER, FP32)
    (failed,) = settled(redos, job)
    assert "6.2 GB" in str(failed.status.error)
    assert line(jobs, job) == before
    redos.cancel(job, 2)
    assert redos.settle(job) == []
    assert len(list(jobs.journal.recordings.iterdir())) == 1


def test_what_cannot_be_redone_is_refused(jobs, job):
    redos = Redos(jobs)
    with pytest.raises(Overtaken):
        redos.begin(job, 2, 99, PARAFORMER, FP32)
    with pytest.raises(UserError, match="not there"):
        redos.begin(job, 99, 0, PARAFORMER, FP32)
    with pytest.raises(UserError, match="gone"):
        redos.begin("unknown", 0, 0, PARAFORMER, FP32)
    assert jobs.journal.idle()


def test_options_of_the_job_go_along_as_far_as_the_model_has_them(jobs, job, monkeypatch):
    jobs._worker._engines.engine.gate = threading.Semaphore(0)
    with jobs.journal.transaction() as db:
        db.execute(
            """UPDATE jobs SET options = '{"languages": ["zh", "en"], "cuts": [9.0, 0.1]}' WHERE id = ?""", (job,)
        )
        db.execute("UPDATE segments SET body = json_set(body, '$[0].language', 'en') WHERE job = ?", (job,))
    redos = Redos(jobs)
    redos.begin(job, 2, 0, WHISPER, FP32)
    (redo,) = redos.settle(job)
    asked = jobs.journal.task(redo.status.id).options
    assert asked == Options(language="en", stretch=asked.stretch)


def test_copies_of_a_recording_have_one_digest_and_another_recording_has_its_own(jobs, recording, tmp_path):
    copy, other = tmp_path / "copy.wav", tmp_path / "other.wav"
    copy.write_bytes(recording.read_bytes())
    changed = bytearray(recording.read_bytes())
    changed[len(changed) // 2 + 100] ^= 1
    other.write_bytes(changed)
    made = [submit(jobs, path) for path in (recording, copy, other)]
    with jobs.journal.transaction() as db:
        digests = [db.execute("SELECT digest FROM jobs WHERE id = ?", (id_,)).fetchone()["digest"] for id_ in made]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0]


def test_the_stretch_goes_no_further_than_half_way_to_the_neighbours():
    segments = (timed(1, "a b"), timed(2.1, "c d"), timed(9, "e"))
    assert stretch_of(segments, 0) == pytest.approx((0.8, 2.05))
    assert stretch_of(segments, 1) == pytest.approx((2.05, 3.3))
    assert stretch_of(segments, 2) == pytest.approx((8.8, 9.7))
    assert stretch_of((Segment(0.1, 2, "x"),), 0) == pytest.approx((0.0, 2.2))
    overlapping = (Segment(0, 3, "x"), Segment(2, 4, "y"))
    assert stretch_of(overlapping, 1) == pytest.approx((2, 4.2))

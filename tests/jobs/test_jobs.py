"""The journal: what is submitted is kept, observed, cancelled, taken up again. A twenty-line engine stands in."""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
import torch
from conftest import EXAMPLE
from fakes import FakeEngine, FakeEngines, jobs, recording, submit, wait  # noqa: F401

from asr_app import catalog, hub, pipeline, speeds, work
from asr_app.audio import Limits
from asr_app.checks import Check
from asr_app.datatypes import Chunk, Options, Segment, StageTimes, Word
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.loading import Loaded
from asr_app.precision import Precision
from asr_app.precision.counting import report
from asr_app.ui import render


def test_text_grows_chunk_by_chunk_and_the_upload_may_go(jobs, recording):
    engine = jobs._worker._engines.engine
    engine.gate = threading.Semaphore(3)
    job = submit(jobs, recording)
    recording.unlink()
    jobs.start()
    view = wait(jobs, job, lambda v: len(v.segments) == 3)
    assert view.state == "running"
    assert 0 < view.done < view.total
    assert view.eta_s is not None
    assert view.transcript is None
    engine.gate.release(100)
    view = wait(jobs, job, lambda v: v.finished)
    assert view.state == "done"
    assert [s.text for s in view.segments] == [f"w{i + 1}." for i in range(len(view.segments))]
    assert len(view.segments) > 5
    assert all(a.start_s < b.start_s for a, b in zip(view.segments, view.segments[1:], strict=False))
    times = view.transcript.times
    assert 0 < times.asr_s < 30
    assert 0 <= times.queue_s < 30
    assert 0 <= times.punctuation_s < 30
    assert view.done == pytest.approx(view.total)
    assert view.transcript.precision.requested is Precision.INT8


def test_a_double_click_makes_one_job(jobs, recording):
    asked = (recording, recording.name, "demo-paraformer", Precision.INT8)
    job = jobs.submit(*asked, Options())
    assert jobs.submit(*asked, Options(), before=job) == job
    assert jobs.submit(*asked, Options(script="simplified"), before=job) != job
    assert jobs.submit(*asked, Options()) != job  # another client
    jobs.cancel(job)
    assert jobs.submit(*asked, Options(), before=job) != job


def test_cancel_stops_at_the_next_chunk_and_keeps_the_text(jobs, recording):
    engine = jobs._worker._engines.engine
    engine.gate = threading.Semaphore(2)
    job, waiting = submit(jobs, recording), submit(jobs, recording)
    jobs.start()
    wait(jobs, job, lambda v: len(v.segments) == 2)
    jobs.cancel(job)
    jobs.cancel(waiting)
    assert jobs.observe(waiting).state == "cancelled"
    engine.gate.release(100)
    view = wait(jobs, job, lambda v: v.finished)
    assert view.state == "cancelled"
    assert len(view.segments) in (2, 3)  # the present one counts if it ends first


def test_what_ran_when_the_process_died_goes_on_where_it_was(tmp_path, recording):
    first = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits())
    first._worker._engines.engine.gate = threading.Semaphore(4)
    job = submit(first, recording)
    first.start()
    wait(first, job, lambda v: len(v.segments) == 4)
    # The process is gone: another one opens the same journal.
    second = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits())
    engine = second._worker._engines.engine
    stages, stage = [], second.journal.stage
    second.journal.stage = lambda *figures: (stages.append(figures), stage(*figures))
    second.start()
    view = wait(second, job, lambda v: v.finished)
    second.stop()
    assert view.state == "done"
    (done,) = [figures[2] for figures in stages if figures[1] == "recognising"]
    assert 0.15 < done / view.total < 0.8  # the bar goes on where it was: 4 chunks of the whole
    assert [s.text for s in view.segments][:5] == ["w1.", "w2.", "w3.", "w4.", "w1."]  # the second engine began at five
    assert engine.count == len(view.segments) - 4
    starts = [s.start_s for s in view.segments]
    assert starts == sorted(starts)


def test_a_request_that_the_process_did_not_answer_leaves_nothing(tmp_path, recording):
    first = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits())
    first._worker._engines.engine.gate = threading.Semaphore(1)
    asked = (recording, recording.name, "demo-paraformer", Precision.INT8, Options())
    begun, waits = (first.submit(*asked, is_request=True) for _ in range(2))
    kept = first.submit(*asked)
    first.start()
    wait(first, begun, lambda v: len(v.segments) == 1)
    # The process is gone: another one opens the same journal.
    second = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits())
    assert [second.observe(job) for job in (begun, waits)] == [None, None]
    assert second.observe(kept).state == "queued"
    assert len(list(second.journal.recordings.iterdir())) == 1
    new = second.submit(*asked, is_request=True)
    second.journal.forget_old()
    assert second.observe(new).state == "queued"  # its request waits


def test_a_failure_keeps_the_text_and_the_next_job_runs(jobs, recording):
    jobs._worker._engines.engine.dies_at = 4
    broken, good = submit(jobs, recording), submit(jobs, recording)
    jobs.start()
    view = wait(jobs, broken, lambda v: v.finished)
    assert view.state == "failed"
    assert len(view.segments) == 3
    assert "nobody's fault" not in view.error.en
    assert "ValueError" in view.error.en
    assert wait(jobs, good, lambda v: v.finished).state == "done"


def test_a_download_and_the_loading_after_it_are_stages_of_the_job(jobs, recording, monkeypatch):
    stages = []
    monkeypatch.setattr(work, "_DOWNLOAD_TOLD_EVERY_S", 0.0)
    monkeypatch.setattr(jobs.journal, "stage", lambda _job, *figures: stages.append(figures))
    use = jobs._worker._engines.use

    @contextmanager
    def downloading(card, precision, on_progress=None, on_step=None, stop=None):
        if on_progress:
            for done in (10, 100):
                on_progress(done, 100)
        with use(card, precision) as loaded:
            yield loaded

    monkeypatch.setattr(jobs._worker._engines, "use", downloading)
    submit(jobs, recording)
    jobs._attempt(jobs.journal.take())
    assert stages[1:4] == [("downloading", 10, 100), ("loading", 100, 100), ("vad", 0.0, 0.0)]


def test_a_file_that_is_no_recording_fails_with_its_name(jobs, tmp_path):
    bad = tmp_path / "notes.wav"
    bad.write_text("just text")
    job = submit(jobs, bad)
    jobs.start()
    view = wait(jobs, job, lambda v: v.finished)
    assert view.state == "failed"
    assert "notes.wav" in view.error.en
    assert "notes.wav" in view.error.text("zh")


def test_over_the_size_limit_nothing_is_kept(tmp_path):
    jobs = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits(max_bytes=2 * 2**20))
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(11 * 2**18))  # 2.75 MB
    with pytest.raises(UserError, match="has 3 MB; at most 2 MB") as refused:
        submit(jobs, large)
    assert "3 MB，上限为 2 MB" in refused.value.zh
    assert not list(jobs.journal.recordings.iterdir())


@pytest.mark.parametrize("name", ["../../escape.wav", "a/b.wav", "名字 with space.wav", "x.w$(a)v", ".wav", "noext"])
def test_a_file_name_never_becomes_a_path(jobs, recording, name, tmp_path):
    job = jobs.submit(recording, name, "demo-paraformer", Precision.FP32, Options())
    kept = jobs.observe(job).recording
    assert kept.parent == jobs.journal.recordings
    assert kept.is_file()
    assert not (tmp_path / "escape.wav").exists()


def test_an_unknown_id_is_no_job(jobs):
    assert jobs.observe("nothing") is None
    jobs.cancel("nothing")


def test_the_figures_of_this_machine_compare_the_same_recording(jobs, recording, tmp_path):
    compare = lambda: speeds.compare(jobs.journal, "demo-paraformer", "cpu", Precision.FP32, Precision.INT8)  # noqa: E731
    jobs.start()
    other = tmp_path / "other.wav"
    other.write_bytes(recording.read_bytes())
    done = {}
    for path, precision in ((recording, Precision.INT8), (other, Precision.FP32)):
        job = jobs.submit(path, path.name, "demo-paraformer", precision, Options())
        done[path] = wait(jobs, job, lambda v: v.finished)
    assert compare() is None  # two precisions, but of two recordings: no evidence of anything
    job = jobs.submit(recording, recording.name, "demo-paraformer", Precision.FP32, Options())
    full = wait(jobs, job, lambda v: v.finished)
    found = compare()
    assert found.recordings == 1
    assert found.ratio == pytest.approx(full.transcript.rtf / done[recording].transcript.rtf, rel=0.05)
    assert found.weight_bytes[1] == done[recording].transcript.precision.weight_bytes
    assert speeds.compare(jobs.journal, "demo-paraformer", "cuda:0", Precision.FP32, Precision.INT8) is None


def test_figures_compare_only_what_was_asked_alike(jobs, recording):
    jobs.start()
    for precision, options in (
        (Precision.FP32, Options()),
        (Precision.INT8, Options(language="en")),
        (Precision.INT8, Options()),
    ):
        found = speeds.compare(jobs.journal, "demo-sensevoice", "cpu", Precision.FP32, Precision.INT8)
        assert found is None, options
        job = jobs.submit(recording, recording.name, "demo-sensevoice", precision, options)
        assert wait(jobs, job, lambda v: v.finished).state == "done"
    assert speeds.compare(jobs.journal, "demo-sensevoice", "cpu", Precision.FP32, Precision.INT8).recordings == 1


def test_words_waiting_for_their_sentence_are_shown_and_survive_a_cancel(jobs, recording):
    job = submit(jobs, recording)
    task = jobs.journal.take()
    words = (Word(1.0, 1.2, "half"), Word(1.3, 1.6, "a"))
    jobs.journal.write_chunk(job, 1, [Segment(0.0, 0.5, "One.")], words, 2.0, 9.0, 1.0, StageTimes())
    assert [s.text for s in jobs.observe(job).segments] == ["One.", "half a"]
    jobs.cancel(job)
    jobs.journal.recover()  # the process died before it saw the cancel
    view = jobs.observe(job)
    assert view.state == "cancelled"
    assert [s.text for s in view.segments] == ["One.", "half a"]
    assert task.id == job
    assert jobs.journal.take() is None


def test_old_jobs_leave_with_all_they_kept(jobs, recording, monkeypatch):
    job = submit(jobs, recording)
    kept = jobs.observe(job).recording
    jobs.journal.forget_old()
    assert kept.exists()
    monkeypatch.setattr("asr_app.journal.KEEP_DAYS", -1)
    jobs.journal.forget_old()
    assert not kept.exists()
    assert jobs.observe(job) is None


class Sentences:
    """An engine whose every chunk is two words, and whose sentences end only after a word in capitals."""

    workers = 1
    parts = {"encoder": torch.nn.Linear(2, 2), "punctuation": torch.nn.Linear(2, 2)}  # noqa: RUF012

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def transcribe(self, batch, options):
        text = self.said[round(float(batch[0][0]))]
        words = tuple(Word(0.1 + i / 2, 0.4 + i / 2, w) for i, w in enumerate(text.split()))
        return [[Segment(words[0].start_s, words[-1].end_s, text, words)] if words else []]

    def punctuate(self, words):
        found, first = [], 0
        for i, w in enumerate(words):
            if w.text.isupper() or i == len(words) - 1:
                part = tuple(words[first : i + 1])
                found.append(Segment(part[0].start_s, w.end_s, " ".join(x.text for x in part), part))
                first = i + 1
        return found


@pytest.mark.parametrize("stop_after", [None, 1, 2, 3, 4])
def test_a_sentence_cut_by_force_is_whole_again_whatever_chunk_the_work_stopped_at(stop_after):
    said = ["a b", "c D", "", "e f", "G h", "i"]
    # Each chunk carries its own number in its first sample; all follow each other without a pause.
    chunks = [Chunk(float(i), np.full(16000, i, np.float32)) for i in range(len(said))]
    card = catalog.find("demo-paraformer")
    engine = Sentences(said)
    loaded = Loaded(card, engine, report(engine.parts, Precision.FP32), "cpu", 0, 0, Check("x"), 1)
    found, carry, first = [], (), 0
    while first < len(chunks):
        for step in pipeline.recognise(chunks, loaded, Options(), StageTimes(), first_chunk=first, carry=carry):
            found += step.segments
            carry, first = step.carry, step.next_chunk
            if stop_after and first == stop_after:
                stop_after = None
                break
    assert [s.text for s in found] == ["a b c D", "e f G", "h i"]
    assert carry == ()
    assert found[0].start_s == pytest.approx(0.1)
    assert found[-1].words[-1].start_s == pytest.approx(5.1)


def test_the_default_is_a_real_model_and_the_fallback_comes_with_the_repository():
    assert catalog.find(catalog.DEFAULT).note != "demo"
    assert hub.on_disk(catalog.find(catalog.FALLBACK), hub.HUBS[0])


def test_chunks_go_in_batches_after_the_first_and_can_be_taken_up_anywhere():
    class Counting(FakeEngine):
        def __init__(self) -> None:
            super().__init__()
            self.parts = {"encoder": torch.nn.Linear(2, 2)}
            self.sizes: list[int] = []

        def transcribe(self, batch, options):
            self.sizes.append(len(batch))
            return [[Segment(0.0, 0.5, f"{len(samples)}")] for samples in batch]

    engine = Counting()
    card = dataclasses.replace(catalog.find(catalog.FALLBACK), chunks_a_batch=4)
    loaded = Loaded(card, engine, report(engine.parts, Precision.FP32), "cpu", 0, 0, Check("x"), 1)
    chunks = [Chunk(float(i), np.zeros(8000 + i, np.float32)) for i in range(11)]
    told = list(pipeline.recognise(chunks, loaded, Options(), StageTimes()))
    assert engine.sizes == [1, 4, 4, 2]
    assert [p.next_chunk for p in told] == list(range(1, 12))
    assert [s.text for p in told for s in p.segments] == [str(8000 + i) for i in range(11)]
    assert [p.segments[0].start_s for p in told] == [float(i) for i in range(11)]
    spent = [p.times.asr_s for p in told]
    assert spent == sorted(spent)
    for i, stopped in enumerate(told[:-1], 1):
        rest = pipeline.recognise(chunks, loaded, Options(), stopped.times, first_chunk=i)
        assert [s.text for p in rest for s in p.segments] == [str(8000 + n) for n in range(i, 11)]


class AtOnce(FakeEngine):
    """Takes three chunks at once, the sooner the chunk the longer; counts those begun and those under way."""

    def __init__(self) -> None:
        super().__init__()
        self.workers, self.parts = 3, {"encoder": torch.nn.Linear(2, 2)}
        self.begun, self.under_way, self.most = 0, 0, 0
        self._counting = threading.Lock()

    def transcribe(self, batch, options):
        number = len(batch[0]) - 8000
        with self._counting:
            self.begun += 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        time.sleep(0.15 - 0.01 * number)
        with self._counting:
            self.under_way -= 1
        if number == self.dies_at:
            raise ValueError("this one")
        return [[Segment(0.0, 0.5, str(number))]]


@pytest.fixture
def at_once():
    engine = AtOnce()
    card = catalog.find(catalog.FALLBACK)
    loaded = Loaded(card, engine, report(engine.parts, Precision.FP32), "cpu", 0, 0, Check("x"), 4)
    chunks = [Chunk(float(i), np.zeros(8000 + i, np.float32)) for i in range(10)]
    return engine, pipeline.recognise(chunks, loaded, Options(), StageTimes())


def test_chunks_computed_at_once_come_out_in_order(at_once):
    engine, steps = at_once
    assert [s.text for step in steps for s in step.segments] == [str(i) for i in range(10)]
    assert engine.most == 3


def test_stopping_waits_for_what_is_under_way_and_begins_no_more(at_once):
    engine, steps = at_once
    assert next(steps).next_chunk == 1
    steps.close()
    assert engine.under_way == 0
    assert engine.begun <= 6  # three, and one for each worker that was free when the first chunk was told


def test_what_one_chunk_dies_of_is_told_after_the_chunks_before_it(at_once):
    engine, steps = at_once
    engine.dies_at = 4
    told = []
    with pytest.raises(ValueError, match="this one"):
        told.extend(step.next_chunk for step in steps)
    assert told == [1, 2, 3, 4]


def test_what_the_recording_is_like_outlives_a_restart_and_is_shown(jobs, tmp_path):
    samples, rate = soundfile.read(EXAMPLE / "english-home.flac")
    path = tmp_path / "quiet.wav"
    soundfile.write(path, samples * 10 ** (-45 / 20), rate, subtype="PCM_16")
    job = submit(jobs, path)
    jobs._attempt(jobs.journal.take())
    done = Journal(tmp_path / "home").view(job).transcript
    assert [f.code for f in done.recording.findings] == ["quiet"]
    assert done.as_dict()["recording"]["speech_db"] == pytest.approx(-61, abs=2)
    raised = f"{done.recording.findings[0].figures['raised_db']:g}"
    assert f"raised by {raised} dB" in render.recording(done, "en")
    assert f"提高 {raised} dB" in render.recording(done, "zh")


def test_of_a_good_recording_the_page_has_one_line(jobs, tmp_path):
    job = submit(jobs, EXAMPLE / "english-home.flac")
    jobs._attempt(jobs.journal.take())
    done = jobs.observe(job).transcript
    for language, said in (("en", "good: "), ("zh", "良好：")):
        html = render.recording(done, language)
        assert said in html
        assert "dBFS" in html
        assert "<li" not in html
    assert render.recording(None, "en") == ""
    assert render.recording(dataclasses.replace(done, recording=None), "en") == ""


def test_a_paused_job_keeps_its_text_lets_others_by_and_goes_on_where_it_stopped(jobs, recording):
    engine = jobs._worker._engines.engine
    engine.gate = threading.Semaphore(3)
    job = submit(jobs, recording)
    jobs.start()
    wait(jobs, job, lambda view: len(view.segments) >= 2)
    jobs.pause(job)
    engine.gate.release(1)
    paused = wait(jobs, job, lambda view: view.state == "paused")
    assert not paused.finished
    said = [s.text for s in paused.segments]
    engine.gate.release(10**6)
    other = submit(jobs, recording)
    whole = wait(jobs, other, lambda view: view.finished)
    assert jobs.observe(job).state == "paused"
    jobs.go_on(job)
    done = wait(jobs, job, lambda view: view.finished)
    assert done.state == "done"
    assert [s.text for s in done.segments][: len(said)] == said
    assert [s.start_s for s in done.segments] == [s.start_s for s in whole.segments]


def test_a_job_that_waits_is_paused_at_once_and_may_be_cancelled_then(jobs, recording):
    job = submit(jobs, recording)
    jobs.pause(job)
    assert jobs.observe(job).state == "paused"
    assert jobs.journal.idle()
    jobs.cancel(job)
    jobs.go_on(job)
    assert jobs.observe(job).state == "cancelled"


def test_a_job_that_was_to_pause_when_the_process_died_is_paused(jobs, recording):
    job = submit(jobs, recording)
    jobs.journal.take()
    jobs.pause(job)
    jobs.journal.recover()
    assert jobs.observe(job).state == "paused"
    jobs.go_on(job)
    assert jobs.journal.take().id == job
    assert not jobs.journal.stop_asked(job)

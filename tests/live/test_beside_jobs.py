"""Live speech and a job with one engine: captions come in the middle of a long job, whose words stay the same."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from fakes import recording, submit, wait  # noqa: F401 (a fixture)
from speech import Listener, LoudIsSpeech, talk

from asr_app import catalog, engines
from asr_app.audio import Limits
from asr_app.checks import Check
from asr_app.datatypes import Options, Segment, Word
from asr_app.engines import Engines
from asr_app.errors import Cancelled
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.live.desk import Desk
from asr_app.loading import Loaded
from asr_app.memory import Needs
from asr_app.precision import Precision
from asr_app.precision.counting import report
from asr_app.stopping import Stop

CARD = catalog.find("demo-paraformer")


class Alone:
    """An engine that says how long its sound is, takes 60 ms, and must not be called twice at once."""

    workers = 1

    def __init__(self) -> None:
        self.parts = {"encoder": torch.nn.Linear(2, 2)}
        self.busy, self.callers = threading.Lock(), list[str]()

    def transcribe(self, batch, options):
        assert self.busy.acquire(blocking=False), "two calls at once"
        self.callers += [threading.current_thread().name] * len(batch)
        time.sleep(0.06)
        self.parts["encoder"](torch.zeros(2))
        self.busy.release()
        return [[Segment(0.1, 0.4, f"n{len(samples)}", (Word(0.1, 0.4, f"n{len(samples)}"),))] for samples in batch]


@pytest.fixture
def own(monkeypatch) -> tuple[Engines, Alone]:
    """The product's own Engines, which load that engine."""
    engine = Alone()

    def load(folders, card, precision, *_):
        return Loaded(card, engine, report(engine.parts, precision), "cpu", 1.5, 0.5, Check("x"), 1)

    monkeypatch.setattr(engines, "locate", lambda *_: {"model": Path("x")})
    monkeypatch.setattr(engines, "load_from", load)
    monkeypatch.setattr(engines, "needs", lambda *_: Needs(1, 1))
    return Engines("cpu", 1, "modelscope"), engine


def test_captions_come_in_the_middle_of_a_job_whose_words_stay_the_same(own, tmp_path, recording):
    made, engine = own
    jobs, desk, heard = Jobs(Journal(tmp_path / "home"), made, Limits()), Desk(made, LoudIsSpeech), Listener()
    jobs.start()
    alone = wait(jobs, submit(jobs, recording), lambda v: v.state == "done")
    engine.callers.clear()

    job = submit(jobs, recording)
    wait(jobs, job, lambda v: len(v.segments) >= 2)
    stream = desk.open(CARD, Precision.INT8, Options(), heard)
    stream.feed(talk("1 2 3 4"))
    heard.until(lambda: bool(heard.partials))
    assert jobs.observe(job).state == "running"
    stream.feed(talk("..."))
    heard.until(lambda: bool(heard.texts))
    assert jobs.observe(job).state == "running"
    beside = wait(jobs, job, lambda v: v.state == "done")

    first, last = engine.callers.index("live"), len(engine.callers) - 1 - engine.callers[::-1].index("live")
    assert 0 < first < last < len(engine.callers) - 1
    assert [s.text for s in beside.segments] == [s.text for s in alone.segments]
    assert [(s.start_s, s.end_s) for s in beside.segments] == [(s.start_s, s.end_s) for s in alone.segments]
    jobs.stop()
    desk.stop()


def test_a_guest_goes_on_when_its_host_is_cancelled(own):
    made, engine = own
    stop = Stop()
    with made.use(CARD, Precision.INT8, stop=stop):
        stop.ask()
        with made.between(CARD, Precision.INT8) as guest:
            assert len(guest.engine.transcribe([torch.zeros(800).numpy()], Options())) == 1
        with pytest.raises(Cancelled):
            engine.parts["encoder"](torch.zeros(2))


def test_a_guest_gets_another_engine_where_the_host_hangs(own, monkeypatch):
    made, _ = own
    with made.use(CARD, Precision.INT8, stop=(stop := Stop())) as hung, hung.gate.step(), stop.due_within(0.0):
        with made.between(CARD, Precision.INT8) as guest:
            assert guest.gate is not hung.gate
        assert made.resident()[0] is not hung


def test_a_batch_goes_chunk_by_chunk_beside_live_speech(own):
    from asr_app import retry
    from asr_app.checks import FiniteWatch
    from asr_app.datatypes import Chunk

    made, engine = own
    sizes = []
    transcribe = engine.transcribe
    engine.transcribe = lambda batch, options: sizes.append(len(batch)) or transcribe(batch, options)
    chunks = [Chunk(float(i), talk("1")) for i in range(3)]
    with made.use(CARD, Precision.INT8) as loaded, FiniteWatch(engine.parts) as watch:
        assert len(retry.recognise(loaded, watch, chunks, Options()).segments) == 3
        with made.between(CARD, Precision.INT8):
            pass
        assert len(retry.recognise(loaded, watch, chunks, Options()).segments) == 3
    assert sizes == [3, 1, 1, 1]

"""Cancel and stop take effect within two seconds in every stage, and a model that hangs ends one job alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXAMPLE
from fakes import FakeEngine, submit, wait

from asr_app import audio, catalog, engines, loading, pipeline, retry, startup, vad
from asr_app.audio import Limits
from asr_app.checks import Check
from asr_app.datatypes import SAMPLE_RATE, Audio, Options, Segment
from asr_app.engines import Engines
from asr_app.errors import Cancelled
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.loading import Loaded
from asr_app.memory import Needs
from asr_app.precision import Precision
from asr_app.precision.counting import report
from asr_app.stopping import Stop, stoppable, supervise

WITHIN_S = 2.0
RECORDING = EXAMPLE / "english-home.flac"


class Blocked:
    """A call that does not return until the test ends."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def __call__(self, *_: object, **__: object) -> None:
        self.begun.set()
        self.over.wait(60)


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    made = Blocked()
    yield made
    made.over.set()


@pytest.fixture
def jobs(tmp_path, monkeypatch) -> Iterator[Jobs]:
    """Jobs with the product's own Engines, which load a new FakeEngine each time."""

    def load(folders, card, precision, *_):
        engine = FakeEngine()
        return Loaded(card, engine, report(engine.parts, precision), "cpu", 1.5, 0.5, Check("x"), 1)

    monkeypatch.setattr(engines, "locate", lambda *_: {"model": Path("x")})
    monkeypatch.setattr(engines, "load_from", load)
    monkeypatch.setattr(engines, "needs", lambda *_: Needs(1, 1))
    made = Jobs(Journal(tmp_path / "home"), Engines("cpu", 1, "modelscope"), Limits())
    yield made
    made.stop()


@contextmanager
def held(lock: threading.Lock, blocked: Blocked) -> Iterator[None]:
    """`lock` in another's hands until the test ends."""
    taken = threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            blocked()

    threading.Thread(target=hold, daemon=True).start()
    assert taken.wait(5)
    yield


def block(stage: str, jobs: Jobs, blocked: Blocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a job stay in `stage`."""
    card, own = catalog.find("demo-paraformer"), jobs._worker._engines
    match stage:
        case "decoding":
            monkeypatch.setattr(pipeline, "read", blocked)
        case "downloading":
            monkeypatch.setattr(engines, "locate", blocked)
        case "a download of another":
            with held(own._fetching[card.key], blocked):
                pass
        case "making a variant":
            monkeypatch.setattr(engines, "load_from", blocked)
        case "loading of another":
            with held(own._loading, blocked):
                pass
        case "the engine's lock":
            with own.use(card, Precision.INT8) as loaded:
                pass
            with held(loaded.lock, blocked):
                pass
        case "vad":
            monkeypatch.setattr(vad, "_piece_probabilities", blocked)
        case "recognition":
            monkeypatch.setattr(FakeEngine, "transcribe", blocked)
        case "punctuation":
            monkeypatch.setattr(FakeEngine, "punctuate", blocked)


STAGES = (
    "decoding", "downloading", "a download of another", "making a variant", "loading of another", "the engine's lock",
    "vad", "recognition", "punctuation",
)  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_cancel_takes_effect_in_every_stage_and_the_next_job_starts(stage, jobs, blocked, monkeypatch):
    block(stage, jobs, blocked, monkeypatch)
    job, other = submit(jobs, RECORDING), submit(jobs, RECORDING)
    jobs.start()
    assert blocked.begun.wait(20)
    time.sleep(0.5)
    assert jobs.observe(job).state == "running"
    jobs.cancel(job)
    began = time.monotonic()
    wait(jobs, job, lambda v: v.finished, WITHIN_S)
    assert jobs.observe(job).state == "cancelled"
    assert time.monotonic() - began < WITHIN_S
    wait(jobs, other, lambda v: v.state == "running", 2)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stop_of_the_server_takes_effect_in_every_stage(stage, jobs, blocked, monkeypatch):
    block(stage, jobs, blocked, monkeypatch)
    job = submit(jobs, RECORDING)
    jobs.start()
    assert blocked.begun.wait(20)
    began = time.monotonic()
    jobs.stop()
    assert time.monotonic() - began < WITHIN_S
    assert jobs.observe(job).state == "queued"  # taken up again at the next start


def test_what_is_left_behind_writes_nothing_and_gives_its_engine_back(jobs, blocked, monkeypatch):
    begun = FakeEngine.transcribe

    def transcribe(self, batch, options):
        blocked()
        return begun(self, batch, options)

    monkeypatch.setattr(FakeEngine, "transcribe", transcribe)
    job = submit(jobs, RECORDING)
    jobs.start()
    assert blocked.begun.wait(20)
    jobs.cancel(job)
    wait(jobs, job, lambda v: v.finished)
    (loaded,) = jobs._worker._engines.resident()
    assert loaded.lock.locked()  # no other job may use it as long as it works
    blocked.over.set()
    assert loaded.lock.acquire(timeout=5)
    loaded.lock.release()
    view = jobs.observe(job)
    assert (view.state, view.segments, view.transcript) == ("cancelled", (), None)
    again = submit(jobs, RECORDING)
    assert wait(jobs, again, lambda v: v.finished).state == "done"
    assert jobs._worker._engines.resident() == [loaded]  # it was not loaded anew


def test_an_engine_that_hangs_ends_its_job_alone_and_is_handed_to_nobody(jobs, blocked, monkeypatch):
    monkeypatch.setattr(retry, "_LEAST_DUE_S", 0.3)
    monkeypatch.setattr(retry, "_DUE_TIMES", 0.0)
    with jobs._worker._engines.use(catalog.find("demo-paraformer"), Precision.INT8) as hanging:
        hanging.engine.transcribe = blocked
    job, other = submit(jobs, RECORDING), submit(jobs, RECORDING)
    jobs.start()
    view = wait(jobs, job, lambda v: v.finished, 5)
    assert view.state == "failed"
    assert "did not answer" in view.error.en
    assert "没有响应" in view.error.zh
    assert wait(jobs, other, lambda v: v.finished, 10).state == "done"
    (loaded,) = jobs._worker._engines.resident()
    assert loaded is not hanging


def test_an_engine_that_hangs_after_a_cancel_holds_up_the_next_job_for_a_bounded_time(jobs, blocked, monkeypatch):
    monkeypatch.setattr("asr_app.stopping._AFTER_STOP_S", 0.5)
    with jobs._worker._engines.use(catalog.find("demo-paraformer"), Precision.INT8) as hanging:
        hanging.engine.transcribe = blocked
    job, other = submit(jobs, RECORDING), submit(jobs, RECORDING)
    jobs.start()
    assert blocked.begun.wait(20)
    jobs.cancel(job)
    assert wait(jobs, job, lambda v: v.finished).state == "cancelled"
    assert wait(jobs, other, lambda v: v.finished, 10).state == "done"


def test_a_slow_engine_is_not_taken_for_one_that_hangs():
    """The slowest real one takes 27 s for a second of sound."""
    samples = np.zeros(30 * SAMPLE_RATE, np.float32)
    engine = FakeEngine()
    loaded = Loaded(None, engine, report(engine.parts, Precision.FP32), "cpu", 0, 0, Check("x"), 1)
    began = time.monotonic()
    with retry.due(loaded, [samples, samples]):
        (due,) = loaded.stop._due.values()
    assert due - began > 2 * 27 * 60


def test_hours_of_sound_are_left_at_the_next_minute(monkeypatch):
    stop, pieces = Stop(), []
    judged = vad._piece_probabilities

    def piece(model, samples, start):
        pieces.append(start)
        if len(pieces) == 2:
            stop.ask()
        return judged(model, samples, start)

    monkeypatch.setattr(vad, "_piece_probabilities", piece)
    with pytest.raises(Cancelled):
        vad.speech_spans(Audio(np.zeros(4 * 3600 * SAMPLE_RATE, np.float32), "x"), 1, stop.check)
    assert len(pieces) == 2


def test_a_cancel_while_the_level_of_pauses_is_raised_ends_it():
    noise = np.random.default_rng(0).normal(0, 0.001, 180 * SAMPLE_RATE).astype(np.float32)
    checks = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        vad._quiet_spans(Audio(noise, "x"), 0.0, 180.0, check)


DEMOS = [card.id for card in catalog.CARDS.values() if card.note == "demo"]


@pytest.mark.models
@pytest.mark.parametrize("model", DEMOS)
def test_every_family_ends_within_a_layer_or_a_token(model):
    """The stop comes in the last part's second call: the second token of a decoder, or of another chunk."""
    card = catalog.find(model)
    loaded = loading.load(card, Precision.FP32, "cpu", 1, "modelscope")
    samples = audio.decode(RECORDING).samples[: int(card.max_chunk_s * SAMPLE_RATE)]
    stop, calls = Stop(), []
    last = [name for name in loaded.engine.parts if name != "punctuation"][-1]

    def count(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            stop.ask()

    with stoppable(loaded.modules, stop):
        counter = loaded.engine.parts[last].register_forward_hook(count)
        with pytest.raises(Cancelled):
            loaded.engine.transcribe([samples] * 3, Options())
        counter.remove()
    assert len(calls) == 2
    assert loaded.engine.transcribe([samples], Options())[0]  # as good as before
    assert not any(m._forward_pre_hooks for part in loaded.engine.parts.values() for m in part.modules())


@pytest.mark.models
@pytest.mark.parametrize("model", DEMOS)
def test_the_stop_of_a_job_reaches_the_engine_that_it_uses_and_its_vad(model):
    card, stop = catalog.find(model), Stop()
    sound = audio.decode(RECORDING)
    samples = sound.samples[: int(card.max_chunk_s * SAMPLE_RATE)]
    with Engines("cpu", 1, "modelscope").use(card, Precision.FP32, stop=stop) as loaded:
        assert pipeline.cut(sound, loaded)[0]
        stop.ask()
        with pytest.raises(Cancelled):
            loaded.engine.transcribe([samples], Options())
        with pytest.raises(Cancelled):
            pipeline.cut(sound, loaded)


class Stack(torch.nn.Sequential):
    """A module that calls its layers as FunASR's MultiSequential does."""


def test_an_encoder_ends_between_two_layers():
    stop = Stop()
    layers = Stack(*(torch.nn.Identity() for _ in range(4)))
    layers[1].register_forward_hook(lambda *_: stop.ask())
    ran = [layer.register_forward_hook(lambda *_, i=i: reached.append(i)) for i, layer in enumerate(layers)]
    reached: list[int] = []
    with stoppable({"encoder": torch.nn.ModuleDict({"a": layers})}, stop), pytest.raises(Cancelled):
        layers(torch.zeros(1))
    assert reached == [0, 1]
    assert len(ran) == 4


def test_a_preparation_that_does_not_return_is_left_behind(monkeypatch, blocked):
    class Hanging:
        @contextmanager
        def use(self, card, *_):
            blocked()
            yield

    cards = [catalog.find(name) for name in ("whisper-base", "demo-paraformer")]
    preparer = startup.Preparer(Hanging(), *cards)
    preparer.begin(cards[0], Precision.FP32)
    assert blocked.begun.wait(5)
    began = time.monotonic()
    preparer.close()
    assert time.monotonic() - began < WITHIN_S
    assert preparer.failure is not None


def test_supervised_work_returns_raises_and_is_left_behind(blocked):
    assert supervise(lambda: 5, Stop(), lambda: None) == 5
    with pytest.raises(ZeroDivisionError):
        supervise(lambda: 1 / 0, Stop(), lambda: None)
    stop = Stop()

    def unwanted() -> None:
        raise Cancelled

    began = time.monotonic()
    with pytest.raises(Cancelled):
        supervise(blocked, stop, unwanted)
    assert time.monotonic() - began < WITHIN_S
    with pytest.raises(Cancelled):
        stop.check()


def test_a_second_try_at_full_precision_can_be_cancelled_and_is_watched():
    """The stop of the job goes with it to the model at FP32."""
    engine, stop = FakeEngine(), Stop()

    def transcribe(batch, options):
        assert stop._due  # watched
        stop.ask()
        return [[Segment(0, 1, "x")]]

    engine.transcribe = transcribe
    above = Loaded(None, engine, report(engine.parts, Precision.FP32), "cpu", 0, 0, Check("x"), 1, stop=stop)
    with pytest.raises(Cancelled):
        retry._transcribe(above, type("Watch", (), {"taken": lambda _: []})(), [np.zeros(16000, np.float32)], Options())

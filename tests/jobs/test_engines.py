"""Engines for several users at once: one download, one loading, one user at a time; and the device they are on."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fakes import FakeEngine

from asr_app import catalog, devices, engines, idle
from asr_app.checks import Check
from asr_app.devices import pick_device, usable_cores
from asr_app.engines import Engines
from asr_app.errors import Cancelled, UserError
from asr_app.idle import IdleUnloader
from asr_app.loading import Loaded
from asr_app.memory import Needs
from asr_app.precision import Precision
from asr_app.precision.counting import report
from asr_app.stopping import Stop
from asr_app.ui.arrival import pill

CARD, OTHER = catalog.find("demo-paraformer"), catalog.find("demo-sensevoice")


@pytest.fixture
def own(monkeypatch) -> Engines:
    """Engines that load a new FakeEngine each time, and note in `own.loads` of which model."""
    made = Engines("cpu", 3, "modelscope")
    made.loads = []

    def load(_folders, card, precision, *_):
        made.loads.append(card.id)
        engine = FakeEngine()
        return Loaded(card, engine, report(engine.parts, precision), "cpu", 1.5, 0.5, Check("x"), 3)

    monkeypatch.setattr(engines, "locate", lambda *_: {"model": Path("x")})
    monkeypatch.setattr(engines, "load_from", load)
    monkeypatch.setattr(engines, "needs", lambda *_: Needs(1, 1))
    return made


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_who_ask_for_a_model_share_one_download_and_its_progress(own, monkeypatch):
    begun, go, told = [], threading.Event(), []

    def locate(_card, _hub, on_progress):
        begun.append(1)
        on_progress(10, 100)
        go.wait(10)
        return {"model": Path("x")}

    def use(on_progress):
        with own.use(CARD, Precision.INT8, on_progress) as loaded:
            return loaded

    monkeypatch.setattr(engines, "locate", locate)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(use, None)
        wait_until(lambda: bool(begun))
        second = pool.submit(use, lambda *figures: told.append(figures))
        wait_until(lambda: bool(told))
        assert told[-1] == (10, 100)
        assert len(begun) == 1
        go.set()
        assert first.result(10) is second.result(10)
    assert own.loads == [CARD.id]


def test_a_download_ends_where_its_user_cancels(own, monkeypatch):
    stop = Stop()

    def locate(_card, _hub, on_progress):
        on_progress(10, 100)
        stop.ask()
        on_progress(20, 100)

    monkeypatch.setattr(engines, "locate", locate)
    told = []
    with pytest.raises(Cancelled):
        own.use(CARD, Precision.INT8, lambda *figures: told.append(figures), stop=stop).__enter__()
    assert told == [(10, 100)]
    assert own.loads == []


def test_who_gives_up_waiting_does_not_hold_the_engine(own):
    stop = Stop()
    with own.use(CARD, Precision.INT8) as loaded:
        stop.ask()
        with pytest.raises(Cancelled):
            own.use(CARD, Precision.INT8, stop=stop).__enter__()
        assert loaded.users == 1
    assert (loaded.users, loaded.lock.locked()) == (0, False)


def test_an_engine_is_used_by_one_at_a_time_with_all_threads(own):
    torch.set_num_threads(1)
    with own.use(CARD, Precision.INT8) as loaded:
        assert torch.get_num_threads() == 3
        assert loaded.lock.locked()
    with own.use(CARD, Precision.INT8) as again:
        assert again is loaded
    with own.use(CARD, Precision.FP32) as full:
        assert full is not loaded


def test_the_last_one_used_is_named_first(own):
    for card in (CARD, OTHER, CARD):
        with own.use(card, Precision.INT8):
            pass
    assert [x.card for x in own.resident()] == [CARD, OTHER]


def test_a_precision_that_the_model_lacks_is_refused_before_anything_is_fetched(own, monkeypatch):
    monkeypatch.setattr(engines, "locate", lambda *_: pytest.fail("fetched"))
    with pytest.raises(UserError, match=r"no INT8 variant\. Choose one of: fp32"):
        own.use(dataclasses.replace(CARD, precisions=(Precision.FP32,)), Precision.INT8).__enter__()


@pytest.mark.parametrize(
    ("wanted", "devices", "picked"),
    [
        ("auto", 0, "cpu"), ("auto", 1, "cuda:0"), ("cpu", 0, "cpu"), ("cpu", 1, "cpu"), ("cuda", 1, "cuda"),
        ("cuda:0", 1, "cuda:0"), ("cuda:1", 2, "cuda:1"),
        ("cuda", 0, "No CUDA device"), ("cuda:1", 1, "no cuda:1: 1 CUDA devices"), ("cuda:2", 1, "no cuda:2"),
        ("gpu", 0, "Unknown device 'gpu'"), ("mps", 1, "Unknown device 'mps'"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_there_is_refused(wanted, devices, picked, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    if picked.startswith(("cpu", "cuda")):
        assert pick_device(wanted) == picked
    else:
        with pytest.raises(UserError, match=picked):
            pick_device(wanted)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("5000000 100000", 8), (OSError(), 8)],
)
def test_the_limit_of_a_cgroup_counts_for_the_cores(limit, cores, monkeypatch):
    def read() -> str:
        if isinstance(limit, OSError):
            raise limit
        return limit

    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: set(range(8 - pid)), raising=False)
    monkeypatch.setattr(devices, "Path", lambda _: SimpleNamespace(read_text=read))
    assert usable_cores() == cores


def test_a_model_that_was_not_used_for_a_while_is_unloaded_and_the_next_job_loads_it(own, monkeypatch):
    monkeypatch.setattr(idle, "_LOOK_S", 0.02)
    with own.use(CARD, Precision.INT8):
        assert own.unload_idle() == 0
        assert own.resting is None
    unloader = IdleUnloader(own, 0.3 / 60)
    unloader.start()
    began = time.monotonic()
    try:
        while own.resident() and time.monotonic() - began < 10:
            time.sleep(0.02)
    finally:
        unloader.stop()
    assert time.monotonic() - began >= 0.25
    assert own.resting == (CARD, Precision.INT8)
    shown = pill(own.resident(), own.resting, None, "en")
    assert f"{CARD.id} · INT8 · rests until the next job" in shown
    assert "bad" not in shown
    with own.use(CARD, Precision.INT8):
        assert own.resting is None
    assert own.loads == [CARD.id, CARD.id]


def test_only_what_was_not_used_for_so_long_goes(own):
    own.budget = 10**9
    for card in (CARD, OTHER):
        with own.use(card, Precision.FP32):
            pass
    own.resident()[1].last_used -= 100
    own.unload_idle(60.0)
    assert [loaded.card for loaded in own.resident()] == [OTHER]
    assert own.resting is None


def test_without_the_flag_nothing_is_unloaded(own):
    before = threading.active_count()
    IdleUnloader(own, 0.0).start()
    assert threading.active_count() == before

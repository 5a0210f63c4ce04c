"""A guest goes between the calls of an engine's holder: never beside one, and neither waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from asr_app.errors import Cancelled
from asr_app.gate import Gate
from asr_app.stopping import Stop


def test_a_guest_is_never_beside_a_step_and_they_alternate():
    gate, inside, order = Gate(), [], []

    def holder() -> None:
        for _ in range(20):
            with gate.step():
                inside.append("step")
                time.sleep(0.005)
                order.append("step")
                inside.remove("step")

    def guest() -> None:
        for _ in range(10):
            with gate.between():
                assert gate.is_guest()
                assert not inside
                time.sleep(0.005)
                order.append("guest")
                assert not inside

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(holder), pool.submit(guest)]:
            done.result(20)
    first, last = order.index("guest"), len(order) - 1 - order[::-1].index("guest")
    among = order[first : last + 1]
    assert among == ["guest", "step"] * (len(among) // 2) + ["guest"]


def test_steps_may_be_several_at_once_and_a_guest_waits_for_all():
    gate, both = Gate(), threading.Barrier(3)
    over = threading.Event()

    def step() -> None:
        with gate.step():
            both.wait(5)
            over.wait(5)

    came = threading.Event()

    def guest() -> None:
        with gate.between():
            came.set()

    threads = [threading.Thread(target=step), threading.Thread(target=step)]
    for thread in threads:
        thread.start()
    both.wait(5)
    visitor = threading.Thread(target=guest)
    visitor.start()
    assert not came.wait(0.1)
    assert gate.is_shared
    over.set()
    assert came.wait(5)
    for thread in (*threads, visitor):
        thread.join(5)


def test_waiting_ends_with_the_work_and_leaves_the_gate_usable():
    gate, stop = Gate(), Stop()
    stop.ask()
    with gate.between(), ThreadPoolExecutor(1) as pool:

        def step() -> None:
            with gate.step(stop.check):
                pass

        with pytest.raises(Cancelled):
            pool.submit(step).result(5)
    with gate.step(), ThreadPoolExecutor(1) as pool:

        def guest() -> None:
            with gate.between(stop.check):
                pass

        with pytest.raises(Cancelled):
            pool.submit(guest).result(5)
    with gate.between():
        pass
    with gate.step():
        assert not gate.is_guest()

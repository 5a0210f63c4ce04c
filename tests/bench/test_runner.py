"""One benchmark at a time, while no transcription waits: it gives way, goes on, is cancelled, fails, outlives the server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from conftest import ROOT
from fakes import FakeEngines

from asr_app.bench import runner as module
from asr_app.bench.benchmarks import Benchmarks
from asr_app.bench.child import kill_tree
from asr_app.bench.records import Asked
from asr_app.bench.runner import Pace, Runner
from asr_app.report.bench import Step
from asr_app.storage import Storage


class House:
    """Benchmarks of one dataset whose processes follow a plan; `idle` is whether no transcription waits."""

    def __init__(self, folder: Path) -> None:
        data = folder / "data"
        data.mkdir()
        soundfile.write(data / "a.wav", np.zeros(1600), 16000)
        (data / "refs.tsv").write_text("a.wav\ten\tone\n", encoding="utf-8")
        self.plan = data / "plan.json"
        self.storage, self.idle = Storage(folder / "home"), True
        self.open(data)

    def open(self, data: Path) -> None:
        self.benchmarks = Benchmarks(self.storage, {"data": data})
        self.runner = Runner(
            self.benchmarks, FakeEngines(), ROOT, lambda: self.idle, "tests.bench.fake_child"
        )  # fmt: skip

    def begin(self, steps: int = 3, end: str | int = "done") -> str:
        self.plan.write_text(json.dumps({"steps": steps, "end": end}), encoding="utf-8")
        draft = self.benchmarks.draft_offered("data")
        return self.benchmarks.begin(draft.id, Asked(("demo-paraformer",), ("fp32",)))

    def state(self, id_: str) -> str:
        return self.benchmarks.find(id_).state

    def steps(self, id_: str) -> int:
        done = self.storage.benchmarks / id_ / "done"
        return len(done.read_text()) if done.exists() else 0


def wait(until: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if until():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if p.is_running() and p.status() != "zombie"]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(module, "_QUIET_S", 0.0)
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.05)
    made = House(tmp_path)
    yield made
    made.runner.stop()


def test_one_after_the_other_until_done(house: House) -> None:
    one, two = house.begin(), house.begin()
    assert house.runner.wants_machine
    house.runner.start()
    wait(lambda: house.steps(one) == 1)
    assert house.benchmarks.busy == one
    assert house.state(two) == "queued"
    wait(lambda: house.runner.progress is not None and house.runner.progress.step.done == 2)
    assert house.runner.progress.step.arm == "int8"
    wait(lambda: house.state(two) == "done")
    assert house.state(one) == "done"
    wait(lambda: house.runner.progress is None and not house.benchmarks.busy)
    assert not house.runner.wants_machine


def test_a_transcription_goes_first_and_the_benchmark_goes_on_where_it_was(house: House) -> None:
    id_ = house.begin(12)
    house.runner.start()
    wait(lambda: house.steps(id_) == 2)
    house.idle = False
    house.runner.make_way()
    assert not children()
    assert (house.state(id_), house.benchmarks.find(id_).breaks) == ("queued", 1)
    done = house.steps(id_)
    time.sleep(0.3)
    assert house.steps(id_) == done < 12
    house.idle = True
    wait(lambda: house.state(id_) == "done")
    assert house.steps(id_) == 12


def test_nothing_begins_while_a_transcription_waits(house: House) -> None:
    house.idle = False
    id_ = house.begin()
    house.runner.start()
    time.sleep(0.3)
    assert house.state(id_) == "queued"
    house.runner.make_way()  # returns at once


def test_cancel_ends_the_process_and_keeps_what_is_done(house: House) -> None:
    id_ = house.begin(50)
    house.runner.start()
    wait(lambda: house.steps(id_) == 2)
    house.benchmarks.cancel(id_)
    wait(lambda: not house.benchmarks.busy, 2)
    assert not children()
    assert house.state(id_) == "cancelled"
    assert 2 <= house.steps(id_) < 10
    house.plan.write_text(json.dumps({"steps": house.steps(id_) + 1, "end": "done"}), encoding="utf-8")
    house.benchmarks.go_on(id_)
    wait(lambda: house.state(id_) == "done")


@pytest.mark.parametrize(("end", "said"), [("error", ("why", "原因")), (3, ("it broke", "it broke"))])
def test_a_failure_is_told_and_the_next_one_runs(house: House, end: str | int, said: tuple[str, str]) -> None:
    one = house.begin(1, end)
    house.runner.start()
    wait(lambda: house.state(one) == "failed")
    assert all(part in text for part, text in zip(said, house.benchmarks.find(one).error, strict=True))
    two = house.begin(1)
    wait(lambda: house.state(two) == "done")


def test_a_stopped_server_goes_on_at_its_next_start(house: House) -> None:
    id_ = house.begin(8)
    house.runner.start()
    wait(lambda: house.steps(id_) == 2)
    house.runner.stop()
    assert house.state(id_) == "queued"
    assert not children()
    done = house.steps(id_)
    house.open(house.plan.parent)
    house.runner.start()
    wait(lambda: house.state(id_) == "done")
    assert 2 <= done < house.steps(id_) == 8


def test_data_that_are_not_offered_any_more_are_told(house: House) -> None:
    id_ = house.begin()
    house.benchmarks = Benchmarks(house.storage, {})
    house.runner = Runner(house.benchmarks, FakeEngines(), ROOT, lambda: True, "tests.bench.fake_child")
    house.runner.start()
    wait(lambda: house.state(id_) == "failed")
    assert "not offered" in house.benchmarks.find(id_).error[0]


def test_an_engine_in_use_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """selfbench.py may hold one, which would be missing from the free memory."""
    resident = [object()]
    monkeypatch.setattr(house.runner._engines, "resident", lambda: resident)
    id_ = house.begin(1)
    house.runner.start()
    time.sleep(0.3)
    assert house.state(id_) == "queued"
    resident.clear()
    wait(lambda: house.state(id_) == "done")


def test_the_process_ends_with_its_server_and_takes_its_arms_along() -> None:
    code = (
        "import subprocess, sys, threading, time\n"
        "from asr_app.bench import child\n"
        "threading.Thread(target=child._end_with_server, daemon=True).start()\n"
        "arm = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(arm.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    arm = psutil.Process(int(process.stdout.readline()))
    try:
        process.stdin.close()  # as the system does when the server is killed
        assert process.wait(10) != 0
        wait(lambda: not arm.is_running() or arm.status() == "zombie")
    finally:
        kill_tree(process.pid)
        process.stdout.close()


def test_the_time_left_does_not_count_what_an_earlier_run_has_made() -> None:
    pace = Pace()
    step = lambda done: Step("texts", done, 100, "", "m", "a")  # noqa: E731
    assert pace.left_s(step(0), 0.0) is None
    assert pace.left_s(step(50), 0.01) is None
    assert pace.left_s(step(60), 10.01) == pytest.approx(40.0)
    assert pace.left_s(step(70), 20.01) == pytest.approx(30.0)
    assert pace.left_s(Step("speed", 0, 10, "", "m", "a"), 21.0) is None
    assert pace.left_s(Step("speed", 1, 10, "", "m", "a"), 21.1) == pytest.approx(0.9)

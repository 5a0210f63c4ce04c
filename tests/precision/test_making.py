"""A large variant is made in a process of its own, which ends when nobody wants it and takes nothing with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ROOT

from asr_app import catalog, loading, making
from asr_app.datatypes import ModelCard
from asr_app.errors import Cancelled, UserError
from asr_app.precision import Precision

CARD = catalog.find("demo-sensevoice")


@pytest.fixture(autouse=True)
def always_a_child(monkeypatch):
    monkeypatch.setattr(loading, "_CHILD_BYTES", 0)


def make(cache: Path, on_step=None, card: ModelCard = CARD, folders: dict[str, Path] | None = None) -> None:
    making.make(folders or loading.locate(card, "modelscope"), card, Precision.INT8, "cpu", 1, cache, on_step)


def children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if "asr_app.making" in process.cmdline():
                found.append(process)
    return found


def variants_in(cache: Path) -> list[str]:
    return [path.name for path in (cache / "variants").glob("*")]


@pytest.mark.models
def test_what_a_child_makes_is_used(tmp_path):
    steps = []
    loaded = loading.load(CARD, Precision.INT8, "cpu", 1, "modelscope", None, tmp_path, lambda *s: steps.append(s))
    assert loaded.check.passed
    assert "INT8" in loaded.precision.effective
    assert len(variants_in(tmp_path)) == 1
    assert steps[0] == (0, 1)
    assert not children()


@pytest.mark.models
def test_a_cancel_ends_the_child_and_leaves_nothing_half_made(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "_TOLD_EVERY_S", 0.005)  # else the variant may be whole by then
    began, running = [], []

    def cancel(done: int, total: int) -> None:
        if total > 1 and (tmp_path / "variants").is_dir():  # it writes
            began.append(time.monotonic())
            running.extend(children())
            raise Cancelled

    with pytest.raises(Cancelled):
        make(tmp_path, cancel)
    assert time.monotonic() - began[0] < 1
    assert len(running) == 1
    assert not running[0].is_running()
    assert variants_in(tmp_path) == []


@pytest.mark.models
def test_a_child_that_is_killed_is_told_in_a_sentence(tmp_path):
    def kill(*_: int) -> None:
        for process in children():
            process.kill()

    with pytest.raises(UserError, match=r"status -9, as when memory runs out") as told:
        make(tmp_path, kill)
    assert "内存不足" in told.value.zh


@pytest.mark.models
def test_an_error_in_the_child_is_the_one_that_loading_has(tmp_path):
    torch.save({"dims": {}, "model_state_dict": {}}, tmp_path / "own.pt")
    with pytest.raises(UserError, match="expected one of") as told:
        make(tmp_path / "cache", folders={"model": tmp_path})
    assert "需要" in told.value.zh
    (tmp_path / "full").write_text("no folder")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        make(tmp_path / "full")


@pytest.mark.models
def test_a_child_ends_with_its_parent(tmp_path):
    """A server that is killed leaves no process behind that works for nobody."""
    code = (
        f"import sys; sys.path[:0] = {[str(ROOT), *(str(ROOT / 'tests' / name) for name in ('', 'precision'))]!r}\n"
        f"import test_making, pathlib; test_making.make(pathlib.Path({str(tmp_path)!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (found := psutil.Process(parent.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(found, timeout=30)
    assert found
    assert alive == []


@pytest.mark.real
def test_a_real_variant_is_made_while_other_threads_go_on(whisper_base, tmp_path, monkeypatch):
    """In this process one call of the exporter kept the others waiting for a second."""
    monkeypatch.undo()
    pauses, stop = [], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            began = time.monotonic()
            time.sleep(0.01)
            pauses.append(time.monotonic() - began)

    card = catalog.find(str(whisper_base))
    import whisper  # noqa: F401  (importing it is no part of the making)

    thread = threading.Thread(target=tick)
    threads = []
    thread.start()
    try:
        make(tmp_path, lambda *_: threads.append(len(children())), card, {"model": whisper_base})
    finally:
        stop.set()
        thread.join()
    assert max(threads) == 1  # the child
    assert max(pauses) < 0.5
    assert len(variants_in(tmp_path)) == 1

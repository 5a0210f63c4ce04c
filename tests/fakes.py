"""A worker whose engine is twenty lines, for tests of jobs."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import EXAMPLE

from asr_app.audio import Limits
from asr_app.checks import Check
from asr_app.datatypes import Options, Segment, Word
from asr_app.engines import Engines
from asr_app.jobs import Jobs
from asr_app.journal import Journal, View
from asr_app.loading import Loaded
from asr_app.precision import Precision
from asr_app.precision.counting import report


class FakeEngine:
    """Says the number of the chunk; waits at `gate` first, and dies at chunk `dies_at`."""

    def __init__(self) -> None:
        self.parts = {"encoder": torch.nn.Linear(2, 2), "punctuation": torch.nn.Linear(2, 2)}
        self.workers = 1
        self.gate, self.count, self.dies_at = threading.Semaphore(10**6), 0, -1

    def transcribe(self, batch, options):
        self.gate.acquire()
        self.count += 1
        if self.count == self.dies_at:
            raise ValueError("numbers that are nobody's fault")
        word = Word(0.1, 0.4, f"w{self.count}")
        return [[Segment(0.1, 0.4, word.text, (word,))]]

    def punctuate(self, words):
        return [Segment(w.start_s, w.end_s, w.text + ".", (w,)) for w in words]


class FakeEngines(Engines):
    def __init__(self) -> None:
        super().__init__("cpu", 1, "modelscope", budget=1)
        self.engine = FakeEngine()

    @contextmanager
    def use(self, card, precision, on_progress=None, on_step=None, stop=None):
        counted = report(self.engine.parts, precision)
        yield Loaded(card, self.engine, counted, "cpu", 1.5, 0.5, Check("x"), 1)


@pytest.fixture
def recording(tmp_path) -> Path:
    """Twenty utterances far enough apart to be chunks of their own."""
    one, rate = soundfile.read(EXAMPLE / "english-home.flac")
    path = tmp_path / "two words'.wav"
    soundfile.write(path, np.tile(np.concatenate([one, np.zeros(rate)]), 7), rate)
    return path


def submit(jobs: Jobs, path: Path) -> str:
    return jobs.submit(path, path.name, "demo-paraformer", Precision.INT8, Options())


def wait(jobs: Jobs, job: str, until, seconds: float = 30) -> View:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        view = jobs.observe(job)
        if until(view):
            return view
        time.sleep(0.02)
    raise AssertionError(f"still {view.state}, {view.stage}, {len(view.segments)} segments")


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits())
    yield made
    made.stop()

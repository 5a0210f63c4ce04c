"""The doors of neighbours before a worker whose engine says what a test puts into its mouth."""

from __future__ import annotations

import io
import socket
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXAMPLE
from fakes import FakeEngine, FakeEngines
from live.speech import LoudIsSpeech, Reader

from asr_app import catalog
from asr_app.api.models import Offered
from asr_app.audio import Limits
from asr_app.checks import Check
from asr_app.datatypes import Segment, Word
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.live.desk import Desk
from asr_app.loading import Loaded
from asr_app.neighbours.recognition import Recognition
from asr_app.precision.counting import report
from asr_app.stopping import Stop

MOST_BYTES = 2**21 + 2**19  # of a recording
SECONDS = 3.0  # of speech
SENSEVOICE, WHISPER, PARAFORMER, NANO = (
    catalog.find(f"demo-{name}") for name in ("sensevoice", "whisper", "paraformer", "fun-asr")
)
# 你好，world。 with its words in seconds.
SAID = Segment(
    0.1, 1.0, "你好，world。", (Word(0.1, 0.3, "你", 0.9), Word(0.3, 0.5, "好"), Word(0.6, 1.0, "world")), language="zh"
)  # fmt: skip


class Speaking(FakeEngine):
    """Says `said` for each chunk, and remembers the options and the seconds of the chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = {"encoder": torch.nn.Linear(2, 2)}
        self.said, self.options, self.seconds = SAID, [], 0.0
        self.models: list[str] = []  # of the jobs

    def transcribe(self, batch, options):
        self.gate.acquire()
        self.count += 1
        if self.count == self.dies_at:
            raise ValueError("numbers that are nobody's fault")
        self.options.append(options)
        self.seconds += sum(len(chunk) for chunk in batch) / 16_000
        return [[self.said] for _ in batch]


class Engines(FakeEngines):
    """One model for jobs, `engine`, and one for live speech, whose words are levels of sound."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = Reader()

    @contextmanager
    def between(self, card, precision, stop=None):
        counted = report(self.reader.parts, precision)
        yield Loaded(card, self.reader, counted, "cpu", 0, 0, Check("x"), 1, stop or Stop())

    def use(self, card, precision, on_progress=None, on_step=None, stop=None):
        self.engine.models.append(card.id)
        return super().use(card, precision, on_progress, on_step, stop)


class House:
    """The recognition behind the doors, with its engine and its journal. `offers` changes the server's model."""

    def __init__(self, home: Path) -> None:
        engines = Engines()
        self.engine = engines.engine = Speaking()
        self.jobs = Jobs(Journal(home), engines, Limits(max_bytes=MOST_BYTES))
        self.reader, self.desk = engines.reader, Desk(engines, LoudIsSpeech)
        self.home, self._engines = home, engines
        self.recognition = self.offers(SENSEVOICE)

    def offers(self, card) -> Recognition:
        offered = Offered(self._engines, card, lite=False, picked=None)
        self.recognition = Recognition(self.jobs, self.desk, offered, Limits(max_bytes=MOST_BYTES))
        return self.recognition

    def wait_for_a_job(self) -> None:
        for _ in range(500):
            if not self.jobs.journal.idle():
                return
            time.sleep(0.02)
        raise AssertionError("no job was submitted")

    def wait_for_a_cancel(self) -> None:
        """Waits until the only job is asked to stop, or is gone."""
        for _ in range(500):
            with self.jobs.journal.transaction() as db:
                if not db.execute("SELECT COUNT(*) FROM jobs WHERE cancel = 0").fetchone()[0]:
                    return
            time.sleep(0.02)
        raise AssertionError("the job was not cancelled")

    def is_empty(self) -> bool:
        """Whether nothing of any request is left, waiting for it at most ten seconds."""
        for _ in range(100):
            with self.jobs.journal.transaction() as db:
                rows = db.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]
            files = [p for name in ("recordings", "uploads") for p in (self.home / name).rglob("*") if p.is_file()]
            if not rows and not files and self.desk.is_idle:
                return True
            time.sleep(0.1)
        return False


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    made = House(tmp_path / "home")
    made.jobs.start()
    yield made
    made.engine.gate.release(1000)  # jobs that a test holds
    made.reader.gate.release(1000)
    made.desk.stop()
    made.jobs.stop()


def samples() -> bytes:
    """Speech without a header: 16 bit, 16 kHz, mono."""
    with wave.open(str(EXAMPLE / "mandarin-home.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16_000, 2, 1)
        return file.readframes(round(SECONDS * 16_000))


def wav(channels: int = 1) -> bytes:
    """The speech as a WAV file, the same in all channels."""
    frames = np.repeat(np.frombuffer(samples(), np.int16)[:, None], channels, axis=1)
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((channels, 2, 16_000, 0, "NONE", ""))
        file.writeframes(frames.tobytes())
    return made.getvalue()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def listening(server) -> Iterator[int]:
    """The port on which a server of one of the doors listens."""
    port = free_port()
    server.start("127.0.0.1", port)
    try:
        yield port
    finally:
        server.close()

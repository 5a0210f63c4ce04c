"""Speech whose words are levels of sound, and an engine and a VAD that know them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch

from asr_app import catalog
from asr_app.checks import Check
from asr_app.datatypes import SAMPLE_RATE, Segment, Word
from asr_app.gate import Gate
from asr_app.live import desk as desk_module
from asr_app.live.desk import Desk
from asr_app.live.events import Ended, Event, Failed, Final, Partial
from asr_app.loading import Loaded
from asr_app.precision import Precision
from asr_app.precision.counting import report
from asr_app.stopping import Stop
from asr_app.vad import FRAME

WORD = 12 * FRAME  # 0.384 s, its last frame silent
CARD = dataclasses.replace(catalog.find("demo-paraformer"), max_chunk_s=10.0, retry_stretches=False)


def talk(text: str) -> np.ndarray:
    """A word for each digit, as much silence for each dot."""
    pieces = []
    for character in text.replace(" ", ""):
        word = np.zeros(WORD, np.float32)
        if character != ".":
            word[: WORD - FRAME] = int(character) / 20
        pieces.append(word)
    return np.concatenate(pieces)


class LoudIsSpeech:
    def __init__(self) -> None:
        self.rest = np.zeros(0, np.float32)

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        self.rest = np.concatenate([self.rest, samples])
        count = len(self.rest) // FRAME
        loud = np.abs(self.rest[: count * FRAME]).reshape(count, FRAME).mean(1) > 0.01
        self.rest = self.rest[count * FRAME :]
        return loud.astype(np.float32)


class Reader:
    """An engine that reads the levels. It waits at `gate` first; `begun` counts its calls, `lengths` their seconds."""

    workers = 1

    def __init__(self) -> None:
        self.parts = {"encoder": torch.nn.Identity()}
        self.gate, self.lengths, self.breaks = threading.Semaphore(10**4), list[float](), False

    def transcribe(self, batch, options):
        (samples,) = batch
        self.lengths.append(len(samples) / SAMPLE_RATE)
        self.gate.acquire()
        if self.breaks:
            raise ValueError("numbers that are nobody's fault")
        sounds = np.concatenate([[False], np.abs(samples) > 0.01, [False]])
        edges = np.flatnonzero(np.diff(sounds.astype(int)))
        words = tuple(
            Word(a / SAMPLE_RATE, b / SAMPLE_RATE, str(round(samples[a] * 20)))
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        )
        if not words:
            return [[]]
        return [[Segment(words[0].start_s, words[-1].end_s, " ".join(w.text for w in words), words)]]


class OneEngine:
    """Engines with one model that is there."""

    def __init__(self, engine: Reader) -> None:
        self.loaded = Loaded(CARD, engine, report(engine.parts, Precision.FP32), "cpu", 0, 0, Check("x"), 1)

    @contextmanager
    def between(self, card, precision, stop=None):
        with self.loaded.gate.between():
            yield dataclasses.replace(self.loaded, stop=stop or Stop(), gate=Gate())


class Listener:
    """Keeps the events of a stream."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, *kinds: type) -> list:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def texts(self) -> list[str]:
        return [" ".join(s.text for s in final.segments) for final in self.of(Final)]

    @property
    def partials(self) -> list[str]:
        return [event.text for event in self.of(Partial)]

    def until(self, met: Callable[[], bool], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < end, self.events
            time.sleep(0.005)

    def until_ended(self) -> None:
        self.until(
            lambda: any(isinstance(e, Ended) or (isinstance(e, Failed) and e.utterance is None) for e in self.events)
        )


class Room:
    """A desk with one engine."""

    def __init__(self, monkeypatch, every_s: float = 0.02) -> None:
        monkeypatch.setattr(desk_module, "EVERY_S", every_s)
        self.engine = Reader()
        self.desk = Desk(OneEngine(self.engine), LoudIsSpeech)

    def open(self, **settings):
        listener = Listener()
        card = settings.pop("card", CARD)
        return self.desk.open(card, Precision.FP32, desk_module.Options(), listener, **settings), listener

"""Recognises one job and tells its progress. jobs.py writes that down; cluster/ runs it on another machine."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from asr_app import catalog, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Doubt, Segment, StageTimes, Transcript
from asr_app.engines import Engines
from asr_app.journal import Task
from asr_app.memory import PeakMemory
from asr_app.pipeline import Progress
from asr_app.stopping import Stop

_DOWNLOAD_TOLD_EVERY_S = 0.5


@dataclass(frozen=True)
class Stage:
    """A stage begins or advances. `View` explains the values."""

    name: str
    done: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Length:
    """The recording is decoded: its length."""

    seconds: float


@dataclass(frozen=True)
class Step:
    """A chunk is finished. `eta_s` is the time left, `latency_s` the time of its recognition."""

    progress: Progress
    eta_s: float
    latency_s: float


@dataclass(frozen=True)
class Split:
    """The speakers are known: `pieces[i]` take the place of segment `i`."""

    pieces: tuple[tuple[Segment, ...], ...]


Event = Stage | Length | Step | Split


@dataclass(frozen=True)
class Before:
    """Segments and doubts of the chunks that an earlier attempt finished."""

    segments: tuple[Segment, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    def plus(self, step: Step) -> Before:
        """These and those of a further chunk."""
        return Before(self.segments + step.progress.segments, self.doubts + step.progress.doubts)

    def split(self, event: Split) -> Before:
        """These with the pieces of the event in the place of the segments."""
        return Before(tuple(piece for of_segment in event.pieces for piece in of_segment), self.doubts)


class Worker(Protocol):
    """Works on one task at a time in each thread that calls it."""

    def work(self, task: Task, before: Before, stop: Stop, tell: Callable[[Event], None]) -> Transcript:
        """The transcript of the whole recording, `before` included. Tells each event as it happens.

        Raises Cancelled if `stop` asks, UserError if the recording cannot be recognised, and whatever `tell` raises.
        """
        ...


class LocalWorker:
    """Works with the engines of this process. `limits` bound each recording."""

    def __init__(self, engines: Engines, limits: Limits) -> None:
        self._engines, self._limits = engines, limits

    def work(self, task: Task, before: Before, stop: Stop, tell: Callable[[Event], None]) -> Transcript:
        """Does `Worker.work`. Nothing is told after `stop` asks."""
        times = task.times or StageTimes(queue_s=max(0.0, time.time() - task.created))
        card = catalog.find(task.model)
        shown_at = 0.0

        def downloading(done: int, total: int) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at > _DOWNLOAD_TOLD_EVERY_S:
                shown_at = time.monotonic()
                show("loading" if done >= total > 0 else "downloading", done, total)

        def making(done: int, total: int) -> None:
            show("quantising", done, total)

        def show(stage: str, done: float = 0.0, total: float = 0.0) -> None:
            stop.check()
            tell(Stage(stage, done, total))

        with PeakMemory(self._engines.device) as memory:
            audio, decode_s = pipeline.read(task.recording, task.name, self._limits, stop.check)
            tell(Length(audio.seconds))
            show("loading")
            voices = functools.partial(self._engines.speakers, card, downloading, stop)
            if task.options.speakers:  # what cannot be had is told before the work
                with voices() as found:
                    times = dataclasses.replace(times, load_s=times.load_s + found.load_s)
            with self._engines.use(card, task.precision, downloading, making, stop) as loaded:
                show("vad")
                cut, vad_s = pipeline.cut(audio, loaded, task.options.cuts, task.options.stretch)
                if task.times is None:
                    times = dataclasses.replace(times, decode_s=decode_s, vad_s=vad_s)
                chunks, first = pipeline.remaining(cut, task.resume_s)
                before_s = sum(c.end_s - c.start_s for c in chunks[:first])
                show("recognising", before_s, sum(c.end_s - c.start_s for c in chunks))
                began = time.perf_counter()
                for progress in pipeline.recognise(
                    chunks, loaded, task.options, times, first_chunk=first, carry=task.carry,
                    at=functools.partial(self._engines.use, card, stop=stop),
                ):  # fmt: skip
                    stop.check()
                    latency_s, times = progress.times.asr_s - times.asr_s, progress.times
                    audio.leave_memory()
                    pace = (time.perf_counter() - began) / max(progress.done_s - before_s, 1e-6)
                    step = Step(progress, (progress.speech_s - progress.done_s) * pace, latency_s)
                    before = before.plus(step)
                    tell(step)
                people = None
                if task.options.speakers:
                    show("speakers")
                    pieces, people, times = pipeline.with_speakers(
                        audio, cut, before.segments, task.options.speaker_count, times, voices,
                        functools.partial(show, "speakers"),
                    )  # fmt: skip
                    split = Split(tuple(map(tuple, pieces)))
                    before = before.split(split)
                    tell(split)
                transcript = pipeline.finish(
                    before.segments, before.doubts, loaded, task.options, audio.seconds, times, memory, people
                )
            stop.check()
            return dataclasses.replace(transcript, recording=audio.recording)

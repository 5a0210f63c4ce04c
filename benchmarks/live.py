"""`python -m benchmarks live`: how long after it was spoken a word is on the screen, and an utterance has its final text.

Recordings are fed in real time, in pieces of 100 ms. The model's own transcript of the whole recording says when each word ends.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_app import audio, catalog, config, pipeline
from asr_app.datatypes import SAMPLE_RATE, Audio, ModelCard, Options, Segment, StageTimes
from asr_app.devices import usable_cores
from asr_app.engines import Engines
from asr_app.errors import Cancelled
from asr_app.languages import language_code
from asr_app.live.desk import Desk
from asr_app.live.events import Ended, Event, Final, Partial
from asr_app.loading import Loaded
from asr_app.precision import Precision
from asr_app.scoring import normalise, score
from asr_app.stopping import Stop

_PIECE = SAMPLE_RATE // 10


@dataclass(frozen=True)
class Heard:
    """An event, and the seconds from the stream's start at which it came."""

    at_s: float
    event: Event


@dataclass(frozen=True)
class Delays:
    """Seconds from the end of a word to its first appearance, from the last word of an utterance to its final text.

    `words` are those of the whole recording's transcript, `early` how many of them a partial text showed. `cores` is the
    CPU time of the process in seconds for each second of the stream. `difference` is the rate of the final texts' units
    that differ from the transcript.
    """

    appearing: list[float]
    finishing: list[float]
    words: int
    early: int
    cores: float
    difference: float


def live(args: argparse.Namespace) -> int:
    """Prints the figures, and one line of JSON last. Raises UserError for wrong arguments."""
    threads = config.threads(args) or usable_cores()
    card = catalog.find(args.model)
    engines = Engines("cpu", threads, args.hub, cache=config.cache())
    picked = Precision.parse(args.precision) if args.precision else None
    precision = engines.choose(card, picked is None, picked)
    options = Options(language=language_code(args.language) or None)
    found = []
    for path in args.audio:
        recording = audio.decode(path)
        recording = Audio(np.array(recording.samples[: int(args.seconds * SAMPLE_RATE)]), path.name)
        with engines.use(card, precision) as loaded:
            whole = _transcript(recording, loaded, options)
        with _job(args.beside, engines, card, precision, options):
            heard, cores = _streamed(recording, Desk(engines), card, precision, options)
        found.append(_delays(whole, heard, cores))
    shown = _figures(found)
    load = os.getloadavg()[0]
    print(f"{args.model} at {precision.label}, {threads} threads, load of the machine {load:.1f}")
    for name, value in shown.items():
        print(f"{name:>42}: {value}")
    print(json.dumps({"model": args.model, "precision": precision.value, "threads": threads, "load": load} | shown))
    return 0


def _transcript(recording: Audio, loaded: Loaded, options: Options) -> list[Segment]:
    chunks, _ = pipeline.cut(recording, loaded)
    steps = pipeline.recognise(chunks, loaded, options, StageTimes())
    return [segment for step in steps for segment in step.segments]


@contextlib.contextmanager
def _job(
    path: Path | None, engines: Engines, card: ModelCard, precision: Precision, options: Options
) -> Iterator[None]:
    """Recognises the recording at `path` again and again in the block, as a job does."""
    stop = Stop()

    def work() -> None:
        with contextlib.suppress(Cancelled):
            recording = audio.decode(path) if path else None
            while recording is not None:
                with engines.use(card, precision, stop=stop) as loaded:
                    _transcript(recording, loaded, options)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.ask()
        thread.join(120 if path else 1)


def _streamed(
    recording: Audio, desk: Desk, card: ModelCard, precision: Precision, options: Options
) -> tuple[list[Heard], float]:
    """The events of the recording, spoken in real time, and the cores that were busy."""
    heard: list[Heard] = []
    over = threading.Event()

    def listener(event: Event) -> None:
        heard.append(Heard(time.monotonic() - began, event))
        if isinstance(event, Ended):
            over.set()

    stream = desk.open(card, precision, options, listener)
    began, busy = time.monotonic(), time.process_time()
    for first in range(0, len(recording.samples), _PIECE):
        piece = recording.samples[first : first + _PIECE]
        # A piece is there when its last sample was spoken.
        time.sleep(max(0.0, began + (first + len(piece)) / SAMPLE_RATE - time.monotonic()))
        stream.feed(piece)
    cores = (time.process_time() - busy) / (time.monotonic() - began)
    stream.finish()
    over.wait(120)
    desk.stop()
    return heard, cores


def _delays(whole: Sequence[Segment], heard: Sequence[Heard], cores: float) -> Delays:
    spoken = [(unit, word.end_s) for s in whole for word in s.words for unit in normalise(word.text)]
    appeared: dict[int, float] = {}
    early, finals = set[int](), dict[int, Sequence[str]]()
    finishing = []
    for item in heard:
        event = item.event
        if not isinstance(event, Partial | Final):
            continue
        text = event.text if isinstance(event, Partial) else " ".join(s.text for s in event.segments)
        before = [unit for number in sorted(finals) if number < event.utterance for unit in finals[number]]
        units = [unit for unit, end_s in spoken if end_s < event.end_s + 1.0]
        matcher = difflib.SequenceMatcher(None, units, [*before, *normalise(text)], autojunk=False)
        for block in matcher.get_matching_blocks():
            for i in range(block.a, block.a + block.size):
                if i not in appeared:
                    appeared[i] = item.at_s
                    early |= {i} if isinstance(event, Partial) else set()
        if isinstance(event, Final):
            finals[event.utterance] = normalise(text)
            if event.segments and event.segments[-1].words:
                finishing.append(item.at_s - event.segments[-1].words[-1].end_s)
    said = " ".join(s.text for s in whole)
    got = " ".join(s.text for item in heard if isinstance(item.event, Final) for s in item.event.segments)
    appearing = [at_s - spoken[i][1] for i, at_s in appeared.items()]
    return Delays(appearing, finishing, len(spoken), len(early), cores, score([(said, got)]).rate)


def _figures(found: Sequence[Delays]) -> dict[str, float]:
    appearing = [delay for delays in found for delay in delays.appearing]
    finishing = [delay for delays in found for delay in delays.finishing]
    words = sum(delays.words for delays in found)
    return {
        "words": words,
        "words that appeared": round(len(appearing) / words, 3),
        "words that a partial text showed": round(sum(delays.early for delays in found) / words, 3),
        "word's end to appearance, median s": round(statistics.median(appearing), 2),
        "word's end to appearance, p95 s": round(float(np.percentile(appearing, 95)), 2),
        "utterance's end to Final, median s": round(statistics.median(finishing), 2),
        "utterance's end to Final, p95 s": round(float(np.percentile(finishing, 95)), 2),
        "busy cores": round(statistics.fmean(delays.cores for delays in found), 2),
        "difference from the whole's text": round(statistics.fmean(delays.difference for delays in found), 4),
    }

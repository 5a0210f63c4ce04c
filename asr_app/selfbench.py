"""Measures FP32 and lite on this machine, so that the page can show the effect of the switch here."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence

import psutil

from asr_app import audio, pipeline
from asr_app.datatypes import Chunk, ModelCard, Options, StageTimes
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, expected, understood_by
from asr_app.loading import Loaded
from asr_app.precision import Evidence, Precision, Speed

log = logging.getLogger(__name__)
_ROUNDS = 7  # of both sides in alternation; the fastest and the slowest ratio are left out of the spread
_MOST_OTHER_LOAD = 0.1  # of all cores, by other programs: with more, figures show the load, not the model
_TRIES, _WAIT_S = 3, 30.0


def both_sides(engines: Engines, card: ModelCard, precision: Precision, idle: Callable[[], bool]) -> None:
    """Measures FP32 and lite of a model at `precision`, unless they are known or do not fit into memory together.

    Stops as soon as somebody waits (`idle` is False), and tries again later if the machine was busy. The other side is
    loaded for it and stays loaded, so that turning the switch is quick.
    """
    try:
        lite = engines.choose(card, True, None)
        full = engines.choose(card, False, None)
        table = engines.evidence
        with engines.use(card, precision) as loaded:
            known = table.known(card.key, lite, loaded.weights)
        others = [other for other in (full, lite) if other is not precision]
        if known or full is lite or not all(engines.has_room(card, other) for other in others):
            return
        for _ in range(_TRIES):
            # In the order of a job that recognises a chunk again at FP32: in the other one the two would block each other.
            with engines.use(card, lite) as two, engines.use(card, full) as one:
                one.fresh = two.fresh = False  # no job waited for them
                speed = compare(one, two, idle)
                sizes = {loaded.precision.requested: loaded.precision.weight_bytes for loaded in (one, two)}
                if speed is not None:
                    table.note(card.key, full, one.weights, Evidence(sizes[full]))
                    table.note(card.key, lite, two.weights, Evidence(sizes[lite], speed=speed))
                    return
            table.busy = True
            time.sleep(_WAIT_S)
            while not idle():
                time.sleep(1.0)
    except UserError as error:  # the error is shown when a job asks for that side
        log.warning("not measured: %s", error)


def compare(full: Loaded, lite: Loaded, idle: Callable[[], bool] = lambda: True) -> Speed | None:
    """Speed-up of `lite` over `full` on a clip of example/, measured in alternation: median and spread.

    None if other programs were busy, or somebody waits.
    """
    name = next(iter(understood_by(full.card)), next(iter(expected())))
    chunks = pipeline.cut(audio.decode(EXAMPLES / name), full)[0]
    ratios: list[float] = []
    began, own, busy = time.perf_counter(), time.process_time(), _busy_s()
    for round_ in range(_ROUNDS + 1):
        if not idle():
            return None
        pair = _seconds(full, chunks), _seconds(lite, chunks)
        if round_:  # the first one warms both up
            ratios.append(pair[0] / pair[1])
    others = (_busy_s() - busy) - (time.process_time() - own)
    if others > _MOST_OTHER_LOAD * (time.perf_counter() - began) * (os.cpu_count() or 1):
        log.info("other programs took %.1f s of CPU: what was measured does not count", others)
        return None
    ratios.sort()
    return Speed(ratios[1], ratios[len(ratios) // 2], ratios[-2])


def _seconds(loaded: Loaded, chunks: Sequence[Chunk]) -> float:
    """Seconds of recognition and punctuation, as in a recording."""
    *_, last = pipeline.recognise(chunks, loaded, Options(), StageTimes())
    return last.times.asr_s + last.times.punctuation_s


def _busy_s() -> float:
    """Busy seconds of the machine's cores, summed over all programs."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    return float(sum(times[:8]) - idle)

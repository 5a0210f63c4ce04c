"""Measures models on this machine, on the clips of example/, so that the page can say what the switch does here."""

from __future__ import annotations

import itertools
import logging

from asr_app import audio, pipeline
from asr_app.datatypes import ModelCard, Options, StageTimes
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, expected, understood_by
from asr_app.loading import Loaded
from asr_app.precision import Evidence, Precision

log = logging.getLogger(__name__)
_AT_MOST_S = 8.0  # of recognition
_ROUNDS = 4  # of as many chunks as are recognised at once


def note(engines: Engines, loaded: Loaded) -> None:
    """Measures an engine in use, and keeps it, unless it is known already."""
    table, precision = engines.evidence, loaded.precision.requested
    if loaded.weights and not table.known(loaded.card.key, precision, loaded.weights):
        table.note(loaded.card.key, precision, loaded.weights, measure(loaded))


def measure(loaded: Loaded) -> Evidence:
    """RTF of recognition and punctuation as a recording has it, with as many chunks at once; takes some seconds."""
    told = list(understood_by(loaded.card) or expected())
    chunks = [c for path in (EXAMPLES / name for name in told) for c in pipeline.cut(audio.decode(path), loaded)[0]]
    first = list(pipeline.recognise(chunks[:1], loaded, Options(), StageTimes()))[-1].times
    count = min(_ROUNDS * loaded.engine.workers, int(_AT_MOST_S / max(first.asr_s, 1e-6)))
    if count < 1:  # one alone takes longer
        several, times = chunks[:1], first
    else:
        several = list(itertools.islice(itertools.cycle(chunks), count))
        times = list(pipeline.recognise(several, loaded, Options(), StageTimes()))[-1].times
    speech_s = sum(c.end_s - c.start_s for c in several)
    return Evidence((times.asr_s + times.punctuation_s) / speech_s, loaded.precision.weight_bytes)


def both_sides(engines: Engines, card: ModelCard, precision: Precision) -> None:
    """Measures the model the server has started with, on both sides of the switch where there is room for both.

    The other side is loaded for it, and then is there for whoever turns the switch.
    """
    try:
        with engines.use(card, precision) as loaded:
            note(engines, loaded)
        other = engines.choose(card, precision is Precision.FP32, None)
        if other is not precision and other not in engines.evidence.of(loaded.card.key) and engines.has_room(card):
            with engines.use(card, other) as loaded:
                loaded.fresh = False  # no job waited for it
                note(engines, loaded)
    except UserError as error:  # a side that cannot be had is told of where it is asked for
        log.warning("not measured: %s", error)

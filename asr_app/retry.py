"""Second tries: a stretch of speech without words at the same precision, a chunk in doubt at FP32."""

from __future__ import annotations

import contextlib
import difflib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch

from asr_app import timing, vad
from asr_app.checks import FiniteWatch
from asr_app.datatypes import SAMPLE_RATE, Chunk, Doubt, Options, Segment, StageTimes, Word
from asr_app.errors import Cancelled, UserError
from asr_app.hotwords import native
from asr_app.loading import Loaded
from asr_app.memory import give_back_memory
from asr_app.precision import Precision
from asr_app.precision.captured import release
from asr_app.scoring import normalise

log = logging.getLogger(__name__)
# The model of a job at another precision, as `Engines.use` gives it.
At = Callable[[Precision], AbstractContextManager[Loaded]]

_SHORTEST_S = 0.7  # a stretch without words that is worth a second try
_SURE_S = 0.4  # of it the VAD must be sure that somebody speaks
# A word with more time than this begins where the one before it ended: it is spoken at its end. 1469 is four syllables
# and "themselves" takes 0.9 s of a slow reader.
_WORD_S, _LETTER_S, _DIGIT_S = 0.7, 0.1, 0.4
_ROUNDS = 3
_PAD_S = 0.2  # of what is around a stretch, recognised with it
_BESIDE_S = 1.0  # between a stretch and words that it may repeat
_SHARED, _RUN = 0.75, 3  # of the letters of such a repetition, in runs of so many
_LONGER = 1.5  # a segment that has so many times the words of another says more than that one
# The time after which a call into a model counts as hung. The slowest real one: Whisper large-v3 at FP32 on two old cores
# takes 100 s for a window of 30 s, and up to eight windows for a chunk, 27 s for each second of sound. Twice that.
_LEAST_DUE_S, _DUE_TIMES = 120.0, 60.0
_NEAR_S = 5.0  # how far off the times of words may be that a second try finds again


@dataclass(frozen=True)
class Result:
    """An engine's segments for a batch, the stretches recognised again, by chunk, and whether all numbers were finite."""

    segments: list[list[Segment]]
    doubts: list[tuple[Doubt, ...]]
    finite: bool


def recognise(loaded: Loaded, watch: FiniteWatch, batch: Sequence[Chunk], options: Options) -> Result:
    """The batch by an engine under `watch`, with second tries of stretches where the card asks for them."""
    segments, finite = _transcribe(loaded, watch, [chunk.samples for chunk in batch], options)
    doubts: list[tuple[Doubt, ...]] = [()] * len(batch)
    if loaded.card.retry_stretches and finite and options.retries and not options.translate:
        pairs = [stretches(chunk, own, loaded, watch, options) for chunk, own in zip(batch, segments, strict=True)]
        segments, doubts = [own for own, _ in pairs], [marked for _, marked in pairs]
    if options.hotwords and finite:
        segments = _beside_plain(loaded, watch, batch, segments, options)
    return Result(segments, doubts, finite)


def _beside_plain(
    loaded: Loaded, watch: FiniteWatch, batch: Sequence[Chunk], segments: list[list[Segment]], options: Options
) -> list[list[Segment]]:
    """The segments with a strike wherever the model's hotwords changed them.

    Only chunks whose text has a hotword are recognised again without hotwords. In the others none was written.
    """
    having = [i for i, own in enumerate(segments) if native.has_hotword(own, options.hotwords)]
    if not having:
        return segments
    plain, finite = _transcribe(loaded, watch, [batch[i].samples for i in having], replace(options, hotwords=()))
    made = list(segments)
    for i, without in zip(having, plain, strict=True):
        made[i] = native.compared(segments[i], without, options.hotwords) if finite else segments[i]
    return made


@contextlib.contextmanager
def due(loaded: Loaded, batch: Sequence[np.ndarray]) -> Iterator[None]:
    """Brackets a call of the engine on sequences of samples `(n,)`, after which it counts as hung.

    It waits while live speech is recognised by the same engine.
    """
    most_s = _LEAST_DUE_S + _DUE_TIMES * sum(map(len, batch)) / SAMPLE_RATE
    with loaded.gate.step(loaded.stop.check), loaded.stop.due_within(most_s):
        yield


def _transcribe(
    loaded: Loaded, watch: FiniteWatch, batch: Sequence[np.ndarray], options: Options
) -> tuple[list[list[Segment]], bool]:
    """The segments of each sequence of samples `(n,)`, and whether all numbers on the way were finite.

    Raises UserError if a GPU has no memory for a single one.
    """
    # Beside live speech, which waits for the present call, each call takes one chunk.
    size = 1 if loaded.gate.is_shared else max(1, min(len(batch), loaded.most_chunks))
    segments: list[list[Segment]] = []
    try:
        for first in range(0, len(batch), size):
            part = batch[first : first + size]
            with due(loaded, part):
                segments += loaded.engine.transcribe(part, options)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise UserError(
                f"{loaded.card.id} needs more memory than {loaded.device} has free. Use lite mode, or a smaller model.",
                f"{loaded.device} 的空闲显存不足以运行 {loaded.card.id}。请使用轻量模式，或选择更小的模型。",
            ) from error
    except (ValueError, RuntimeError):
        if not watch.taken():
            raise
        return [[] for _ in batch], False  # a decoder that samples refuses such numbers
    else:
        return segments, not watch.taken()
    # Outside of the handler: the traceback holds the tensors of the batch that failed.
    loaded.most_chunks = len(batch) // 2
    log.warning("%s: no memory for %d chunks at once; %d from now on", loaded.card.id, len(batch), loaded.most_chunks)
    watch.taken()
    release(loaded.engine.parts)
    give_back_memory()
    halves = [
        _transcribe(loaded, watch, part, options) for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :])
    ]
    return [own for half, _ in halves for own in half], all(finite for _, finite in halves)


def without_words(chunk: Chunk, segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """Stretches of the chunk, in seconds from its start, where somebody surely speaks and `segments` have no word.

    Empty where the model gives no times of words. Whisper's decoder skips what is quiet between loud speech.
    """
    words = [word for segment in segments for word in segment.words]
    if segments and not all(segment.words for segment in segments):
        return []
    covered = [(max(w.start_s, w.end_s - _longest_s(w)), w.end_s) for w in words]
    gaps: list[tuple[float, float]] = []
    for start, end in timing.merged(chunk.speech):
        for low, high in [*covered, (end, end)]:
            if low > start and min(low, end) - start >= _SHORTEST_S:
                gaps.append((start, min(low, end)))
            start = max(start, high)
            if start >= end:
                break
    joined: list[tuple[float, float]] = []
    for start, end in gaps:
        if joined and start - joined[-1][1] < _SHORTEST_S and not any(joined[-1][1] <= a < start for a, _ in covered):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return [(start, end) for start, end in joined if vad.is_sure(vad.levelled(_cut(chunk, start, end)), _SURE_S)]


def stretches(
    chunk: Chunk, segments: list[Segment], loaded: Loaded, watch: FiniteWatch, options: Options
) -> tuple[list[Segment], tuple[Doubt, ...]]:
    """The chunk's segments with those of the stretches that had no words, each recognised alone and levelled.

    Words lie in speech then. Times are in seconds from the chunk's start, those of the doubts from the file's.
    """
    if options.language is None and segments and "language" in loaded.card.capabilities:
        options = replace(options, language=segments[0].language)
    doubts: list[Doubt] = []
    tried: set[tuple[float, float]] = set()
    for _ in range(_ROUNDS):  # what is moved to its right time may leave another stretch without words
        missing = [s for s in without_words(chunk, segments) if s not in tried]
        if not missing:
            break
        tried.update(missing)
        missing = [timing.widened(segments, chunk.speech, *stretch) for stretch in missing]
        for (start, end), new in zip(missing, _alone(chunk, missing, loaded, watch, options), strict=True):
            # No word lies in the stretch: a segment that says the same near it has the wrong times.
            others = [s for s in segments if not _is_same(s, new)]
            if not new or _is_repetition(new, others):
                continue
            kept = [piece for s in others for piece in timing.around(s, start, end)]
            segments = timing.rising(sorted([*kept, *new], key=lambda s: s.start_s))
            doubts.append(
                Doubt(chunk.start_s + start, chunk.start_s + end, "unheard", loaded.precision.requested)
            )  # fmt: skip
    return timing.within_speech(segments, chunk.speech), tuple(doubts)


def _alone(
    chunk: Chunk, stretches: Sequence[tuple[float, float]], loaded: Loaded, watch: FiniteWatch, options: Options
) -> list[list[Segment]]:
    """The segments of each stretch, recognised alone and levelled; none where numbers are not finite.

    A stretch is decoded once: where a second or less says little, samples at higher temperatures say no more.
    """
    samples = [vad.levelled(_cut(chunk, start, end)) for start, end in stretches]
    size = loaded.chunks_a_batch
    again: list[list[Segment]] = []
    for first in range(0, len(samples), size):
        segments, finite = _transcribe(
            loaded, watch, samples[first : first + size], replace(options, retries=False, short_windows=False)
        )
        again += segments if finite else [[] for _ in segments]
    return [
        [s.shifted(max(0.0, start - _PAD_S)) for s in segments]
        for (start, _), segments in zip(stretches, again, strict=True)
    ]


def _is_repetition(new: Sequence[Segment], segments: Sequence[Segment]) -> bool:
    """Whether `new` only says once more, maybe misheard, what a longer one of the `segments` says beside it."""
    said = "".join(normalise(" ".join(s.text for s in new)))
    first_s, last_s = new[0].start_s - _BESIDE_S, new[-1].end_s + _BESIDE_S
    words = [w for s in segments for w in s.words]
    near = "".join(normalise(" ".join(w.text for w in words if w.end_s > first_s and w.start_s < last_s)))
    blocks = difflib.SequenceMatcher(None, near, said, autojunk=False).get_matching_blocks()
    shared = sum(block.size for block in blocks if block.size >= min(_RUN, len(said)))
    return shared >= _SHARED * len(said)


def _longest_s(word: Word) -> float:
    """The most time that a word is taken to be spoken in."""
    digits = sum(c.isdigit() for c in word.text)
    return max(_WORD_S, _LETTER_S * (len(word.text) - digits) + _DIGIT_S * digits)


def _is_same(there: Segment, new: Sequence[Segment]) -> bool:
    """Whether most of a segment near `new`, which is no longer than it, is what `new` says, only at another time."""
    units, again = normalise(there.text), normalise(" ".join(s.text for s in new))
    if len(units) > _LONGER * len(again):
        return False
    if not new or not units or there.end_s < new[0].start_s - _NEAR_S or there.start_s > new[-1].end_s + _NEAR_S:
        return False
    said = f" {' '.join(again)} "
    runs = [" ".join(units[i : i + 3]) for i in range(max(1, len(units) - 2))]
    return sum(f" {run} " in said for run in runs) > len(runs) / 2


def _cut(chunk: Chunk, start_s: float, end_s: float) -> np.ndarray:
    first = max(0, round((start_s - _PAD_S) * SAMPLE_RATE))
    return chunk.samples[first : round((end_s + _PAD_S) * SAMPLE_RATE)]


def at_fp32(
    chunk: Chunk, loaded: Loaded, options: Options, times: StageTimes, at: At
) -> tuple[Result | None, StageTimes]:
    """The chunk recognised again at FP32, and `times` with the seconds that it took.

    None where `loaded` is at FP32 already, and where that fails for whatever reason: the first text stays then.
    """
    if loaded.precision.requested is Precision.FP32:
        return None, times
    try:
        with at(Precision.FP32) as above:
            if above.fresh:
                times = replace(times, load_s=times.load_s + above.load_s, warmup_s=times.warmup_s + above.warmup_s)
                above.fresh = False
            began = time.perf_counter()
            with FiniteWatch(above.engine.parts) as watch:
                result = recognise(above, watch, [chunk], options)
            return result, replace(times, asr_s=times.asr_s + time.perf_counter() - began)
    except Cancelled:
        raise
    except Exception as error:  # a second opinion that cannot be had must not cost the first one
        log.warning("a chunk could not be recognised again at FP32: %s: %s", type(error).__name__, error)
        return None, times

"""Audio -> chunks -> segments -> Transcript, with what has been done so far told after every chunk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from asr_app import audio as audio_module
from asr_app import chinese, retry, vad
from asr_app.checks import FiniteWatch, doubt
from asr_app.datatypes import SAMPLE_RATE, Audio, Chunk, Doubt, Options, Segment, StageTimes, Transcript, Word
from asr_app.families.base import PunctuatingEngine
from asr_app.hotwords import native
from asr_app.hotwords.effects import effects
from asr_app.hotwords.lines import bare
from asr_app.hotwords.rules import Rules
from asr_app.loading import Loaded
from asr_app.memory import PeakMemory
from asr_app.people import People
from asr_app.precision import Precision
from asr_app.precision.counting import report
from asr_app.speakers.diarize import tell_apart
from asr_app.speakers.resident import LoadedSpeakers

# Words are held back for the next chunk's punctuation when the pause between the two is shorter than this: the cut
# was forced by the chunk's length, not made by the speaker.
_SAME_SENTENCE_S = 0.25
_SAME_PLACE_S = 0.01
_MOST_RETRIED, _LEAST_RETRIES = 0.2, 3  # of a recording's chunks at FP32; so many of a short recording

log = logging.getLogger(__name__)

Speakers = Callable[[], AbstractContextManager[LoadedSpeakers]]  # Engines.speakers, for a card


@dataclass(frozen=True)
class Progress:
    """After a chunk: `segments` are new and final; `carry` are words heard but not yet punctuated; `doubts` are new.

    `done_s` and `speech_s` count seconds of speech; `end_s`, the chunk's end in the recording, and
    `carry` are all it takes to go on after a stop.
    """

    next_chunk: int
    chunks: int
    end_s: float
    done_s: float
    speech_s: float
    segments: tuple[Segment, ...]
    carry: tuple[Word, ...]
    times: StageTimes
    doubts: tuple[Doubt, ...] = ()


def read(
    path: Path, name: str, limits: audio_module.Limits, check: Callable[[], None] = lambda: None
) -> tuple[Audio, float]:
    """The decoded file and the seconds decoding took. `check` is called twice a second; its exceptions end the work."""
    began = time.perf_counter()
    audio = audio_module.decode(path, name=name, limits=limits, check=check)
    return audio, time.perf_counter() - began


def cut(
    audio: Audio, loaded: Loaded, cuts: tuple[float, float] | None = None, stretch: tuple[float, float] | None = None
) -> tuple[list[Chunk], float]:
    """The chunks of speech for this model, and the seconds finding them took. The same audio gives the same chunks.

    With `cuts` (`Options.cuts`), it gives the same chunks to every model: all use Silero's VAD then. All of a `stretch`
    (`Options.stretch`) is speech.
    """
    began = time.perf_counter()
    if stretch is not None:
        spans = [vad.Span(max(0.0, stretch[0]), min(stretch[1], audio.seconds))]
    elif loaded.vad is not None and cuts is None:
        spans = vad.fsmn_spans(audio, loaded.vad)
    else:
        spans = vad.speech_spans(audio, loaded.threads, loaded.stop.check)
    longest_s, longest_gap_s = cuts or (loaded.card.max_chunk_s, loaded.card.max_gap_s)
    chunks = vad.pack(audio, spans, longest_s, longest_gap_s)
    audio.leave_memory()
    return chunks, time.perf_counter() - began


def remaining(chunks: Sequence[Chunk], resume_s: float) -> tuple[list[Chunk], int]:
    """`chunks` with a cut at `resume_s`, and the index of the first chunk after it.

    The same version cuts a recording the same way, and there is no chunk to divide. Another one may cut elsewhere.
    """
    first = next((i for i, chunk in enumerate(chunks) if chunk.end_s > resume_s + _SAME_PLACE_S), len(chunks))
    if first == len(chunks) or chunks[first].start_s > resume_s - _SAME_PLACE_S:
        return list(chunks), first
    chunk = chunks[first]
    at = round((resume_s - chunk.start_s) * SAMPLE_RATE)
    speech = tuple((max(0.0, a - at / SAMPLE_RATE), b - at / SAMPLE_RATE) for a, b in chunk.speech)
    begun = Chunk(chunk.start_s, chunk.samples[:at])  # done already: only its length counts
    rest = Chunk(resume_s, chunk.samples[at:], tuple((a, b) for a, b in speech if a < b))
    return [*chunks[:first], begun, rest, *chunks[first + 1 :]], first + 1


def recognise(
    chunks: Sequence[Chunk],
    loaded: Loaded,
    options: Options,
    times: StageTimes,
    *,
    first_chunk: int = 0,
    carry: tuple[Word, ...] = (),
    at: retry.At | None = None,
) -> Iterator[Progress]:
    """Yields after every chunk from `first_chunk` on; `times` holds what was spent before. Stop by not asking on.

    The first chunk goes alone, so that its words come soon; the others in batches of the size the card asks for, as
    many at once as the engine takes. A chunk whose result is not to be trusted is recognised again at FP32, where `at`
    gives the model at another precision, for at most a fifth of the chunks: more of them say that it is the recording.
    Hotwords that are rules change the finished sentences, not what is carried on.
    """
    speech_s = sum(c.end_s - c.start_s for c in chunks)
    done_s = sum(c.end_s - c.start_s for c in chunks[:first_chunk])
    engine = loaded.engine
    own = "hotwords" in loaded.card.capabilities
    rules, options = Rules(options.hotwords, own), replace(options, hotwords=bare(options.hotwords) if own else ())
    marks = engine if isinstance(engine, PunctuatingEngine) and "punctuation" in engine.parts else None
    retries_left = max(_LEAST_RETRIES, round(_MOST_RETRIED * len(chunks)))
    began = time.perf_counter()
    for start, batch, results, waited_s in _batches(chunks, first_chunk, loaded, options):
        pace = waited_s / sum(c.end_s - c.start_s for c in batch)
        for i, (chunk, recognised) in enumerate(zip(batch, results.segments, strict=True), start):
            times = replace(times, asr_s=times.asr_s + pace * (chunk.end_s - chunk.start_s))
            doubts = results.doubts[i - start]
            if reason := doubt(chunk.samples, recognised, results.finite):
                redone = None
                if at is not None and retries_left > 0:
                    retries_left -= 1
                    redone, times = retry.at_fp32(chunk, loaded, options, times, at)
                if redone is not None:
                    recognised, doubts = redone.segments[0], redone.doubts[0]
                doubts += (Doubt(chunk.start_s, chunk.end_s, reason, Precision.FP32 if redone else None),)
            segments = [s.shifted(chunk.start_s) for s in recognised]
            if marks is not None:
                asked = time.perf_counter()
                with retry.due(loaded, [chunk.samples]):
                    segments = marks.punctuate(carry + tuple(w for s in segments for w in s.words))
                forced = i + 1 < len(chunks) and chunks[i + 1].start_s - chunk.end_s < _SAME_SENTENCE_S
                carry = segments.pop().words if forced and segments else ()
                times = replace(times, punctuation_s=times.punctuation_s + time.perf_counter() - asked)
            segments = chinese.written(segments, options.language, options.script)
            segments = [rules.apply(native.collected(s, options.language, options.script)) for s in segments]
            if segments and times.first_text_s is None:
                before = times.decode_s + times.vad_s
                times = replace(times, first_text_s=before + time.perf_counter() - began)
            done_s += chunk.end_s - chunk.start_s
            yield Progress(i + 1, len(chunks), chunk.end_s, done_s, speech_s, tuple(segments), carry, times, doubts)


def _batches(
    chunks: Sequence[Chunk], first: int, loaded: Loaded, options: Options
) -> Iterator[tuple[int, Sequence[Chunk], retry.Result, float]]:
    """`_batches_by` under a watch that records which outputs contain NaN or Inf."""
    with FiniteWatch(loaded.engine.parts) as watch:
        yield from _batches_by(partial(retry.recognise, loaded, watch), chunks, first, loaded, options)


def _batches_by(
    transcribe: Callable[[Sequence[Chunk], Options], retry.Result],
    chunks: Sequence[Chunk],
    first: int,
    loaded: Loaded,
    options: Options,
) -> Iterator[tuple[int, Sequence[Chunk], retry.Result, float]]:
    """The batches from chunk `first` on, in order: where each begins, what was heard, and the seconds waited for it.

    Batches run side by side, as many as the engine takes.
    """
    engine, size = loaded.engine, loaded.chunks_a_batch
    starts = [first, *range(first + 1, len(chunks), size)] if first < len(chunks) else []
    batches = [(start, chunks[start : start + (1 if start == first else size)]) for start in starts]
    workers = min(engine.workers, len(batches))
    if workers <= 1:
        torch.set_num_threads(loaded.threads)
        for start, batch in batches:
            asked = time.perf_counter()
            results = transcribe(batch, options)
            yield start, batch, results, time.perf_counter() - asked
        return
    # Two chunks on a core each are done sooner than one on both and then the other.
    threads = max(1, loaded.threads // workers)
    with ThreadPoolExecutor(workers, "chunk", torch.set_num_threads, (threads,)) as pool:
        try:
            asked_for = {start: pool.submit(transcribe, batch, options) for start, batch in _begun(batches, workers)}
            for start, batch in batches:
                asked = time.perf_counter()
                results = asked_for.pop(start).result()
                yield start, batch, results, time.perf_counter() - asked
        finally:
            pool.shutdown(cancel_futures=True)


def _begun(batches: list[tuple[int, Sequence[Chunk]]], workers: int) -> list[tuple[int, Sequence[Chunk]]]:
    """The order in which batches are begun: the first one first, since somebody waits for it, of the last the longest.

    A long one begun last would leave the other workers with nothing to do: of a minute, an eighth of the time.
    """
    last = max(1, len(batches) - 2 * workers)
    return batches[:last] + sorted(batches[last:], key=lambda b: -sum(len(c.samples) for c in b[1]))


def with_speakers(
    audio: Audio,
    chunks: Sequence[Chunk],
    segments: Sequence[Segment],
    count: int | None,
    times: StageTimes,
    speakers: Speakers,
    done: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[list[list[Segment]], People, StageTimes]:
    """The pieces of each segment with their speakers, who these are, and the times with what that took.

    `chunks` are all that the recording was cut into, `count` is the number of speakers if it is known. `done` is told
    the windows that are done and all of them.
    """
    with speakers() as loaded:
        began = time.perf_counter()
        pieces = tell_apart(audio, chunks, segments, loaded.model, count, done)
        spent_s = time.perf_counter() - began
        labels = tuple(dict.fromkeys(p.speaker for segment in pieces for p in segment if p.speaker))
        people = People(labels, loaded.model.name, loaded.model.weight_bytes, count)
        times = replace(times, load_s=times.load_s + loaded.load_s, speakers_s=times.speakers_s + spent_s)
    return pieces, people, times


def transcribe(
    path: Path,
    loaded: Loaded,
    options: Options,
    limits: audio_module.Limits,
    at: retry.At | None = None,
    speakers: Speakers | None = None,
) -> Transcript:
    """A whole file in one call, for the command line and tests. `speakers` is needed if `options` ask for them."""
    people = None
    with PeakMemory(loaded.device) as memory:
        audio, decode_s = read(path, path.name, limits)
        chunks, vad_s = cut(audio, loaded, options.cuts)
        times = StageTimes(decode_s=decode_s, vad_s=vad_s)
        segments: list[Segment] = []
        doubts: list[Doubt] = []
        for progress in recognise(chunks, loaded, options, times, at=at):
            segments.extend(progress.segments)
            doubts.extend(progress.doubts)
            times = progress.times
            audio.leave_memory()
        if options.speakers:
            assert speakers is not None
            pieces, people, times = with_speakers(audio, chunks, segments, options.speaker_count, times, speakers)
            segments = [piece for segment in pieces for piece in segment]
    transcript = finish(segments, doubts, loaded, options, audio.seconds, times, memory, people)
    return replace(transcript, recording=audio.recording)


def finish(
    segments: Sequence[Segment],
    doubts: Sequence[Doubt],
    loaded: Loaded,
    options: Options,
    audio_s: float,
    times: StageTimes,
    memory: PeakMemory,
    people: People | None = None,
) -> Transcript:
    """The transcript; the first one of an engine carries what loading it cost."""
    # Counted now: a graph may be held twice since a lone chunk used all cores.
    counted = report(loaded.engine.parts, loaded.precision.requested)
    held = memory.as_dict(counted.weight_bytes)
    without = memory.before - (loaded.given_back if loaded.fresh else counted.weight_bytes)
    held |= {"disk": loaded.disk_bytes, "peak_added": held["peak_rss"] - max(0, without)}
    if loaded.fresh:
        times = replace(times, load_s=times.load_s + loaded.load_s, warmup_s=times.warmup_s + loaded.warmup_s)
        if loaded.given_back:
            held["given_back"] = loaded.given_back
        loaded.fresh = False
    # A translation's words are not those that were said, and have no times; its sentences have the model's.
    timed = options.translate or all(s.words for s in segments)
    timestamps = "model" if timed and "word_timestamps" in loaded.card.capabilities else "vad"
    return Transcript(
        tuple(segments), loaded.card.id, counted, loaded.device, audio_s, times, held, timestamps,
        tuple(doubts), chinese.script_of(segments, options.language, options.script),
        short_windows=options.short_windows if "short_windows" in loaded.card.capabilities else None,
        load_s=loaded.load_s + loaded.warmup_s,
        hotwords=effects(options.hotwords, "hotwords" in loaded.card.capabilities, segments),
        speakers=people,
    )  # fmt: skip

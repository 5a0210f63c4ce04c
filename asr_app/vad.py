"""Finds spans of speech in audio and packs them into chunks for a model. Knows no recogniser and no files."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from asr_app.datatypes import SAMPLE_RATE, Audio, Chunk

FRAME = 512  # samples that silero judges at a time: 32 ms
_CONTEXT = 64  # samples of the previous frame at the start of each frame
_BLOCK_FRAMES = 128  # frames in one call of the network, 4 s: longer ones take more memory and no less time
# The network starts cold: of 400 clips that begin with a spoken digit it missed 6, and none with silence before them.
# The lead has whole frames, since a frame that is half lead, half speech made it miss 33.
_LEAD = 32 * FRAME
# A long recording is judged in pieces, several at once. Silence leads in the first piece, and the end of the previous
# piece each other one. The pieces are the same on every machine, and so are the chunks.
_PIECE, _SETTLING = 1875 * FRAME, 250 * FRAME  # 60 s and 8 s
_THRESHOLD, _NO_DOUBT = 0.5, 0.9
_MIN_SPEECH_MS = 100  # a spoken digit can be this short
_MIN_SILENCE_MS = 200
_PAD_MS = 150  # soft consonants at the edges lie below the threshold
_SHORTEST_PAUSE = SAMPLE_RATE // 2  # samples: a shorter one holds no sentence
_QUIETEST = 10 ** (-66 / 20)  # of full scale: below it a pause is the noise of a converter
_SURE_S = 0.3  # seconds of a quiet span of which the VAD must be sure: it errs more often on amplified noise
_LEVEL, _PEAK = 10 ** (-17 / 20), 0.99

_FSMN_MIN_SAMPLES = SAMPLE_RATE // 10  # below 25 ms FunASR divides by zero

_QUIET_WINDOW = SAMPLE_RATE * 30 // 1000  # 30 ms: longer than a pitch period, shorter than a syllable

_State = tuple[np.ndarray, np.ndarray]  # of the network, `(1, 1, 128)` each
_COLD: _State = (np.zeros((1, 1, 128), np.float32), np.zeros((1, 1, 128), np.float32))

_silero_lock = threading.Lock()


@dataclass(frozen=True)
class Span:
    """A span of speech, in seconds from the file's start."""

    start_s: float
    end_s: float


def speech_spans(audio: Audio, threads: int = 1, check: Callable[[], None] = lambda: None) -> list[Span]:
    """Spans of speech, by silero-vad: in order, without overlap, empty for silence. Any thread may call it.

    Pauses are judged a second time with their level raised, since the network misses speech 30 dB below other speech.
    `check` is called before each minute is judged, and may raise to end the work.
    """
    spans = _spans(audio.samples, threads, audio.leave_memory, check)
    if not spans:
        return spans
    edges = [0.0, *(edge for span in spans for edge in (span.start_s, span.end_s)), audio.seconds]
    quiet = [
        span for start, end in zip(edges[::2], edges[1::2], strict=True) for span in _quiet_spans(audio, start, end, check)
    ]  # fmt: skip
    audio.leave_memory()
    return sorted([*spans, *quiet], key=lambda span: span.start_s)


def _quiet_spans(audio: Audio, start_s: float, end_s: float, check: Callable[[], None]) -> list[Span]:
    """Speech in a pause that the VAD detects, and is sure of, only after the pause is amplified."""
    spans: list[Span] = []
    while start_s < end_s:  # minute by minute: hours of silence are not held in memory
        check()
        stop_s = min(end_s, start_s + _PIECE / SAMPLE_RATE)
        pause = audio.samples[int(start_s * SAMPLE_RATE) : int(stop_s * SAMPLE_RATE)]
        if len(pause) >= _SHORTEST_PAUSE and _loudest(pause) > _QUIETEST:
            louder = levelled(pause)
            for span in _spans(louder, 1):
                if is_sure(louder[int(span.start_s * SAMPLE_RATE) : int(span.end_s * SAMPLE_RATE)], _SURE_S):
                    spans.append(Span(start_s + span.start_s, min(stop_s, start_s + span.end_s)))
        start_s = stop_s
    return spans


def _loudest(samples: np.ndarray) -> float:
    """The root mean square of the loudest 0.1 s."""
    width = SAMPLE_RATE // 10
    blocks = samples[: len(samples) // width * width].reshape(-1, width)
    return float(np.sqrt(np.square(blocks, dtype=np.float64).mean(1)).max(initial=0.0))


def levelled(samples: np.ndarray) -> np.ndarray:
    """A copy of `samples` with the loudest 0.1 s at -17 dBFS, or as near to it as the peaks allow."""
    peak = float(np.abs(samples).max(initial=0.0))
    gain = min(_LEVEL / max(_loudest(samples), 1e-9), _PEAK / max(peak, 1e-9))
    return np.asarray(samples * np.float32(gain), np.float32)


def _spans(
    samples: np.ndarray,
    threads: int,
    done: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
) -> list[Span]:
    return spans_of(_probabilities(_silero(), samples, threads, done, check), len(samples))


def spans_of(probabilities: Sequence[float] | np.ndarray, length: int) -> list[Span]:
    """Spans of speech in `length` samples, by the probability of speech in each of their frames."""
    _silero()  # importing its package changes torch's threads, which this undoes
    from silero_vad import get_speech_timestamps_from_probs

    stamps = get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=SAMPLE_RATE,
        threshold=_THRESHOLD,
        min_speech_duration_ms=_MIN_SPEECH_MS,
        min_silence_duration_ms=_MIN_SILENCE_MS,
        speech_pad_ms=_PAD_MS,
        audio_length_samples=length,
    )
    return [Span(stamp["start"] / SAMPLE_RATE, stamp["end"] / SAMPLE_RATE) for stamp in stamps]


class StreamVad:
    """Silero's VAD over a stream: it keeps the network's state between calls. One thread at a time may call it."""

    def __init__(self) -> None:
        self._model = _silero()
        self._state = _after_lead(self._model)
        self._rest = np.zeros(_CONTEXT, np.float32)  # the last context, and samples that are no whole frame yet

    def probabilities(self, samples: np.ndarray) -> np.ndarray:
        """The probability of speech in each frame of 512 samples that `samples` `(n,)`, float32, completes."""
        self._rest = np.concatenate([self._rest, samples])
        hidden, cell = self._state
        found = [np.zeros(0, np.float32)]
        while (count := min((len(self._rest) - _CONTEXT) // FRAME, _BLOCK_FRAMES)) > 0:
            frames = np.lib.stride_tricks.sliding_window_view(self._rest, _CONTEXT + FRAME)[::FRAME][:count]
            values, hidden, cell = self._model.session.run(
                ["speech_probs", "hn", "cn"], {"input": np.ascontiguousarray(frames), "h": hidden, "c": cell}
            )
            found.append(values.reshape(-1))
            self._rest = self._rest[count * FRAME :]
        self._state = hidden, cell
        return np.concatenate(found)


class SegmentDetector(Protocol):
    """A loaded VAD model that returns segments in milliseconds, as `asr_app.fsmn_vad.FsmnVad`."""

    def segments(self, samples: np.ndarray) -> list[list[int]]:
        """`[start, end]` of each segment of speech. Only one thread may call it at a time."""
        ...


def fsmn_spans(audio: Audio, model: SegmentDetector) -> list[Span]:
    """Like `speech_spans`, by FunASR's fsmn-vad."""
    samples = audio.samples
    if len(samples) < _FSMN_MIN_SAMPLES or not samples.any():  # FunASR raises for some of these
        return []
    # Its frames may reach past the last sample.
    return [Span(start / 1000, min(end / 1000, audio.seconds)) for start, end in model.segments(samples)]


def is_sure(samples: np.ndarray, seconds: float = 1.0) -> bool:
    """Whether silero-vad is sure of at least `seconds` of speech in `samples` `(n,)`."""
    model = _silero()
    return float((_probabilities(model, samples) > _NO_DOUBT).sum()) * FRAME >= seconds * SAMPLE_RATE


def pack(audio: Audio, spans: Sequence[Span], max_chunk_s: float, max_gap_s: float = 0.6) -> list[Chunk]:
    """Chunks of at most `max_chunk_s` that hold all of the spans, in order and without overlap.

    Spans no further apart than `max_gap_s` share a chunk, with the pause between them, if they fit. A span that is too
    long is cut at its quietest point. `Chunk.samples` are views of the audio's.
    """
    longest = int(max_chunk_s * SAMPLE_RATE)
    chunks: list[list[tuple[int, int]]] = []
    for start, end in _pieces(audio.samples, spans, longest):
        if chunks and start - chunks[-1][-1][1] <= max_gap_s * SAMPLE_RATE and end - chunks[-1][0][0] <= longest:
            chunks[-1].append((start, end))
        else:
            chunks.append([(start, end)])
    return [_chunk(audio.samples, pieces) for pieces in chunks]


def _chunk(samples: np.ndarray, pieces: Sequence[tuple[int, int]]) -> Chunk:
    first, last = pieces[0][0], pieces[-1][1]
    speech = tuple(((start - first) / SAMPLE_RATE, (end - first) / SAMPLE_RATE) for start, end in pieces)
    return Chunk(first / SAMPLE_RATE, samples[first:last], speech)


def _silero() -> Any:
    """The model, loaded once under the lock. Several threads may run its session, which keeps no state."""
    with _silero_lock:
        return _load_silero()


@functools.cache
def _load_silero() -> Any:
    import torch

    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    torch.set_num_threads(threads)  # importing silero_vad sets it to 1, for the whole process
    return load_silero_vad(sequence=True)


def _probabilities(
    model: Any,
    samples: np.ndarray,
    threads: int = 1,
    done: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """The probability of speech in each frame, shape `(ceil(n / 512),)`.

    `check` is called before each piece and may raise, `done` after it.
    """

    def judged(start: int) -> np.ndarray:
        check()
        probabilities = _piece_probabilities(model, samples, start)
        done()
        return probabilities

    starts = range(0, max(len(samples), 1), _PIECE)
    with ThreadPoolExecutor(min(threads, len(starts)), "vad") as pool:
        return np.concatenate(list(pool.map(judged, starts)))


def _piece_probabilities(model: Any, samples: np.ndarray, start: int) -> np.ndarray:
    """Probabilities of the piece that begins at `start`.

    Replaces `model.audio_forward`, which cannot take a lead without copying hours of samples.
    """
    end = start + _PIECE
    if start:
        return _judged(model, samples[start - _SETTLING : end], _COLD)[0][_SETTLING // FRAME :]
    return _judged(model, samples[:end], _after_lead(model))[0]


@functools.cache
def _after_lead(model: Any) -> _State:
    return _judged(model, np.zeros(_LEAD, np.float32), _COLD)[1]


def _judged(model: Any, samples: np.ndarray, state: _State) -> tuple[np.ndarray, _State]:
    """Probability of speech in each frame of `samples`, from the network's `state` on, and its final state."""
    from silero_vad.sequence_vad import frame_blocks

    hidden, cell = state
    probabilities = [np.zeros(0, np.float32)]
    for block in frame_blocks(samples, FRAME, _CONTEXT, _BLOCK_FRAMES):
        values, hidden, cell = model.session.run(["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell})
        probabilities.append(values.reshape(-1))
    return np.concatenate(probabilities), (hidden, cell)


def _pieces(samples: np.ndarray, spans: Sequence[Span], longest: int) -> Iterator[tuple[int, int]]:
    """The spans as [start, end) in samples, cut so that none is over `longest`."""
    for span in spans:
        start, end = round(span.start_s * SAMPLE_RATE), round(span.end_s * SAMPLE_RATE)
        while end - start > longest:
            # Search the last third of the allowed length, or an earlier one if the rest would be too short.
            latest = min(start + longest, end - longest // 3)
            cut = quietest(samples, latest - longest // 3, latest)
            yield start, cut
            start = cut
        yield start, end


def quietest(samples: np.ndarray, first: int, last: int) -> int:
    """The sample of `samples` `(n,)` in [first, last] at the centre of the 30 ms with the least energy."""
    width = min(_QUIET_WINDOW, last - first)
    total = np.concatenate([[0.0], np.cumsum(np.square(samples[first:last], dtype=np.float64))])
    return first + width // 2 + int(np.argmin(total[width:] - total[:-width]))

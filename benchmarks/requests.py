"""The requests to the arms of a bench: one recording several times, or short clips one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr_app import pipeline, vad
from asr_app.audio import Limits, decode
from asr_app.datatypes import SAMPLE_RATE, ModelCard
from asr_app.errors import UserError
from asr_app.evaluate.arms import Clip
from asr_app.examples import EXAMPLES, expected
from asr_app.recordings import Recording, reference_of, sound_of
from asr_app.scoring import base_language

_PAUSE_S = 0.6


@dataclass(frozen=True)
class Request:
    """A clip, its seconds, and its recording with the reference, if known."""

    clip: Clip
    seconds: float
    recording: Recording | None = None


def speech(path: Path, minutes: float) -> float:
    """Writes `minutes` of the example clips, one after another with pauses. Returns the seconds written."""
    clips = [decode(EXAMPLES / name).samples for name in expected()]
    pause = np.zeros(int(_PAUSE_S * SAMPLE_RATE), np.float32)
    pieces: list[np.ndarray] = []
    wanted, length = minutes * 60 * SAMPLE_RATE, 0
    while length < wanted:
        for piece in (clips[len(pieces) // 2 % len(clips)], pause):
            pieces.append(piece)
            length += len(piece)
    samples = np.concatenate(pieces)[: int(wanted)]
    soundfile.write(path, samples, SAMPLE_RATE)
    return len(samples) / SAMPLE_RATE


def request_of(path: Path, card: ModelCard, recording: Recording | None, *, with_chunks: bool) -> Request:
    """The whole recording in the language of its reference. `with_chunks` adds chunks, for peers without a VAD."""
    sound = pipeline.read(path, path.name, Limits())[0]
    spans: tuple[tuple[float, float], ...] = ()
    if with_chunks:
        chunks = vad.pack(sound, vad.speech_spans(sound), card.max_chunk_s, card.max_gap_s)
        spans = tuple((chunk.start_s, chunk.end_s) for chunk in chunks)
    language = base_language(recording.language) if recording else ""
    known = language in card.languages
    return Request(Clip(path.resolve(), language if known else None, chunks=spans), sound.seconds, recording)


def of_length(
    recordings: Sequence[Recording], count: int, seconds: float, card: ModelCard, notes: Path
) -> list[Request]:
    """The `count` recordings whose length is nearest to `seconds`, whole, so that their error can be counted.

    Their lengths are cached in the folder `notes`.
    """
    lengths = [sound_of(recording.path, notes).seconds for recording in recordings]
    nearest = sorted(range(len(recordings)), key=lambda i: abs(lengths[i] - seconds))[:count]
    return [request_of(recordings[i].path, card, recordings[i], with_chunks=False) for i in nearest]


def cut(path: Path, count: int, seconds: float, card: ModelCard, folder: Path) -> list[Request]:
    """`count` clips of `seconds` each, evenly spread over the recording, written to `folder`.

    Clips may cut words, so no error is counted. Raises UserError if the recording is shorter than a clip.
    """
    sound = pipeline.read(path, path.name, Limits())[0]
    length = int(seconds * SAMPLE_RATE)
    last = len(sound.samples) - length
    if last < 0:
        raise UserError(
            f"{path.name} is shorter than --seconds {seconds:g}. Give a longer recording, or fewer seconds.",
            f"{path.name} 短于 --seconds {seconds:g}。请提供更长的录音，或减小秒数。",
        )
    reference = reference_of(path, None)
    language = base_language(reference.language) if reference else ""
    made = []
    for i, start in enumerate(np.linspace(0, last, count).astype(int)):
        file = folder / f"clip-{i}.wav"
        soundfile.write(file, sound.samples[start : start + length], SAMPLE_RATE)
        made.append(Request(Clip(file, language if language in card.languages else None), seconds))
    return made

"""Speech for the browser's fake microphone, and the samples that reached the server beside it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 48_000  # that of Chromium's fake microphone, so that nothing is resampled on the way


def spoken(folder: Path, *clips: Path, lead_s: float = 3.0, gap_s: float = 1.5, tail_s: float = 6.0) -> Path:
    """A WAV at RATE of the clips in a row, with pauses of faint noise: no two of its samples' neighbourhoods are alike."""
    rng = np.random.default_rng(1)

    def pause(seconds: float) -> np.ndarray:
        return rng.integers(-8, 9, round(seconds * RATE)).astype(np.int16)

    parts = [pause(lead_s)]
    for clip in clips:
        samples, rate = soundfile.read(clip)
        parts += [np.round(soxr.resample(samples, rate, RATE) * 30_000).astype(np.int16), pause(gap_s)]
    path = folder / "spoken.wav"
    soundfile.write(path, np.concatenate([*parts, pause(tail_s)]), RATE, subtype="PCM_16")
    return path


def stretches(recorded: np.ndarray, source: np.ndarray) -> list[tuple[int, int]]:
    """The start and end in `source` of each run of samples that make up `recorded`, in order.

    Raises AssertionError where a sample of `recorded` is not in its place in the source.
    """
    runs, at = [], 0
    while at < len(recorded):
        start = _find(recorded[at : at + 64], source)
        length = min(len(recorded) - at, len(source) - start)
        differing = np.flatnonzero(recorded[at : at + length] != source[start : start + length])
        length = int(differing[0]) if len(differing) else length
        runs.append((start, start + length))
        at += length
    return runs


def _find(pattern: np.ndarray, source: np.ndarray) -> int:
    """Where the pattern stands in the source; past its end, the fake microphone gives silence."""
    needle, hay = pattern.tobytes(), source.tobytes()
    at = hay.find(needle)
    while at % 2 and at >= 0:
        at = hay.find(needle, at + 1)
    assert at >= 0, f"samples that are not in the source: {pattern[:8]}"
    return at // 2


def of_job(home: Path) -> np.ndarray:
    """The samples of the newest job."""
    with sqlite3.connect(home / "journal.sqlite3") as db:
        (name,) = db.execute("SELECT recording FROM jobs ORDER BY created DESC LIMIT 1").fetchone()
    samples, rate = soundfile.read(home / "recordings" / name, dtype="int16")
    assert rate == RATE
    return samples

"""Speech for the browser's fake microphone, and the samples that reached the server beside it."""

from __future__ import annotations

import functools
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr

_FAKE = ("--headless", "--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--dump-dom")
_TELL = "data:text/html,<script>document.write(new AudioContext().sampleRate)</script>"


@functools.cache
def rate() -> int:
    """Hz of Chromium's fake microphone, which differs by machine. A source at this rate is not resampled on the way."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium
    told = subprocess.run([chromium, *_FAKE, _TELL], capture_output=True, text=True, check=True, timeout=60).stdout
    return int(re.search(r"\d{4,6}", told)[0])


def spoken(folder: Path, *clips: Path, lead_s: float = 3.0, gap_s: float = 1.5, tail_s: float = 6.0) -> Path:
    """A WAV at `rate` of the clips in a row, with pauses of faint noise: no two of its samples' neighbourhoods are alike."""
    rng = np.random.default_rng(1)

    def pause(seconds: float) -> np.ndarray:
        return rng.integers(-8, 9, round(seconds * rate())).astype(np.int16)

    parts = [pause(lead_s)]
    for clip in clips:
        samples, own = soundfile.read(clip)
        parts += [np.round(soxr.resample(samples, own, rate()) * 30_000).astype(np.int16), pause(gap_s)]
    path = folder / "spoken.wav"
    soundfile.write(path, np.concatenate([*parts, pause(tail_s)]), rate(), subtype="PCM_16")
    return path


def stretches(recorded: np.ndarray, source: np.ndarray) -> list[tuple[int, int]]:
    """The start and end in `source` of each run of samples that make up `recorded`, in order.

    Raises AssertionError where a sample of `recorded` is not in its place in the source.
    """
    runs, at, zeros = [], 0, 0
    while at < len(recorded):
        if silent := _silent(recorded[at : at + rate() // 20]):
            at, zeros = at + silent, silent
            continue
        start = _find(recorded[at : at + 64], source)
        length = min(len(recorded) - at, len(source) - start)
        differing = np.flatnonzero(recorded[at : at + length] != source[start : start + length])
        length = int(differing[0]) if len(differing) else length
        if length > rate() // 20:  # the fake microphone stutters as it starts
            if runs and runs[-1][1] == start:
                assert not 0 < zeros < 64, "zeros within the sound"
                runs[-1] = runs[-1][0], start + length
            else:
                runs.append((start, start + length))
        at, zeros = at + length, 0
    return runs


def _silent(samples: np.ndarray) -> int:
    """The number of samples at the start that are 0, if they are more than sound has: the device was not running yet.

    The fake device begins anywhere in a block of the browser's, so that a few zeros may stand before its sound.
    """
    sounding = np.flatnonzero(samples)
    count = int(sounding[0]) if len(sounding) else len(samples)
    return count if count >= 8 else 0


def _find(pattern: np.ndarray, source: np.ndarray) -> int:
    """The index of the pattern in the source. Past the source's end the fake microphone gives silence."""
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
    samples, own = soundfile.read(home / "recordings" / name, dtype="int16")
    assert own == rate()
    return samples

"""Synthesises music and applause, to train a demo model's event tags."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from asr_app.datatypes import SAMPLE_RATE

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9))


def _note(hertz: float, seconds: float, r: np.random.Generator) -> np.ndarray:
    """Harmonics that fade, plucked or bowed."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.exp(-t * r.uniform(0.5, 6)) * np.minimum(1, t / r.uniform(0.005, 0.08))
    tilt = r.uniform(0.6, 2)
    vibrato = r.uniform(0, 0.004) * np.sin(2 * np.pi * r.uniform(4, 7) * t)
    partials = range(1, min(12, int(SAMPLE_RATE / 2 / hertz)))
    return fade * sum(np.sin(2 * np.pi * hertz * k * (t + vibrato / k)) / k**tilt for k in partials)


def music(seconds: float, r: np.random.Generator) -> np.ndarray:
    """A melody over chords, at times with a drum; float32 `(n,)` at 16 kHz, peak 0.5."""
    n = int(seconds * SAMPLE_RATE)
    out = np.zeros(n + 4 * SAMPLE_RATE)
    beat = r.uniform(0.22, 0.6)
    root = float(r.uniform(90, 200))
    scale = _SCALES[int(r.integers(0, len(_SCALES)))]

    def place(sound: np.ndarray, at_s: float, gain: float) -> None:
        start = int(at_s * SAMPLE_RATE)
        out[start : start + len(sound)] += gain * sound[: len(out) - start]

    def pitch(step: int) -> float:
        return root * 2 ** ((scale[step % len(scale)] + 12 * (step // len(scale))) / 12)

    drum = r.random() < 0.6
    for i in range(int(seconds / beat)):
        if i % 4 == 0:
            chord = int(r.integers(0, 5))
            for step in (chord, chord + 2, chord + 4):
                place(_note(pitch(step), min(3.5, 4 * beat), r), i * beat, 0.5)
        if r.random() < 0.8:
            melody = len(scale) + int(r.integers(0, 2 * len(scale)))
            place(_note(pitch(melody), beat * r.choice([1, 1, 2]), r), i * beat, 0.9)
        if drum:
            hit = r.standard_normal(1600) * np.exp(-np.arange(1600) / r.uniform(80, 400))
            place(hit, i * beat, 1.0 if i % 2 else 0.5)
    return _peak(out[:n])


def applause(seconds: float, r: np.random.Generator) -> np.ndarray:
    """Many short claps, each with its own resonance, in waves of loudness; shape and level like `music`."""
    n = int(seconds * SAMPLE_RATE)
    out = np.zeros(n)
    t = np.arange(int(0.02 * SAMPLE_RATE)) / SAMPLE_RATE
    wave = 0.6 + 0.4 * np.sin(2 * np.pi * np.arange(n) / SAMPLE_RATE * r.uniform(0.05, 0.3) + r.uniform(0, 6))
    for _ in range(int(r.integers(6, 18))):  # hands
        ring = r.standard_normal(len(t)) * np.exp(-t / r.uniform(0.001, 0.004))
        ring += np.sin(2 * np.pi * r.uniform(700, 2500) * t) * np.exp(-t / r.uniform(0.002, 0.005))
        claps = np.zeros(n)
        at = np.cumsum(r.normal(1 / r.uniform(2.5, 5), 0.03, int(5 * seconds) + 1).clip(0.1))
        at = (at[at < seconds] * SAMPLE_RATE).astype(int)
        claps[at] = r.uniform(0.3, 1, len(at))
        out += fftconvolve(claps, ring)[:n] * r.uniform(0.2, 1)
    return _peak(out * wave + 0.01 * np.abs(out).max() * r.standard_normal(n))


def _peak(sound: np.ndarray) -> np.ndarray:
    return (sound / max(1e-6, float(np.abs(sound).max())) * 0.5).astype(np.float32)

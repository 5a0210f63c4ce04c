"""Augments synthetic speech: rooms, telephones and speeds on samples; vocal tracts, tempo, microphones and noise on
log-mel features, drawn anew every epoch.

Warping the mel axis moves formants like another vocal tract (Jaitly & Hinton, "Vocal Tract Length Perturbation",
2013); masking is SpecAugment (Park et al., 2019). Features are natural-log mel energies of samples scaled to 16 bits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from scipy.signal import fftconvolve

from asr_app.datatypes import SAMPLE_RATE

N_MELS = 80
_WARPS = torch.linspace(0.82, 1.22, 41)


@dataclass(frozen=True)
class MelAxis:
    """Centres of the bins of a mel filter bank, in hertz, rising."""

    hertz: tuple[float, ...]

    def bin(self, hertz: float) -> int:
        """The first bin whose centre is not below `hertz`."""
        return int(np.searchsorted(self.hertz, hertz))


def _kaldi_axis() -> MelAxis:
    low, top = (1127.0 * np.log1p(f / 700) for f in (20, SAMPLE_RATE / 2))
    centres = low + (np.arange(N_MELS) + 1) * (top - low) / (N_MELS + 1)
    return MelAxis(tuple((700 * np.expm1(centres / 1127.0)).tolist()))


def _slaney_axis() -> MelAxis:
    """Mel scale of librosa and Whisper: linear up to 1 kHz, logarithmic above (Slaney, "Auditory Toolbox", 1998)."""
    per_mel, step = 200 / 3, np.log(6.4) / 27
    mel = np.linspace(0, 15 + np.log(8) / step, N_MELS + 2)[1:-1]
    return MelAxis(tuple(np.where(mel < 15, mel * per_mel, 1000 * np.exp(step * (mel - 15))).tolist()))


KALDI, SLANEY = _kaldi_axis(), _slaney_axis()


def augment_samples(x: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Applies speed, room, telephone, level and pauses; float32 `(n,)` in and out, at 16 kHz."""
    if r.random() < 0.7:
        x = soxr.resample(x, SAMPLE_RATE, SAMPLE_RATE / r.uniform(0.85, 1.18))
    if r.random() < 0.35:
        x = _room(x, r)
    if r.random() < 0.2:
        x = _telephone(x, r)
    if r.random() < 0.1:
        x = np.tanh(x * r.uniform(2, 6))
    x = x / max(1e-6, float(np.abs(x).max())) * 10 ** r.uniform(-1.5, -0.02)
    return np.pad(x, [(int(p), int(q)) for p, q in [r.uniform(0, 0.3 * SAMPLE_RATE, 2)]]).astype(np.float32)


def _room(x: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Exponentially decaying noise as the impulse response: 0.15-0.7 s to fall by 60 dB, direct sound first."""
    t60 = r.uniform(0.15, 0.7)
    n = int(t60 * SAMPLE_RATE)
    response = r.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response *= 10 ** (r.uniform(-15, -2) / 20) / np.sqrt((response**2).sum())
    response[0] = 1.0
    return fftconvolve(x, response)[: len(x) + n // 4]


def _telephone(x: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Resamples to 8 kHz and back, half the time through 8-bit mu-law (ITU-T G.711)."""
    narrow = soxr.resample(x, SAMPLE_RATE, 8000)
    if r.random() < 0.5:
        narrow = np.clip(narrow, -1, 1)
        code = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
        narrow = np.sign(code) * (256 ** np.abs(code) - 1) / 255
    return soxr.resample(narrow, 8000, SAMPLE_RATE)


def between_bins(place: np.ndarray) -> np.ndarray:
    """Matrix `(80, 80)` for linear interpolation: bin j of the product comes from the fractional bin `place[j]`."""
    left = np.minimum(np.floor(place).astype(int), N_MELS - 2)
    matrix = np.zeros((N_MELS, N_MELS), np.float32)
    matrix[left, np.arange(N_MELS)] = 1 - (place - left)
    matrix[left + 1, np.arange(N_MELS)] = place - left
    return matrix


@functools.cache
def _warp_matrices(axis: MelAxis) -> torch.Tensor:
    """Matrices `(len(_WARPS), 80, 80)`. Column j holds the weights of the mel bins that land on bin j."""
    hertz = np.array(axis.hertz)
    matrices = []
    for factor in _WARPS.tolist():
        # Linear up to 4.8 kHz, then bent so that the upper edge stays where it is.
        knee, edge = 4800.0, SAMPLE_RATE / 2
        bent = np.where(
            hertz * factor < knee,
            hertz * factor,
            edge - (edge - knee) / (edge - knee / factor) * (edge - hertz),
        )
        matrices.append(between_bins(np.interp(bent, hertz, np.arange(N_MELS))))
    return torch.from_numpy(np.stack(matrices))


def _curve(r: np.random.Generator, strength: float) -> torch.Tensor:
    """A smooth random curve over the mel axis, `(80,)`, about `strength` nats high: the colour of a microphone."""
    axis = np.arange(N_MELS) / N_MELS
    waves = [r.normal(0, strength / k) * np.cos(np.pi * k * axis + r.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 4)]
    return torch.from_numpy(np.sum(waves, 0).astype(np.float32))


def augment_features(
    mel: torch.Tensor, noise: torch.Tensor, r: np.random.Generator, strength: float = 1.0, axis: MelAxis = KALDI
) -> torch.Tensor:
    """Augments an utterance's log-mel `(t, 80)` to `(t', 80)`. `noise` is a bank of log-mel noise `(n, 80)`.

    `strength` in [0, 1] scales how far voice, tempo and microphone move and how loud the noise may be.
    """
    frames = max(8, int(len(mel) * (1 + strength * r.uniform(-0.2, 0.25))))
    mel = torch.nn.functional.interpolate(mel.t()[None], size=frames, mode="linear")[0].t()
    middle = len(_WARPS) // 2
    warp = middle + round(strength * float(r.uniform(-middle, middle)))
    mel = mel @ _warp_matrices(axis)[warp] + _curve(r, 0.8 * strength)
    if r.random() < 0.2 * strength:
        # A narrow band: everything above 3.2-4.2 kHz (and at times below 300 Hz) falls away.
        mel[:, axis.bin(r.uniform(3200, 4200)) :] -= r.uniform(4, 14)
        if r.random() < 0.5:
            mel[:, : axis.bin(r.uniform(80, 320))] -= r.uniform(2, 6)
    if r.random() < 0.85:
        mel = add_noise(mel, noise, r, quietest_db=40, loudest_db=15 - 12 * strength)
    # A floor as of 16-bit rounding or a quiet room, so that empty bins are not a mark of the synthesiser.
    mel = torch.logaddexp(mel, torch.tensor(float(r.uniform(-8, 2 + 6 * strength))) + 0.5 * torch.randn_like(mel))
    mel = mel + float(r.uniform(-3, 1))
    for _ in range(int(r.integers(0, 3) * strength)):
        width = int(r.integers(1, 14))
        start = int(r.integers(0, N_MELS - width))
        mel[:, start : start + width] = mel.mean()
    for _ in range(int(r.integers(0, 1 + len(mel) // 120) * strength)):
        width = int(r.integers(1, 9))
        start = int(r.integers(0, max(1, len(mel) - width)))
        mel[start : start + width] = mel.mean()
    return mel


def add_noise(
    mel: torch.Tensor, noise: torch.Tensor, r: np.random.Generator, *, quietest_db: float, loudest_db: float
) -> torch.Tensor:
    """Adds a stretch of the bank, coloured at random, at a level in dB below the speech. Powers add, as sounds do."""
    start = int(r.integers(0, len(noise) - len(mel)))
    stretch = noise[start : start + len(mel)] + _curve(r, 1.0)
    loud = mel.amax(1).topk(max(1, len(mel) // 3)).values.mean()
    gain = loud - stretch.amax(1).mean() - float(r.uniform(loudest_db, quietest_db)) * np.log(10) / 10
    return torch.logaddexp(mel, stretch + gain)


def noise_bank(babble: list[np.ndarray], r: np.random.Generator, seconds: int = 40) -> list[np.ndarray]:
    """Samples of white, pink, brown, humming, clicking and babbling noise, `seconds` of each, peak 0.5."""
    n = seconds * SAMPLE_RATE
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 20)
    spectrum = np.fft.rfft(r.standard_normal(n))
    t = np.arange(n) / SAMPLE_RATE
    sounds = [np.fft.irfft(spectrum / frequency**tilt, n) for tilt in (0, 0.5, 1)]
    sounds.append(sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3, 5, 7)) + 0.05 * r.standard_normal(n))
    clicks = (r.random(n) < 4 / SAMPLE_RATE) * r.uniform(0.2, 1, n)
    decay = np.exp(-np.arange(800) / 120) * r.standard_normal(800)
    sounds.append(fftconvolve(clicks, decay)[:n] + 1e-3 * r.standard_normal(n))
    for voices in (2, 5):
        crowd = np.zeros(n)
        for _ in range(voices):
            talk = np.concatenate([babble[i] for i in r.integers(0, len(babble), seconds)] + [np.zeros(n)])[:n]
            crowd += np.roll(talk, int(r.integers(0, n)))
        sounds.append(crowd)
    return [(s / max(1e-6, np.abs(s).max()) * 0.5).astype(np.float32) for s in sounds]

"""Level, noise, pauses and bandwidth of a recording, measured block by block. Memory stays flat for hours of sound.

Plain numpy on purpose: librosa's first `stft` costs more than a second of CPU for its imports, all of what is done
here for an hour of sound takes less. The tests hold these figures against librosa's.
"""

from __future__ import annotations

import numpy as np

from asr_app.datatypes import SAMPLE_RATE

_FRAME = 512  # samples whose level is taken: 32 ms
_FLOOR_DB, _STEP_DB = -120.0, 0.5  # of the histogram of levels
_BINS = int(-_FLOOR_DB / _STEP_DB) + 1
# ITU-T P.56: speech is what lies above a threshold that its own mean level exceeds by 15.9 dB. Pauses count for nothing.
_ACTIVE_MARGIN_DB = 15.9
_FEW_FRAMES = 100  # 3 s; in less than that, nothing can be told from a bang
_BANGS = 10  # loudest frames that are left out, 0.3 s; and another one for each minute
_NOISE_PERCENTILE = 0.1
_PAUSE_DB = 25.0  # a frame this far below the speech is a pause
PEAK_BLOCK = SAMPLE_RATE // 10  # samples

_LOOK_FRAMES = 25  # frames of one look at the spectrum: 0.8 s, in which speech has loud and quiet ones
_LOOKS = 64  # at most; then every other one goes, and half as many are taken from there on
_BAND_BINS = 8  # bins of the spectrum in a band, 250 Hz
_BANDS = 32
_BAND_HZ = SAMPLE_RATE * _BAND_BINS // _FRAME
# A band belongs to the speech if it is no further below the strongest one, and in loud frames this far above quiet ones.
_REACH_DB, _STANDS_OUT_DB = 45.0, 10.0
_WINDOW = np.hanning(_FRAME).astype(np.float32)


class Meter:
    """Takes 16 kHz samples in blocks of any length; the figures are there at any time."""

    def __init__(self) -> None:
        self._levels = np.zeros(_BINS, np.int64)  # frames by their level
        self._rest = np.zeros(0, np.float32)
        self._peaks: list[np.ndarray] = []
        self._looks: list[np.ndarray] = []  # power by band of loud and of quiet frames, `(2, 32)` each
        self._seen = self._every = 1
        self._leading = True
        self.leading_zeros = 0  # samples that are exactly 0 before the first other one
        self.over_full_scale = 0  # samples

    def add(self, samples: np.ndarray) -> None:
        """Takes the next samples `(n,)`, finite."""
        if self._leading:
            sounding = np.flatnonzero(samples)
            self.leading_zeros += int(sounding[0]) if len(sounding) else len(samples)
            self._leading = not len(sounding)
        samples = np.concatenate([self._rest, samples])
        whole = (
            len(samples) // (_FRAME * _LOOK_FRAMES) * _FRAME * _LOOK_FRAMES
        )  # 25 frames are 8 of the blocks that peaks are taken of
        self._rest = samples[whole:]
        if whole:
            self._measure(samples[:whole])

    def finish(self) -> None:
        """Measures what is left over, too short for a whole block."""
        if len(self._rest):
            self._measure(np.pad(self._rest, (0, -len(self._rest) % _FRAME)))
            self._rest = self._rest[:0]

    @property
    def peaks(self) -> np.ndarray:
        """The largest magnitude in each block of PEAK_BLOCK samples."""
        return np.concatenate(self._peaks) if self._peaks else np.zeros(0, np.float32)

    @property
    def peak_db(self) -> float:
        return 20 * float(np.log10(max(self.peaks.max(initial=0.0), 10 ** (_FLOOR_DB / 20))))

    @property
    def speech_db(self) -> float | None:
        """The active level in dBFS by ITU-T P.56; of noise, the noise's. None for digital silence."""
        levels = self._without_bangs()
        if not levels.any():
            return None
        db = _FLOOR_DB + _STEP_DB * np.arange(_BINS)
        energy = float((levels * 10 ** (db / 10)).sum())
        above = np.cumsum(levels[::-1])[::-1]
        active = 10 * np.log10(energy / np.maximum(above, 1))  # of what lies above each threshold
        meets = np.flatnonzero((active - db <= _ACTIVE_MARGIN_DB) & (above > 0))
        return round(float(active[meets[0]] if len(meets) else active[0]), 1)

    def _without_bangs(self) -> np.ndarray:
        """The histogram without digital silence, and without the few loudest frames: a slammed door is no speech."""
        levels = self._levels.copy()
        levels[0] = 0
        frames = int(self._levels.sum())
        if frames < _FEW_FRAMES:
            return levels
        bangs = _BANGS + frames * _FRAME // (60 * SAMPLE_RATE)
        above = np.cumsum(levels[::-1])[::-1]
        without = np.minimum(levels, np.maximum(above - bangs, 0))
        return without if without.any() else levels

    @property
    def noise_db(self) -> float | None:
        """The level that a tenth of the frames lies below, digital silence apart. None for nothing but that."""
        levels = self._levels.copy()
        levels[0] = 0
        if not levels.any():
            return None
        at = int(np.searchsorted(np.cumsum(levels), _NOISE_PERCENTILE * levels.sum()))
        return _FLOOR_DB + _STEP_DB * at

    @property
    def silence(self) -> float:
        """The share of the recording that is pause: far below the speech, or at the noise."""
        speech, noise = self.speech_db, self.noise_db
        if speech is None or noise is None:
            return 1.0
        below = max(speech - _PAUSE_DB, min(noise + 5, speech - 10))
        frames = int(self._levels.sum())
        return round(float(self._levels[: max(0, int((below - _FLOOR_DB) / _STEP_DB))].sum()) / frames, 3)

    @property
    def bandwidth_hz(self) -> int | None:
        """Upper end of the speech's spectrum, in steps of 250 Hz, at most 8000; None for constant sound.

        Constant sound is no speech: the hiss above a telephone's band does not make the band wider.
        """
        if not self._looks:
            return None
        loud, quiet = np.array(self._looks).transpose(1, 0, 2)
        loud_db = 10 * np.log10(np.percentile(loud, 75, axis=0) + 1e-14)
        quiet_db = 10 * np.log10(np.percentile(quiet, 25, axis=0) + 1e-14)
        speech = (loud_db > loud_db.max() - _REACH_DB) & (loud_db - quiet_db > _STANDS_OUT_DB)
        return (int(np.flatnonzero(speech)[-1]) + 1) * _BAND_HZ if speech.any() else None

    def _measure(self, samples: np.ndarray) -> None:
        frames = samples.reshape(-1, _FRAME)
        mean_square = np.einsum("nf,nf->n", frames, frames) / _FRAME
        db = 10 * np.log10(np.maximum(mean_square, 10 ** (_FLOOR_DB / 10)))
        # A level over full scale, as a float file may have it, counts as full scale.
        bins = np.clip(np.round((db - _FLOOR_DB) / _STEP_DB), 0, _BINS - 1).astype(np.int64)
        self._levels += np.bincount(bins, minlength=_BINS)
        if len(samples) % PEAK_BLOCK:  # the recording's end
            samples = np.pad(samples, (0, -len(samples) % PEAK_BLOCK))
        magnitude = np.abs(samples.reshape(-1, PEAK_BLOCK))
        peaks = magnitude.max(axis=1)
        self._peaks.append(peaks)
        if peaks.max() > 1.0:
            self.over_full_scale += int((magnitude > 1.0).sum())
        self._seen += 1
        if self._seen % self._every == 0:
            self._look(frames[:_LOOK_FRAMES])

    def _look(self, frames: np.ndarray) -> None:
        """Keeps the mean power of the loudest and of the quietest quarter of `frames`, in each band by itself: the
        consonants that fill the upper bands are not the loudest sounds.
        """
        spectra = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)) ** 2
        bands = spectra[:, : _BANDS * _BAND_BINS].reshape(len(frames), _BANDS, _BAND_BINS).mean(axis=2)
        ranked = np.sort(bands, axis=0)
        quarter = max(1, len(frames) // 4)
        self._looks.append(np.stack([ranked[-quarter:].mean(axis=0), ranked[:quarter].mean(axis=0)]))
        if len(self._looks) > _LOOKS:
            self._looks, self._every = self._looks[::2], self._every * 2

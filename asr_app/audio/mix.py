"""Mixes many channels to one, block by block. If two channels cancel each other, the louder one is used."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# Energy of the mean of the channels over what unrelated channels would leave. Two that carry the same sound give 2.0,
# unrelated ones 1.0, a perfect inversion 0.0. 0.3 is a correlation of -0.7.
_CANCELS = 0.3
_SILENT = 10 ** (-70 / 10)  # mean square of a channel of which nothing is to be heard: -70 dBFS
_FULL_SCALE = 0.999


@dataclass
class Mixer:
    """Averages float32 frames `(n, channels)` into `(n,)`, and counts what is told of the channels afterwards."""

    frames: int = 0
    cancelled_frames: int = 0
    clipped_frames: int = 0  # with a sample at full scale in any channel
    energy: np.ndarray = field(default_factory=lambda: np.zeros(0))  # per channel, sum of squares
    _cancels: bool = False

    def mix(self, frames: np.ndarray) -> np.ndarray:
        """One channel `(n,)` of frames `(n, channels)`. NaN and infinity pass through."""
        with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses what is not finite
            self._count_clipped(frames)
            mono = _mean(frames)
            # A channel count that changes in mid-stream does not get here: both decoders keep the first.
            energy = np.array([np.dot(channel, channel) for channel in frames.T], np.float64)
            self.energy = energy + (self.energy if len(self.energy) else 0.0)
            self.frames += len(frames)
            if frames.shape[1] == 1 or not np.isfinite(energy).all():
                return mono
            unrelated = energy.sum() / frames.shape[1] ** 2
            # In a pause the last decision stays: the noise of two channels says nothing of how the speech is wired.
            if unrelated > _SILENT * len(frames):
                self._cancels = float(np.dot(mono, mono)) < _CANCELS * unrelated
            if not self._cancels:
                return mono
            self.cancelled_frames += len(frames)
            return frames[:, int(self.energy.argmax())]

    def silent_channels(self) -> list[int]:
        """The channels, counted from 1, that carry nothing while another one does."""
        loudest = self.energy.max(initial=0.0)
        if loudest <= _SILENT * self.frames:
            return []
        return [i + 1 for i, e in enumerate(self.energy) if e <= _SILENT * self.frames and e < loudest * 1e-4]

    def _count_clipped(self, frames: np.ndarray) -> None:
        if len(frames) and (frames.max() >= _FULL_SCALE or frames.min() <= -_FULL_SCALE):
            self.clipped_frames += int((np.abs(frames) >= _FULL_SCALE).any(axis=1).sum())


def _mean(frames: np.ndarray) -> np.ndarray:
    """The mean of the channels, `(n,)`. For two it is the same to the bit as numpy's, in a fifth of the time."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    if frames.shape[1] == 2:
        return (frames[:, 0] + frames[:, 1]) * np.float32(0.5)
    return frames.mean(axis=1)

"""Frames at any rate -> a temporary file of 16 kHz samples, judged as they come and levelled where they need it.

An hour of samples is 230 MB, of which memory holds no more than is looked at (where temporary files lie on a disk).
"""

from __future__ import annotations

import contextlib
import io
import logging
import mmap
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soxr

from asr_app.audio.meter import PEAK_BLOCK, Meter
from asr_app.audio.mix import Mixer
from asr_app.datatypes import SAMPLE_RATE, Audio
from asr_app.errors import UserError
from asr_app.quality import Finding, Recording

MIN_SECONDS = 0.1  # below this no model finds anything, and some raise

_log = logging.getLogger(__name__)

_RATES = range(1_000, 768_001)  # Hz; a header outside of it is damaged, and would make the resampler's blocks explode
_BLOCK_VALUES = (
    1 << 20
)  # values (frames x channels) in a block: 4 MiB of float32, however many channels a header claims

# silero-vad finds all of a speech down to -44 dBFS, two thirds at -54 and nothing at -74.
_QUIET_DB, _TARGET_DB = -40.0, -20.0
_INAUDIBLE_DB = -90.0  # what 16 bits cannot tell from their own noise
_HEADROOM = 0.9  # of full scale, where a peak limits the gain
_OVER_SHARE = 0.001  # lossy codecs overshoot by a sample here and there; a float file over full scale all the time

_CLIPPED_SHARE = 0.001
_NARROW_HZ, _BANDWIDTH_SNR_DB, _NOISY_DB, _MOSTLY_SILENT = 4_500, 20.0, 12.0, 0.9
_TOLD_S = 0.5  # a start or hole shorter than this is not worth a word


@dataclass(frozen=True)
class Limits:
    """The largest file and the longest recording that are taken in."""

    max_bytes: int = 2 * 1024**3
    max_seconds: float = 4 * 3600


class Samples:
    """Takes frames at `rate` Hz, any number of channels, and writes 16 kHz mono samples to a file without a name."""

    def __init__(self, rate: int, name: str, limits: Limits) -> None:
        self._name = name
        self.require_rate(rate)
        self._rate = rate
        self._max_seconds = limits.max_seconds
        self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self._mixer, self._meter = Mixer(), Meter()
        # It lives as long as what maps it. Without a buffer, what did not fit is known at once.
        self._file: BinaryIO = io.BytesIO()
        with contextlib.suppress(OSError):
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self.count = 0

    def require_rate(self, rate: int) -> None:
        """Raises UserError for a sampling rate, in Hz, that only a damaged or hostile header states."""
        if rate not in _RATES:
            raise UserError(
                f"{self._name} states a sampling rate of {rate} Hz, which cannot be right. Save it again as WAV or MP3.",
                f"{self._name} 声明的采样率为 {rate} Hz，不可能正确。请重新保存为 WAV 或 MP3。",
            )

    def block_frames(self, channels: int) -> int:
        """Number of frames to add at a time: a second, less with very many channels."""
        return max(1, min(self._rate, _BLOCK_VALUES // max(1, channels)))

    def add(self, frames: np.ndarray) -> None:
        """Appends float32 frames `(n, channels)`. Raises UserError over the limit, and for NaN or infinity."""
        mono = self._mixer.mix(frames)
        self._append(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def flush(self) -> None:
        """Appends what the resampler still holds; nothing may be added afterwards."""
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
            self._resampler = None
        self._meter.finish()

    @property
    def speech_db(self) -> float | None:
        """The level so far; None for digital silence."""
        return self._meter.speech_db

    def finish(self, filled_s: float = 0.0, findings: Sequence[Finding] = ()) -> Audio:
        """The written samples, levelled, memory-mapped and judged. Raises UserError if there was hardly any sound.

        `filled_s` is the silence among it that a decoder put there, `findings` what the decoder has to tell.
        """
        self.flush()
        if self.count < MIN_SECONDS * SAMPLE_RATE:
            raise UserError(
                f"{self._name} is too short: it holds less than {MIN_SECONDS} seconds of sound. Record for longer.",
                f"{self._name} 太短：声音不足 {MIN_SECONDS} 秒。请录得长一些。",
            )
        levelled = self._level()
        meter = self._meter
        recording = Recording(
            meter.speech_db, meter.noise_db, meter.bandwidth_hz, meter.silence,
            (*findings, *self._gaps(filled_s), *self._of_channels(), *levelled, *self._of_sound()),
        )  # fmt: skip
        if isinstance(self._file, io.BytesIO):
            return Audio(np.frombuffer(self._file.getbuffer(), np.float32), self._name, recording=recording)
        with self._file:
            # Who wrote to it would change a copy, until memory is left; a mapping to read alone makes torch warn.
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        return Audio(np.frombuffer(mapped, np.float32), self._name, mapped, recording)

    def _level(self) -> list[Finding]:
        """Brings what is very quiet, or over full scale, to where recognition wants it; all else stays as it is."""
        meter, speech_db = self._meter, self._meter.speech_db
        if meter.over_full_scale > _OVER_SHARE * self.count:
            self._scale(lambda first, n: np.float32(1 / meter.peaks.max()))
            return [Finding("over_full_scale", {"lowered_db": round(meter.peak_db, 1)})]
        for block in np.flatnonzero(meter.peaks > 1.0):
            self._change(int(block) * PEAK_BLOCK, PEAK_BLOCK, lambda samples: np.clip(samples, -1.0, 1.0))
        if speech_db is None or not _INAUDIBLE_DB <= speech_db < _QUIET_DB:
            return []
        gain_db = _TARGET_DB - speech_db
        # A slammed door in a whispered recording: the gain gives way around it, instead of being held down by it.
        gains = np.minimum(10 ** (gain_db / 20), _HEADROOM / np.maximum(meter.peaks, 1e-9))
        edges = np.minimum(np.append(gains, gains[-1]), np.insert(gains, 0, gains[0]))
        at = np.arange(len(edges)) * PEAK_BLOCK
        self._scale(lambda first, n: np.interp(np.arange(first, first + n), at, edges).astype(np.float32))
        return [Finding("quiet", {"raised_db": round(gain_db, 1)})]

    def _gaps(self, filled_s: float) -> list[Finding]:
        late_s = min(filled_s, self._meter.leading_zeros / SAMPLE_RATE)
        silences = [("late_start", late_s), ("holes", filled_s - late_s)]
        return [Finding(code, {"seconds": round(s, 1)}) for code, s in silences if s >= _TOLD_S]

    def _of_channels(self) -> list[Finding]:
        mixer = self._mixer
        findings = []
        if mixer.cancelled_frames:
            seconds = round(mixer.cancelled_frames / self._rate, 1)
            findings.append(Finding("cancelling_channels", {"seconds": seconds}))
        if silent := mixer.silent_channels():
            figures = {"silent": len(silent), "channels": len(mixer.energy), "first": silent[0]}
            findings.append(Finding("silent_channels", figures))
        return findings

    def _of_sound(self) -> list[Finding]:
        meter, mixer = self._meter, self._mixer
        if meter.speech_db is None or meter.speech_db < _INAUDIBLE_DB:
            return [Finding("no_sound", {"peak_db": round(meter.peak_db, 1)})]
        findings = []
        clipped = mixer.clipped_frames / max(1, mixer.frames)
        if clipped > _CLIPPED_SHARE and meter.over_full_scale <= _OVER_SHARE * self.count:
            findings.append(Finding("clipped", {"percent": round(100 * clipped, 1)}))
        snr_db = round(meter.speech_db - (meter.noise_db or 0.0), 1)
        # Noise hides the upper bands of a full-band recording too.
        if meter.bandwidth_hz is not None and meter.bandwidth_hz <= _NARROW_HZ and snr_db > _BANDWIDTH_SNR_DB:
            findings.append(Finding("narrow_band", {"hz": meter.bandwidth_hz}))
        if snr_db < _NOISY_DB:
            findings.append(Finding("noisy", {"snr_db": snr_db}))
        if meter.silence > _MOSTLY_SILENT:
            findings.append(Finding("mostly_silent", {"percent": round(100 * meter.silence, 1)}))
        return findings

    def _scale(self, gain: Callable[[int, int], np.ndarray | np.float32]) -> None:
        """Multiplies every sample; `gain(first, n)` is the factor of n samples from `first` on."""
        for first in range(0, self.count, SAMPLE_RATE):
            self._change(first, SAMPLE_RATE, lambda samples, first=first: samples * gain(first, len(samples)))  # type: ignore[misc]

    def _change(self, first: int, count: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replaces up to `count` samples from `first` on, in the file."""
        self._file.seek(4 * first)
        samples = np.frombuffer(self._file.read(4 * count), np.float32)
        self._file.seek(4 * first)
        self._file.write(change(samples).astype(np.float32).tobytes())

    def _append(self, samples: np.ndarray) -> None:
        if not np.isfinite(samples).all():
            raise UserError(
                f"{self._name} contains samples that are not numbers (NaN or infinity). Export it again.",
                f"{self._name} 含有无效的采样值（NaN 或无穷大）。请重新导出该文件。",
            )
        end = self.count + len(samples)
        if end > self._max_seconds * SAMPLE_RATE:
            minutes = f"{self._max_seconds / 60:.4g}"
            raise UserError(
                f"{self._name} is longer than the limit of {minutes} minutes. Cut it into shorter parts.",
                f"{self._name} 超过 {minutes} 分钟的时长上限。请切分成较短的几段。",
            )
        self._meter.add(samples)
        self._write(np.ascontiguousarray(samples, np.float32).tobytes())
        self.count = end

    def _write(self, block: bytes) -> None:
        """Writes a block. On a full disk all samples move to memory, and later ones too."""
        with contextlib.suppress(OSError):
            if self._file.write(block) == len(block):
                return
        _log.warning("%s: no room for temporary files; its samples are kept in memory", self._name)
        self._file.seek(0)
        self._file = io.BytesIO(self._file.read(4 * self.count) + block)
        self._file.seek(0, io.SEEK_END)

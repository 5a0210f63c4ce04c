"""Any file or microphone buffer -> Audio (16 kHz mono float32), once, with limits. Knows nothing of speech.

Sound is mixed, resampled and checked block by block, and its 16 kHz samples are kept in a temporary file: an hour of
them is 230 MB, of which memory needs to hold no more than is looked at (where temporary files lie on a disk).
"""

from __future__ import annotations

import contextlib
import io
import logging
import mmap
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import imageio_ffmpeg
import numpy as np
import soundfile
import soxr

from asr_app.datatypes import SAMPLE_RATE, Audio
from asr_app.errors import UserError

MIN_SECONDS = 0.1  # below this no model finds anything, and some raise

_log = logging.getLogger(__name__)

_RATES = range(1_000, 768_001)  # Hz; a header outside of it is damaged, and would make the resampler's blocks explode
_BLOCK_VALUES = (
    1 << 20
)  # values (frames x channels) in a block: 4 MiB of float32, however many channels a header claims

# What ffmpeg may take a file for. Playlists (hls, concat, dash) and picture patterns are left out on purpose: such a
# file names other files, and an upload must not make the server read them.
_CONTAINERS = (
    "mov,matroska,avi,asf,flv,mpeg,mpegts,mxf,nut,rm,dv,mp3,aac,loas,amr,amrnb,amrwb,ogg,wav,w64,aiff,au,caf,flac,"
    "ac3,eac3,dts,ape,wv,tta,tak,mpc,mpc8,dsf,voc,oma,qcp,gsm"
)


@dataclass(frozen=True)
class Limits:
    """The largest file and the longest recording that are taken in."""

    max_bytes: int = 2 * 1024**3
    max_seconds: float = 4 * 3600


def decode(path: Path, *, name: str | None = None, limits: Limits = Limits()) -> Audio:
    """The sound of an audio or video file; `name` is what to call it, by default the file's own name.

    A file that breaks off is decoded as far as it goes, with a warning in the log. Raises UserError for a path that is
    no file, an empty, too large, too long, too short or damaged one, one without sound, and NaN or infinite samples.
    """
    name = _base_name(name or str(path))
    _check_file(path, name, limits)
    with _opened(path, name) as handle:
        # By descriptor: given a name, soundfile would guess from its extension, and take "-" for the standard input.
        try:
            sound = soundfile.SoundFile(handle.fileno(), closefd=False)
        except soundfile.LibsndfileError:
            return _decode_ffmpeg(path, name, limits)
        with sound:
            # libsndfile guesses an MP3's length from its first frames where no Xing header tells it, and stops there:
            # of 40 s with a loud beginning it gave 6.7 s.
            if sound.format != "MP3":
                return _decode_soundfile(sound, name, limits)
    return _decode_ffmpeg(path, name, limits)


def from_buffer(rate: int, samples: np.ndarray, name: str, limits: Limits = Limits()) -> Audio:
    """The sound of an array, shape `(n,)` or `(n, channels)`, at `rate` Hz: a microphone's, or another program's.

    Integers of any width are scaled by their own range (unsigned ones around its middle), floats are clipped to
    [-1, 1]. Raises UserError for a rate that cannot be right, for NaN or infinity, and outside the limits of length.
    """
    frames = samples[:, np.newaxis] if samples.ndim == 1 else samples
    recording = _Recording(rate, _base_name(name), limits)
    step = recording.block_frames(frames.shape[1])
    for start in range(0, len(frames), step):
        recording.add(_as_float32(frames[start : start + step]))
    return recording.finish()


class _Recording:
    """Takes frames at `rate` Hz, any number of channels, and writes 16 kHz mono samples to a file without a name."""

    def __init__(self, rate: int, name: str, limits: Limits) -> None:
        if rate not in _RATES:
            raise UserError(
                f"{name} states a sampling rate of {rate} Hz, which cannot be right. Save it again as WAV or MP3.",
                f"{name} 声明的采样率为 {rate} Hz，不可能正确。请重新保存为 WAV 或 MP3。",
            )
        self._rate = rate
        self._name = name
        self._max_seconds = limits.max_seconds
        self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        # It lives as long as what maps it. Without a buffer, what did not fit is known at once.
        self._file: BinaryIO = io.BytesIO()
        with contextlib.suppress(OSError):
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self.count = 0

    def block_frames(self, channels: int) -> int:
        """How many frames to add at a time: a second, less where there are very many channels."""
        return max(1, min(self._rate, _BLOCK_VALUES // max(1, channels)))

    def add(self, frames: np.ndarray) -> None:
        """Appends float32 frames `(n, channels)`. Raises UserError over the limit, and for NaN or infinity."""
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows here is refused by _append
            mono = frames.mean(axis=1)
        self._append(mono if self._resampler is None else self._resampler.resample_chunk(mono))

    def finish(self) -> Audio:
        """What was written, mapped. Raises UserError if there was hardly any sound."""
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        if self.count < MIN_SECONDS * SAMPLE_RATE:
            raise UserError(
                f"{self._name} is too short: it holds less than {MIN_SECONDS} seconds of sound. Record for longer.",
                f"{self._name} 太短：声音不足 {MIN_SECONDS} 秒。请录得长一些。",
            )
        if isinstance(self._file, io.BytesIO):
            return Audio(np.frombuffer(self._file.getbuffer(), np.float32), self._name)
        with self._file:
            # Who wrote to it would change a copy, until memory is left; a mapping to read alone makes torch warn.
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        return Audio(np.frombuffer(mapped, np.float32), self._name, mapped)

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
        self._write(np.clip(samples, -1.0, 1.0).tobytes())
        self.count = end

    def _write(self, block: bytes) -> None:
        """Where the disk is full, memory takes what is there and what comes."""
        with contextlib.suppress(OSError):
            if self._file.write(block) == len(block):
                return
        _log.warning("%s: no room for temporary files; its samples are kept in memory", self._name)
        self._file.seek(0)
        self._file = io.BytesIO(self._file.read(4 * self.count) + block)
        self._file.seek(0, io.SEEK_END)


def _decode_soundfile(sound: soundfile.SoundFile, name: str, limits: Limits) -> Audio:
    recording = _Recording(sound.samplerate, name, limits)
    step = recording.block_frames(sound.channels)
    try:
        while len(frames := sound.read(step, dtype="float32", always_2d=True)):
            recording.add(frames)
    except soundfile.LibsndfileError as error:
        if not recording.count:
            raise _damaged(name) from error
        _log.warning("%s breaks off after %.1f s: %s", name, recording.count / SAMPLE_RATE, error)
    return recording.finish()


def _decode_ffmpeg(path: Path, name: str, limits: Limits) -> Audio:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error"]
    # "file:" and an absolute path: a name may begin with "-" or hold a ":".
    command += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS, "-i", f"file:{path.absolute()}"]
    # Without rematrix_maxval a float mix of stereo comes out 3 dB too loud, and clips.
    command += ["-vn", "-sn", "-dn", "-ac", "1", "-rematrix_maxval", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-"]
    recording = _Recording(SAMPLE_RATE, name, limits)
    # Messages go to a file, since a pipe nobody reads would fill up and stop ffmpeg.
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process:
            assert process.stdout is not None  # PIPE above
            try:
                while block := process.stdout.read(4 * SAMPLE_RATE):
                    recording.add(np.frombuffer(block, "<f4", count=len(block) // 4)[:, np.newaxis])
                code = process.wait()
            finally:
                process.kill()  # over a limit there is more to come
        messages.seek(0)
        report = messages.read(1 << 16).decode(errors="replace")
    if not recording.count:
        raise _nothing_decoded(report, name)
    if code:
        _log.warning("%s: ffmpeg ended with %d after %.1f s: %s", name, code, recording.count / SAMPLE_RATE, report)
    return recording.finish()


def _nothing_decoded(report: str, name: str) -> UserError:
    """Which of three things kept ffmpeg from giving a single sample, by the messages it left."""
    if "does not contain any stream" in report:
        return UserError(
            f"{name} has no audio track. Choose a file with sound.", f"{name} 没有音轨。请选择含有声音的文件。"
        )
    # An MP4 that was cut off before its index is recognised, and still cannot be opened.
    if "Error opening input" in report and "moov atom not found" not in report:
        return UserError(
            f"{name} is not an audio or video file that can be read. Use WAV, MP3, M4A, FLAC, OGG or MP4.",
            f"{name} 不是可识别的音频或视频文件。请使用 WAV、MP3、M4A、FLAC、OGG 或 MP4。",
        )
    return _damaged(name)


def _damaged(name: str) -> UserError:
    return UserError(
        f"{name} is damaged: no sound could be decoded. Copy, download or export it again.",
        f"{name} 已损坏：无法解码出任何声音。请重新复制、下载或导出。",
    )


def _check_file(path: Path, name: str, limits: Limits) -> None:
    if not path.exists():
        raise UserError(
            f"{name} does not exist. Check the name, or upload it again.", f"找不到 {name}。请检查文件名或重新上传。"
        )
    if not path.is_file():
        raise UserError(f"{name} is not a file. Choose one recording.", f"{name} 不是文件。请选择一个录音文件。")
    size = path.stat().st_size
    if not size:
        raise UserError(
            f"{name} is empty (0 bytes). Record or upload it again.", f"{name} 是空文件（0 字节）。请重新录制或上传。"
        )
    if size > limits.max_bytes:
        limit = f"{limits.max_bytes / 1024**2:.4g}"
        raise UserError(
            f"{name} is larger than the limit of {limit} MB. Compress it (MP3 or M4A) or cut it.",
            f"{name} 超过 {limit} MB 的大小上限。请压缩（MP3 或 M4A）或切分。",
        )


def _opened(path: Path, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(
            f"{name} cannot be opened ({error.strerror}). Check its permissions.",
            f"无法打开 {name}（{error.strerror}）。请检查文件权限。",
        ) from error


def _base_name(path: str) -> str:
    """The last part of a path, printable even where the bytes on disk are no UTF-8."""
    return Path(path).name.encode(errors="replace").decode()


def _as_float32(frames: np.ndarray) -> np.ndarray:
    if frames.dtype.kind == "f":
        return frames.astype(np.float32)
    info = np.iinfo(frames.dtype)
    half = (int(info.max) - int(info.min) + 1) / 2  # 32768 for both int16 and uint16
    middle = half if info.min == 0 else 0.0
    return ((frames - middle) / half).astype(np.float32)

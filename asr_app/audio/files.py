"""A file or an array -> Audio: which decoder reads it, and what a file that cannot be read is told.

libsndfile reads WAV, AIFF, FLAC and OGG, ffmpeg all else, and what libsndfile stumbles over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from asr_app.audio import ffmpeg, headers
from asr_app.audio.child import TimedOut
from asr_app.audio.samples import MIN_SECONDS, Limits, Samples
from asr_app.datatypes import SAMPLE_RATE, Audio
from asr_app.errors import UserError
from asr_app.quality import Finding

_LIMITS = Limits()
_log = logging.getLogger(__name__)

_UNKNOWN_FRAMES = 1 << 62  # libsndfile gives 2**63 - 1 where a header states no length
_NO_SPEECH_DB = -60.0  # a track below this may be a muted microphone's
_LOUDER_DB = 20.0  # another track is taken for its sake if it is this much louder


@dataclass(frozen=True)
class _File:
    path: Path
    name: str
    limits: Limits
    check: Callable[[], None]


def decode(
    path: Path, *, name: str | None = None, limits: Limits = _LIMITS, check: Callable[[], None] = lambda: None
) -> Audio:
    """The sound of an audio or video file; `name` is what to call it, by default the file's own name.

    A file that breaks off is decoded as far as it goes; `Audio.recording` says so. `check` is called at least twice a
    second, and its exceptions end the work. Raises UserError for a path that is no file, an empty, too large, too long,
    too short or damaged one, one without sound, one that takes too long to decode, and NaN or infinite samples.
    """
    file = _File(path, _base_name(name or str(path)), limits, check)
    _check_file(path, file.name, limits)
    with _opened(path, file.name) as handle:
        # By descriptor: given a name, soundfile would guess from its extension, and take "-" for the standard input.
        try:
            sound = soundfile.SoundFile(handle.fileno(), closefd=False)
        except soundfile.LibsndfileError:
            return _decode_ffmpeg(file)
        with sound:
            if _libsndfile_is_right(sound) and not headers.misleading(path):
                return _decode_soundfile(sound, file)
    return _decode_ffmpeg(file)


def stated_seconds(path: Path) -> float | None:
    """Length of a recording in seconds by its header, which may be wrong; None if none is stated. Decodes nothing."""
    try:
        with path.open("rb") as handle, soundfile.SoundFile(handle.fileno(), closefd=False) as sound:
            if _libsndfile_is_right(sound) and sound.frames:
                return float(sound.frames / sound.samplerate)
    except OSError:
        return None
    except soundfile.LibsndfileError:  # ffmpeg may know it
        pass
    return ffmpeg.stated_seconds(path)


def from_buffer(rate: int, samples: np.ndarray, name: str, limits: Limits = _LIMITS) -> Audio:
    """The sound of an array, shape `(n,)` or `(n, channels)`, at `rate` Hz: a microphone's, or another program's.

    Integers of any width are scaled by their own range (unsigned ones around its middle); floats over full scale are
    brought down to it. Raises UserError for a rate that cannot be right, for NaN or infinity, and outside the limits
    of length.
    """
    frames = samples[:, np.newaxis] if samples.ndim == 1 else samples
    taken = Samples(rate, _base_name(name), limits)
    step = taken.block_frames(frames.shape[1])
    for start in range(0, len(frames), step):
        taken.add(_as_float32(frames[start : start + step]))
    return taken.finish()


def _libsndfile_is_right(sound: soundfile.SoundFile) -> bool:
    """Whether libsndfile can be trusted to read all of it.

    It guesses the length of MPEG audio, in a WAV too, from its first frames where no Xing header tells it, and stops
    there: of 40 s with a loud beginning it gave 6.7 s. Without a stated length (FLAC from a pipe or a segmenter) it
    fails at the end and throws the last block away: that would be noticed, after all of it was decoded.
    """
    return sound.format != "MP3" and not sound.subtype.startswith("MPEG") and sound.frames < _UNKNOWN_FRAMES


def _decode_soundfile(sound: soundfile.SoundFile, file: _File) -> Audio:
    """Decodes by libsndfile, or by ffmpeg if libsndfile fails and ffmpeg decodes more."""
    samples = Samples(sound.samplerate, file.name, file.limits)
    step = samples.block_frames(sound.channels)
    read, failed = 0, False
    try:
        while len(frames := sound.read(step, dtype="float32", always_2d=True)):
            file.check()
            samples.add(frames)
            read += len(frames)
    except soundfile.LibsndfileError as error:
        _log.warning("%s: libsndfile stops after %.1f s: %s", file.name, samples.count / SAMPLE_RATE, error)
        failed = True
    failed |= read < sound.frames
    # A recorder that crashed leaves a data size of 0 in the header, and hours of sound behind it.
    if not failed and read >= MIN_SECONDS * sound.samplerate:
        return samples.finish()
    samples.flush()
    try:
        audio = _decode_ffmpeg(file)
    except UserError:
        if failed and not samples.count:
            raise
        return samples.finish(findings=[_breaks_off(samples)] if failed else [])
    return audio if len(audio.samples) >= samples.count else samples.finish(findings=[_breaks_off(samples)])


def _decode_ffmpeg(file: _File) -> Audio:
    samples, report = _read_ffmpeg(file)
    findings = []
    if len(report.tracks) > 1:
        first = report.track
        if (samples.speech_db or -np.inf) < _NO_SPEECH_DB:
            samples, report = _loudest_track(file, samples, report)
        track = report.track if report.track in report.tracks else report.tracks[0]
        figures = {"track": report.tracks.index(track) + 1, "tracks": len(report.tracks)}
        findings.append(Finding("tracks" if report.track == first else "other_track", figures))
    if not samples.count:
        raise _nothing_decoded(report.errors, file.name)
    if report.code:
        _log.warning(
            "%s: ffmpeg ended with %d after %.1f s: %s",
            file.name, report.code, samples.count / SAMPLE_RATE, report.errors,
        )  # fmt: skip
        findings.append(_breaks_off(samples))
    return samples.finish(report.filled_s, findings)


def _read_ffmpeg(file: _File, track: int | None = None) -> tuple[Samples, ffmpeg.Report]:
    samples = Samples(SAMPLE_RATE, file.name, file.limits)
    try:
        report = ffmpeg.read(file.path, samples, file.check, track)
    except TimedOut:
        raise UserError(
            f"{file.name} takes too long to decode: the decoder was stopped. Convert it to WAV or MP3, or cut it.",
            f"{file.name} 解码时间过长，已停止解码。请转换为 WAV 或 MP3，或切分文件。",
        ) from None
    samples.flush()
    return samples, report


def _loudest_track(file: _File, samples: Samples, report: ffmpeg.Report) -> tuple[Samples, ffmpeg.Report]:
    """The loudest track of the file, where it is clearly louder than the silent one that ffmpeg chose."""
    for track in report.tracks:
        if track != report.track:
            other, other_report = _read_ffmpeg(file, track)
            if (other.speech_db or -np.inf) > max(
                samples.speech_db or -np.inf, _NO_SPEECH_DB - _LOUDER_DB
            ) + _LOUDER_DB:
                samples, report = other, other_report
    return samples, report


def _breaks_off(samples: Samples) -> Finding:
    return Finding("breaks_off", {"seconds": round(samples.count / SAMPLE_RATE, 1)})


def _nothing_decoded(report: str, name: str) -> UserError:
    """The reason why ffmpeg decoded no sample, by its messages."""
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

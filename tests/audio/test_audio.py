"""Files of every kind, made by soundfile and ffmpeg, come out as the sound that went in; bad ones are refused."""

from __future__ import annotations

import io
import logging
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import psutil
import pytest
import soundfile
import soxr
from conftest import ROOT

from asr_app.audio import Limits, decode, from_buffer, headers
from asr_app.audio.meter import Meter
from asr_app.datatypes import SAMPLE_RATE, Audio
from asr_app.errors import UserError

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
QUIET = [FFMPEG, "-nostdin", "-y", "-loglevel", "error"]


def _ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([*QUIET, *map(str, arguments)], check=True)


def _encode(source: Path, target: Path, *options: str) -> Path:
    _ffmpeg("-i", source, *options, target)
    return target


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """About 3 s of espeak-ng at 48 kHz, peak 0.5: float32 `(n,)`."""
    spoken = subprocess.run(
        ["espeak-ng", "-v", "en-us", "--stdout", "Ask not what your country can do for you"],
        capture_output=True,
        check=True,
    ).stdout
    samples, rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
    samples = soxr.resample(samples, rate, 48_000)
    peak = float(np.abs(samples).max())
    return np.asarray(samples * (0.5 / peak))


@pytest.fixture(scope="session")
def source(speech: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "speech.wav"
    soundfile.write(path, np.stack([speech, speech], axis=1), 48_000, subtype="FLOAT")
    return path


def _at(speech: np.ndarray, rate: int) -> np.ndarray:
    return speech if rate == 48_000 else soxr.resample(speech, 48_000, rate)


def _assert_same_sound(audio: Audio, speech: np.ndarray, at_least: float, delay_s: float = 0.0) -> None:
    """The sound is the speech, in form and level; a codec may shift it by up to `delay_s`."""
    wanted = _at(speech, SAMPLE_RATE)
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert audio.samples.flags["C_CONTIGUOUS"]
    assert np.abs(audio.samples).max() <= 1
    assert abs(len(audio.samples) - len(wanted)) <= (delay_s + 0.1 if delay_s else 0.001) * SAMPLE_RATE
    size = 1 << (len(wanted) + len(audio.samples)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(audio.samples, size) * np.conj(np.fft.rfft(wanted, size)), size)
    shift = int(correlation.argmax())
    shift -= size if shift > size // 2 else 0
    assert abs(shift) <= delay_s * SAMPLE_RATE
    similarity = correlation.max() / np.linalg.norm(audio.samples) / np.linalg.norm(wanted)
    assert similarity > at_least
    assert np.linalg.norm(audio.samples) / np.linalg.norm(wanted) == pytest.approx(1, abs=0.1)


# --- files that soundfile reads


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_of_any_rate(tmp_path: Path, speech: np.ndarray, rate: int, channels: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([_at(speech, rate)] * channels, axis=1), rate, subtype="PCM_16")
    audio = decode(path)
    assert audio.name == "a.wav"
    _assert_same_sound(audio, speech, 0.9 if rate < SAMPLE_RATE else 0.999)


@pytest.mark.parametrize(
    ("suffix", "subtype", "at_least"),
    [
        ("wav", "PCM_U8", 0.99),
        ("wav", "PCM_24", 0.999),
        ("wav", "PCM_32", 0.999),
        ("wav", "FLOAT", 0.999),
        ("wav", "DOUBLE", 0.999),
        ("wav", "ULAW", 0.99),
        ("wav", "IMA_ADPCM", 0.99),
        ("flac", "PCM_16", 0.999),
        ("flac", "PCM_24", 0.999),
        ("aiff", "PCM_16", 0.999),
        ("ogg", "VORBIS", 0.98),
        ("ogg", "OPUS", 0.98),
    ],
)
def test_subtypes(tmp_path: Path, speech: np.ndarray, suffix: str, subtype: str, at_least: float) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([speech, speech], axis=1), 48_000, subtype=subtype)
    _assert_same_sound(decode(path), speech, at_least, delay_s=0.01 if subtype in ("OPUS", "IMA_ADPCM") else 0)


def test_channels_are_averaged(tmp_path: Path, speech: np.ndarray) -> None:
    silent = np.zeros_like(speech)
    soundfile.write(tmp_path / "left.wav", np.stack([speech, silent], axis=1), 48_000, subtype="FLOAT")
    _assert_same_sound(decode(tmp_path / "left.wav"), speech / 2, 0.999)
    soundfile.write(tmp_path / "six.wav", np.stack([speech] * 6, axis=1), 48_000, subtype="FLOAT")
    _assert_same_sound(decode(tmp_path / "six.wav"), speech, 0.999)


def test_streaming_leaves_no_seams(tmp_path: Path) -> None:
    """Blocks resampled one after another give what the whole does at once."""
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(44_100 * 5) / 44_100)).astype(np.float32)
    soundfile.write(tmp_path / "tone.wav", tone, 44_100, subtype="FLOAT")
    np.testing.assert_allclose(decode(tmp_path / "tone.wav").samples, soxr.resample(tone, 44_100, 16_000), atol=1e-5)


def test_level_is_left_alone_and_silence_is_sound(tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "quiet.wav", speech / 5, 48_000, subtype="FLOAT")
    assert np.abs(decode(tmp_path / "quiet.wav").samples).max() == pytest.approx(0.1, rel=0.02)
    soundfile.write(tmp_path / "silent.wav", np.zeros(48_000), 48_000, subtype="PCM_16")
    samples = decode(tmp_path / "silent.wav").samples
    assert len(samples) == SAMPLE_RATE
    assert not samples.any()
    soundfile.write(tmp_path / "hot.wav", np.full(16_000, 3.0), 16_000, subtype="FLOAT")
    assert decode(tmp_path / "hot.wav").samples.max() == 1.0


# --- files that ffmpeg reads


@pytest.mark.parametrize(
    ("name", "options", "at_least", "delay_s"),
    [
        ("a.mp3", ["-c:a", "libmp3lame", "-b:a", "128k"], 0.98, 0.001),
        ("mono.mp3", ["-c:a", "libmp3lame", "-af", "pan=mono|c0=c0", "-ar", "22050", "-q:a", "5"], 0.98, 0.001),
        ("a.m4a", ["-c:a", "aac"], 0.98, 0.001),
        ("mono.m4a", ["-c:a", "aac", "-af", "pan=mono|c0=c0", "-ar", "22050"], 0.98, 0.001),
        ("a.aac", ["-c:a", "aac", "-f", "adts"], 0.98, 0.05),
        ("lossless.m4a", ["-c:a", "alac"], 0.999, 0.001),
        ("a.webm", ["-c:a", "libopus"], 0.97, 0.02),
        ("a.mov", ["-c:a", "pcm_s16le"], 0.999, 0.001),
        ("a.wma", ["-c:a", "wmav2"], 0.95, 0.05),
        ("a.opus", ["-c:a", "libopus"], 0.97, 0.02),
        ("a.amr", ["-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1", "-b:a", "12.2k"], 0.7, 0.02),
        ("a.3gp", ["-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1", "-b:a", "12.2k"], 0.7, 0.02),
        ("voice.ogg", ["-c:a", "libopus", "-b:a", "16k", "-ar", "16000"], 0.9, 0.02),
        ("live.webm", ["-c:a", "libopus", "-live", "1"], 0.97, 0.02),
        ("fragments.mp4", ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"], 0.98, 0.05),
        ("a.avi", ["-c:a", "libmp3lame", "-q:a", "4"], 0.97, 0.05),
        ("a.vob", ["-c:a", "mp2"], 0.97, 0.05),
        ("rf64.wav", ["-rf64", "always"], 0.999, 0.001),
        ("six.wav", ["-ac", "2", "-c:a", "pcm_s24le", "-af", "pan=stereo|c0=c0|c1=c1"], 0.999, 0.001),
        ("a.mka", ["-c:a", "ac3", "-b:a", "192k"], 0.97, 0.02),
    ],
)
def test_compressed(
    tmp_path: Path, source: Path, speech: np.ndarray, name: str, options: list[str], at_least: float, delay_s: float
) -> None:
    if "libopencore_amrnb" in options:
        encoders = subprocess.run([FFMPEG, "-hide_banner", "-encoders"], capture_output=True, text=True, check=True)
        if "libopencore_amrnb" not in encoders.stdout:
            pytest.skip("this ffmpeg has no AMR encoder to make the file with")
    audio = decode(_encode(source, tmp_path / name, *options))
    _assert_same_sound(audio, speech, at_least, delay_s)


def test_video_with_sound(tmp_path: Path, source: Path, speech: np.ndarray) -> None:
    path = tmp_path / "film.mp4"
    _ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=4", "-i", source, "-c:a", "aac", path)
    _assert_same_sound(decode(path), speech, 0.98, 0.001)


def test_surround_through_ffmpeg_does_not_clip(tmp_path: Path) -> None:
    """A float mix without normalisation would add the channels up to far beyond 1."""
    tone = 0.9 * np.sin(2 * np.pi * 300 * np.arange(96_000) / 48_000)
    soundfile.write(tmp_path / "six.wav", np.stack([tone] * 6, axis=1), 48_000, subtype="FLOAT")
    samples = decode(_encode(tmp_path / "six.wav", tmp_path / "six.m4a", "-c:a", "alac")).samples
    assert np.abs(samples[4000:-4000]).max() == pytest.approx(0.9, abs=0.02)


def test_mp3_without_a_length_is_read_to_its_end(tmp_path: Path) -> None:
    """A variable bit rate, no Xing header, a loud beginning: libsndfile takes 40 s for 7."""
    path = tmp_path / "vbr.mp3"
    _ffmpeg(
        *("-f", "lavfi", "-i", "anoisesrc=duration=10:amplitude=0.5", "-f", "lavfi", "-i", "sine=440:duration=30"),
        *("-filter_complex", "[1]volume=0.01[q];[0][q]concat=n=2:v=0:a=1", "-q:a", "4", "-write_xing", "0", path),
    )
    assert decode(path).seconds == pytest.approx(40, abs=0.2)


# --- headers that do not tell the truth


def test_flac_of_unknown_length(tmp_path: Path, source: Path, speech: np.ndarray) -> None:
    """From a pipe an encoder cannot go back to write the length; libsndfile lost the last second."""
    path = tmp_path / "a.flac"
    piped = subprocess.run([*QUIET, "-i", source, "-f", "flac", "-"], capture_output=True, check=True)
    path.write_bytes(piped.stdout)
    assert soundfile.info(path).frames > 1 << 62
    _assert_same_sound(decode(path), speech, 0.999)


def test_a_segment_of_a_flac(tmp_path: Path, source: Path, speech: np.ndarray) -> None:
    _ffmpeg("-i", source, "-f", "segment", "-segment_time", "1", tmp_path / "a%d.flac")
    wanted = _at(speech, SAMPLE_RATE)
    audio = decode(tmp_path / "a1.flac")
    assert audio.seconds == pytest.approx(1, abs=0.15)
    assert np.abs(np.correlate(wanted, audio.samples)).max() > 0.99 * np.linalg.norm(audio.samples) ** 2


def _with_sizes(source: Path, path: Path, data: int, riff: int | None = None) -> Path:
    """A WAV whose header says it holds `data` bytes of samples."""
    sound = bytearray(_encode(source, path, "-c:a", "pcm_s16le").read_bytes())
    at = sound.index(b"data")
    sound[at + 4 : at + 8] = data.to_bytes(4, "little")
    sound[4:8] = (data + 36 if riff is None else riff).to_bytes(4, "little")
    path.write_bytes(sound)
    return path


@pytest.mark.parametrize("size", [0, 64_000, 0x7FFFFFFF, 0xFFFFFFDB])
def test_wav_whose_recorder_crashed(tmp_path: Path, source: Path, speech: np.ndarray, size: int) -> None:
    """Nothing, what was there at the last update, or "until the end"."""
    _assert_same_sound(decode(_with_sizes(source, tmp_path / "a.wav", size)), speech, 0.999)


@pytest.mark.parametrize("after", [b"LIST", b"id3 ", b"ID3\x03"])
def test_what_follows_the_sound_of_a_wav_is_no_sound(
    tmp_path: Path, source: Path, speech: np.ndarray, after: bytes
) -> None:
    path = _encode(source, tmp_path / "a.wav", "-c:a", "pcm_s16le")
    path.write_bytes(path.read_bytes() + after + (200_000).to_bytes(4, "little") + bytes(range(250)) * 800)
    _assert_same_sound(decode(path), speech, 0.999)


def test_a_wav_of_endless_chunks_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 1_000_000)
    reads = 0

    def counting(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return unpack(*arguments)

    unpack = struct.unpack
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(struct, "unpack", counting)
        assert not headers.wav_goes_on(path)
    assert reads <= 256


@pytest.mark.parametrize("codec", ["libvorbis", "libopus"])
def test_joined_ogg_files_are_read_to_the_end(tmp_path: Path, source: Path, speech: np.ndarray, codec: str) -> None:
    """ffmpeg's files have the same serial number, so that libsndfile takes two for one and the rest of it for nothing."""
    path = _encode(source, tmp_path / "a.ogg", "-c:a", codec)
    path.write_bytes(path.read_bytes() * 2)
    assert decode(path).seconds == pytest.approx(2 * len(speech) / 48_000, abs=0.05)


def test_mp3_in_a_wav(tmp_path: Path, source: Path, speech: np.ndarray) -> None:
    path = _encode(source, tmp_path / "a.wav", "-c:a", "libmp3lame", "-q:a", "4")
    _assert_same_sound(decode(path), speech, 0.97, 0.05)


def test_zeros_in_the_list_of_a_wav(tmp_path: Path, source: Path, speech: np.ndarray) -> None:
    """A Zoom recorder's 384 KB of them, at which libsndfile gives up."""
    path = _encode(source, tmp_path / "a.wav", "-c:a", "pcm_s16le", "-bitexact")
    sound = path.read_bytes()
    path.write_bytes(sound[:36] + b"LIST" + (393_164).to_bytes(4, "little") + bytes(393_164) + sound[36:])
    _assert_same_sound(decode(path), speech, 0.999)


# --- broken off


def _cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp3", ["-b:a", "64k"]),
        ("a.m4a", ["-movflags", "+faststart"]),
        ("a.flac", ["-frame_size", "4096"]),
        ("a.wav", []),
        ("a.ogg", ["-c:a", "libopus"]),
    ],
)
def test_a_truncated_file_is_decoded_as_far_as_it_goes(
    tmp_path: Path, source: Path, speech: np.ndarray, name: str, options: list[str]
) -> None:
    audio = decode(_cut(_encode(source, tmp_path / name, *options), 0.6))
    whole = len(speech) / 48_000
    assert 0.25 * whole < audio.seconds < 0.85 * whole
    wanted = _at(speech, SAMPLE_RATE)[: len(audio.samples)]
    assert np.corrcoef(audio.samples[2000:-2000], wanted[2000:-2000])[0, 1] > 0.9


def test_breaking_off_is_logged(tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "asr_app.audio"):
        decode(_cut(_encode(source, tmp_path / "a.flac", "-frame_size", "4096"), 0.6))
    assert "a.flac: libsndfile stops after" in caplog.text


# --- refused


def _refusal(path: Path, limits: Limits | None = None, name: str | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        decode(path, limits=limits or Limits(), name=name)
    for message in (caught.value.en, caught.value.zh):
        assert str(path.parent) not in message
        assert (name or path.name) in message
    return caught.value


def test_missing_directory_and_empty(tmp_path: Path) -> None:
    assert "does not exist" in _refusal(tmp_path / "none.wav").en
    (tmp_path / "folder.wav").mkdir()
    assert "is not a file" in _refusal(tmp_path / "folder.wav").en
    (tmp_path / "empty.wav").touch()
    assert "is empty" in _refusal(tmp_path / "empty.wav").en
    assert "shown.wav is empty" in _refusal(tmp_path / "empty.wav", name="shown.wav").en


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    size = path.stat().st_size
    assert "larger than the limit" in _refusal(path, Limits(max_bytes=size - 1)).en
    assert decode(path, limits=Limits(max_bytes=size)).seconds == 1


@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_too_long_is_noticed_early(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both decoders stop at the limit: of ten minutes no more than a few seconds are taken in."""
    path = tmp_path / f"long.{suffix}"
    _ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "600", path)
    taken = 0
    original = Meter.add

    def counting(meter: Meter, samples: np.ndarray) -> None:
        nonlocal taken
        taken += len(samples)
        original(meter, samples)

    monkeypatch.setattr(Meter, "add", counting)
    assert "limit of 0.05 minutes" in _refusal(path, Limits(max_seconds=3)).en
    assert 0 < taken <= 3 * SAMPLE_RATE
    assert decode(path, limits=Limits(max_seconds=601)).seconds == pytest.approx(600, abs=0.2)


def test_not_audio(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("These are words, and nothing to listen to.\n" * 500)
    assert "not an audio or video file" in _refusal(text).en
    picture = tmp_path / "picture.mp3"
    _ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64", "-frames:v", "1", "-c:v", "png", "-f", "image2", picture)
    assert "not an audio or video file" in _refusal(picture).en


@pytest.mark.parametrize("name", ["noise.wav", "noise.mp3", "noise.m4a", "noise.bin"])
def test_random_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(0).bytes(60_000))
    _refusal(path)


@pytest.mark.parametrize(
    "playlist", ["#EXTM3U\n#EXTINF:3,\n{0}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{0}'\n"]
)
@pytest.mark.parametrize("suffix", ["m3u8", "ffconcat", "wav"])
def test_a_playlist_cannot_make_the_server_read_another_file(tmp_path: Path, playlist: str, suffix: str) -> None:
    soundfile.write(tmp_path / "secret.wav", np.zeros(16_000), 16_000)
    path = tmp_path / f"list.{suffix}"
    path.write_text(playlist.format("secret.wav"))
    assert "not an audio or video file" in _refusal(path).en


def test_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    _ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=2", path)
    assert "no audio track" in _refusal(path).en


def test_m4a_that_lost_its_index(tmp_path: Path, source: Path) -> None:
    assert "is damaged" in _refusal(_cut(_encode(source, tmp_path / "a.m4a"), 0.6)).en


def test_flac_of_which_only_the_header_is_left(tmp_path: Path, source: Path) -> None:
    path = _encode(source, tmp_path / "a.flac")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xff\xf8")].ljust(len(data), b"\0"))  # FF F8: the first frame of sound
    assert "is damaged" in _refusal(path).en


@pytest.mark.parametrize("frames", [0, 1, 1599])
def test_too_short(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(frames), 16_000)
    assert "too short" in _refusal(path).en


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float, rate: int) -> None:
    samples = np.zeros((2 * rate, 2))
    samples[rate, 1] = bad
    soundfile.write(tmp_path / "bad.wav", samples, rate, subtype="FLOAT")
    assert "not numbers" in _refusal(tmp_path / "bad.wav").en
    with pytest.raises(UserError, match="not numbers"):
        from_buffer(rate, samples, "microphone")


# --- names


@pytest.mark.parametrize(
    "name",
    [
        "with space.{}",
        'it\'s "quoted".{}',
        "$(touch pwned).{}",
        "`touch pwned`; touch pwned.{}",
        "中文 录音.{}",
        "-i.{}",
        "-",
        "line\nbreak.{}",
        "http:colon.{}",
        "concat:a|b.{}",
        "%03d.{}",
        "no extension",
        "wrong.raw",
        "wrong.txt",
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_names(
    tmp_path: Path, source: Path, speech: np.ndarray, name: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _encode(source, tmp_path / f"plain.{suffix}")
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = Path(name.format(suffix))
    (folder / path).write_bytes(plain.read_bytes())
    for given in (path, folder / path):  # a relative path may begin with "-"
        audio = decode(given)
        assert audio.name == path.name
        _assert_same_sound(audio, speech, 0.98, 0.001)
    assert sorted(os.listdir(folder)) == [path.name]


def test_a_name_that_is_no_utf8_can_be_shown(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.wav"))
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    (tmp_path / "a.wav").rename(path)
    assert decode(path).name.encode().endswith(b".wav")


# --- buffers


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("channels", [None, 1, 2])
def test_buffers(speech: np.ndarray, dtype: str, channels: int | None) -> None:
    if dtype.startswith("float"):
        samples = speech.astype(dtype)
    else:
        info = np.iinfo(dtype)
        half = 2.0 ** (info.bits - 1)
        samples = (np.floor(speech.astype(np.float64) * half) + (half if info.min == 0 else 0)).astype(dtype)
    frames = samples if channels is None else np.stack([samples] * channels, axis=1)
    before = frames.copy()
    audio = from_buffer(48_000, frames, "microphone")
    assert audio.name == "microphone"
    _assert_same_sound(audio, speech, 0.98 if dtype.endswith("int8") else 0.999)
    assert abs(float(audio.samples.mean())) < 0.01  # unsigned samples have their middle at half the range
    np.testing.assert_array_equal(frames, before)


def test_full_scale_integers() -> None:
    samples = np.tile(np.array([-32768, 32767], np.int16), 8000)
    np.testing.assert_allclose(from_buffer(16_000, samples, "x").samples[:2], [-1, 32767 / 32768])


def test_buffer_keeps_no_hold_of_its_source() -> None:
    samples = np.full(16_000, 0.5, np.float32)
    audio = from_buffer(16_000, samples, "x")
    samples[:] = 0
    assert audio.samples.min() == 0.5


@pytest.mark.parametrize("rate", [0, -16_000, 1, 2**31 - 1])
def test_impossible_rates(rate: int) -> None:
    with pytest.raises(UserError, match="sampling rate"):
        from_buffer(rate, np.zeros(16_000, np.float32), "x")


def test_buffer_limits() -> None:
    with pytest.raises(UserError, match="too short"):
        from_buffer(16_000, np.zeros(0, np.int16), "x")
    with pytest.raises(UserError, match="longer than the limit"):
        from_buffer(16_000, np.zeros(32_001, np.int16), "x", Limits(max_seconds=2))
    assert from_buffer(16_000, np.zeros(32_000, np.int16), "x", Limits(max_seconds=2)).seconds == 2


# --- memory

# Not getrusage: its peak outlives exec, so that a child's starts with what its parent, pytest, holds.
_MEASURE = """
import re, sys
from pathlib import Path
from asr_app.audio import decode
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
imports = peak()
audio = decode(Path(sys.argv[1]))
print(audio.seconds, peak() - imports)
"""


@pytest.mark.models
@pytest.mark.parametrize(
    ("minutes", "suffix"), [pytest.param(180, "m4a", marks=pytest.mark.slow), (30, "m4a"), (30, "flac")]
)
def test_memory_does_not_grow_with_the_length(tmp_path: Path, minutes: int, suffix: str) -> None:
    """Above what the imports take, which a CUDA build of torch doubles: the samples of 3 h are 691 MB, and lie in a file."""
    minute = tmp_path / f"minute.{suffix}"  # repeated, which is quicker than encoding hours
    _ffmpeg("-f", "lavfi", "-i", "sine=440:sample_rate=44100:duration=60", "-ac", "2", minute)
    path = tmp_path / f"long.{suffix}"
    if suffix == "flac":
        samples, rate = soundfile.read(minute, dtype="int16")
        with soundfile.SoundFile(path, "w", rate, 2) as sound:
            for _ in range(minutes):
                sound.write(samples)
    else:
        _ffmpeg("-stream_loop", str(minutes - 1), "-i", minute, "-c", "copy", path)
    command = [sys.executable, "-c", _MEASURE, str(path)]
    seconds, grown = map(float, subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout.split())
    assert seconds == pytest.approx(minutes * 60, rel=0.001)
    assert grown < 80 * 2**20


def test_without_room_for_temporary_files_samples_stay_in_memory(tmp_path: Path, caplog) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 30 * SAMPLE_RATE), SAMPLE_RATE)
    want = decode(tmp_path / "x.wav")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_001, hard))
    try:
        got = decode(tmp_path / "x.wav")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert want.mapped
    assert not got.mapped
    assert np.array_equal(got.samples, want.samples)
    assert "kept in memory" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what of a file is in memory")
def test_samples_that_left_memory_are_read_again(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 30 * SAMPLE_RATE), SAMPLE_RATE)
    audio = decode(tmp_path / "x.wav")
    before = audio.samples.copy()
    held = _mapped_bytes()
    audio.leave_memory()
    assert _mapped_bytes() <= held - 30 * SAMPLE_RATE * 4
    assert np.array_equal(audio.samples, before)


def _mapped_bytes() -> int:
    """Bytes of mapped files in this process's memory."""
    return psutil.Process().memory_info().shared

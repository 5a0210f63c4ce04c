"""The quality of a recording is measured, shown, and improved where that is possible. pydub makes the recordings."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from conftest import ROOT
from pydub import AudioSegment

from asr_app.audio import decode, ffmpeg, from_buffer
from asr_app.audio.meter import Meter
from asr_app.datatypes import SAMPLE_RATE, Audio
from asr_app.quality import Finding, Recording
from asr_app.ui.texts import TEXTS, t
from asr_app.vad import speech_spans

SPEECH = ROOT / "example" / "english-home.flac"


@pytest.fixture(scope="module")
def speech() -> AudioSegment:
    """6.2 s of a clear voice at -15 dBFS, 16 kHz, mono."""
    samples, rate = soundfile.read(SPEECH, dtype="int16")
    return AudioSegment(samples.tobytes(), frame_rate=rate, sample_width=2, channels=1)


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    return soundfile.read(SPEECH, dtype="float32")[0]


def _decoded(segment: AudioSegment, folder: Path, **options: Any) -> Audio:
    path = folder / "a.wav"
    segment.export(path, format="wav", **options)
    return decode(path)


def _codes(audio: Audio) -> list[str]:
    assert audio.recording is not None
    return [f.code for f in audio.recording.findings]


def _figures(audio: Audio, code: str) -> dict[str, float]:
    assert audio.recording is not None
    return next(dict(f.figures) for f in audio.recording.findings if f.code == code)


def _alike(got: np.ndarray, wanted: np.ndarray) -> float:
    """Correlation of the two, at the best shift of up to 100 ms: AAC in .ts begins 64 ms late at 16 kHz."""
    size = 1 << (len(got) + len(wanted)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(got, size) * np.conj(np.fft.rfft(wanted, size)), size)
    near = np.abs(np.r_[correlation[: SAMPLE_RATE // 10], correlation[-SAMPLE_RATE // 10 :]])
    return float(near.max() / np.linalg.norm(got) / np.linalg.norm(wanted))


def _noise(seconds: float, db: float, seed: int = 0) -> np.ndarray:
    return (10 ** (db / 20) * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))).astype("f")


# --- measured


def test_a_good_recording_is_left_alone_to_the_bit(wanted: np.ndarray) -> None:
    audio = decode(SPEECH)
    assert _codes(audio) == []
    np.testing.assert_array_equal(audio.samples, wanted)
    assert audio.recording is not None
    assert audio.recording.speech_db == pytest.approx(-15, abs=1)
    assert audio.recording.snr_db > 40
    assert audio.recording.bandwidth_hz > 6000
    assert 0.3 < audio.recording.silence < 0.7


def test_levels_are_those_that_librosa_finds() -> None:
    """Speech of known level in noise of known level: half of the time each."""
    tone = np.sin(2 * np.pi * 500 * np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE).astype("f") * 0.1 * np.sqrt(2)
    samples = np.concatenate([tone, np.zeros(5 * SAMPLE_RATE, "f")]) + _noise(10, -60)
    recording = from_buffer(SAMPLE_RATE, samples, "x").recording
    assert recording is not None
    rms = librosa.feature.rms(y=samples, frame_length=512, hop_length=512, center=False)[0]
    db = librosa.amplitude_to_db(rms, ref=1.0)
    assert recording.speech_db == pytest.approx(np.percentile(db, 75), abs=0.5)
    assert recording.noise_db == pytest.approx(np.percentile(db, 10), abs=0.5)
    assert recording.silence == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("cut_hz", [3000, 4000, 5500])
def test_bandwidth_is_where_librosa_sees_the_spectrum_end(wanted: np.ndarray, cut_hz: int) -> None:
    filtered = soxr.resample(soxr.resample(wanted, SAMPLE_RATE, 2 * cut_hz), 2 * cut_hz, SAMPLE_RATE).astype("f")
    recording = from_buffer(SAMPLE_RATE, filtered, "x").recording
    assert recording is not None
    rolloff = librosa.feature.spectral_rolloff(y=filtered, sr=SAMPLE_RATE, n_fft=512, roll_percent=0.9999)
    assert recording.bandwidth_hz == pytest.approx(min(cut_hz, np.percentile(rolloff, 99)), abs=500)
    assert ("narrow_band" in [f.code for f in recording.findings]) == (cut_hz <= 4000)


def test_hiss_above_a_telephone_band_does_not_widen_it(wanted: np.ndarray) -> None:
    phone = soxr.resample(soxr.resample(wanted, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE).astype("f")
    recording = from_buffer(SAMPLE_RATE, phone + _noise(7, -40)[: len(phone)], "x").recording
    assert recording is not None
    assert recording.bandwidth_hz <= 4000


@pytest.mark.parametrize("step", [1, 160, 16_000, 99_999])
def test_figures_do_not_hang_on_the_size_of_blocks(wanted: np.ndarray, step: int) -> None:
    samples = wanted[: SAMPLE_RATE * 2] if step == 1 else wanted
    whole, parts = Meter(), Meter()
    whole.add(samples)
    for start in range(0, len(samples), step):
        parts.add(samples[start : start + step])
    for meter in (whole, parts):
        meter.finish()
    assert parts.speech_db == whole.speech_db
    assert parts.noise_db == whole.noise_db
    np.testing.assert_array_equal(parts.peaks, whole.peaks)


def test_a_meter_holds_no_more_after_hours(wanted: np.ndarray) -> None:
    meter = Meter()
    for _ in range(600):  # an hour
        meter.add(wanted[: 6 * SAMPLE_RATE])
    assert len(meter._looks) <= 64
    assert meter._rest.nbytes < 100_000
    assert sum(p.nbytes for p in meter._peaks) < 200_000


# --- levelled


@pytest.mark.parametrize(("gain_db", "off_db", "at_least"), [(-30, 1.5, 0.999), (-45, 1.5, 0.99), (-60, 5, 0.9)])
def test_a_very_quiet_recording_is_levelled(
    speech: AudioSegment, wanted: np.ndarray, gain_db: int, off_db: float, at_least: float, tmp_path: Path
) -> None:
    audio = _decoded(speech.apply_gain(gain_db), tmp_path)
    assert _figures(audio, "quiet")["raised_db"] == pytest.approx(-5 - gain_db, abs=off_db)  # of 16 bits, 3 are left
    assert _alike(audio.samples, wanted) > at_least
    assert np.abs(audio.samples).max() <= 1
    again = from_buffer(SAMPLE_RATE, audio.samples, "x").recording
    assert again is not None
    assert again.speech_db == pytest.approx(-20, abs=1)
    want, got = speech_spans(Audio(wanted, "x")), speech_spans(audio)
    assert [s.start_s for s in got] == pytest.approx([s.start_s for s in want], abs=0.25)


def test_a_slammed_door_does_not_hold_the_gain_down(wanted: np.ndarray) -> None:
    """Whispered at -65 dBFS with one sample at full scale: raised everywhere but around it, without a step."""
    door = int(3.05 * SAMPLE_RATE)  # in the middle of a block
    quiet = wanted * np.float32(10 ** (-50 / 20))
    quiet[door] = 1.0
    samples = from_buffer(SAMPLE_RATE, quiet, "x").samples
    assert np.abs(samples).max() <= 1
    far = np.r_[0 : door - 4000, door + 4000 : len(samples)]
    assert np.linalg.norm(samples[far]) == pytest.approx(np.linalg.norm(wanted[far]), rel=0.6)
    near = slice(door - 4000, door + 4000)
    gains = samples[near] / np.where(np.abs(quiet[near]) > 1e-6, quiet[near], np.nan)
    assert np.nanmax(np.abs(np.diff(gains))) < 5  # falls by some 200 within 0.1 s


@pytest.mark.parametrize("db", [-50, -70, -85])
def test_noise_that_is_raised_is_still_no_speech(db: int) -> None:
    assert speech_spans(from_buffer(SAMPLE_RATE, _noise(20, db), "x")) == []


def test_silence_is_told_and_not_raised() -> None:
    for samples in (np.zeros(SAMPLE_RATE, "f"), _noise(3, -98)):
        audio = from_buffer(SAMPLE_RATE, samples, "x")
        assert _codes(audio) == ["no_sound"]
        np.testing.assert_array_equal(audio.samples, samples)


def test_a_float_file_over_full_scale_loses_nothing(tmp_path: Path, wanted: np.ndarray) -> None:
    soundfile.write(tmp_path / "over.wav", wanted * 8, SAMPLE_RATE, subtype="FLOAT")
    audio = decode(tmp_path / "over.wav")
    assert _codes(audio) == ["over_full_scale"]
    assert np.abs(audio.samples).max() == pytest.approx(1)
    assert _alike(audio.samples, wanted) > 0.99999


def test_clipping_is_told(speech: AudioSegment, tmp_path: Path) -> None:
    audio = _decoded(speech.apply_gain(20), tmp_path)
    assert _codes(audio) == ["clipped"]
    samples = np.array(speech.apply_gain(20).get_array_of_samples()) / 32768
    assert _figures(audio, "clipped")["percent"] == pytest.approx(100 * (np.abs(samples) > 0.999).mean(), abs=0.1)


def test_single_overshoots_are_cut_as_ever(wanted: np.ndarray) -> None:
    samples = wanted.copy()
    samples[[100, 50_000]] = 1.2, -1.3
    audio = from_buffer(SAMPLE_RATE, samples, "x")
    np.testing.assert_array_equal(audio.samples, np.clip(samples, -1, 1))
    assert _codes(audio) == []


def test_noise_and_long_pauses_are_told(wanted: np.ndarray) -> None:
    assert "noisy" in _codes(from_buffer(SAMPLE_RATE, wanted + _noise(20, -20)[: len(wanted)], "x"))
    assert "mostly_silent" in _codes(from_buffer(SAMPLE_RATE, np.pad(wanted, (0, 60 * SAMPLE_RATE)), "x"))


# --- channels


@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_channels_that_cancel(speech: AudioSegment, wanted: np.ndarray, suffix: str, tmp_path: Path) -> None:
    stereo = AudioSegment.from_mono_audiosegments(speech, speech.invert_phase())
    stereo.export(tmp_path / "a.wav", format="wav")
    path = tmp_path / f"a.{suffix}"
    if suffix == "m4a":
        _run_ffmpeg("-i", tmp_path / "a.wav", path)
    audio = decode(path)
    assert _figures(audio, "cancelling_channels")["seconds"] == pytest.approx(len(speech) / 1000, abs=1.1)
    assert _alike(audio.samples, wanted) > 0.98
    assert np.linalg.norm(audio.samples) == pytest.approx(np.linalg.norm(wanted), rel=0.02)


def test_channels_that_cancel_for_a_while(speech: AudioSegment, tmp_path: Path) -> None:
    both = AudioSegment.from_mono_audiosegments(speech, speech)
    inverted = AudioSegment.from_mono_audiosegments(speech, speech.invert_phase())
    audio = _decoded(both + inverted + both, tmp_path)
    assert _figures(audio, "cancelling_channels")["seconds"] == pytest.approx(len(speech) / 1000, abs=1.1)
    third = len(audio.samples) // 3
    levels = [np.linalg.norm(audio.samples[i * third : (i + 1) * third]) for i in range(3)]
    assert max(levels) < 1.1 * min(levels)


def test_ordinary_stereo_is_averaged(speech: AudioSegment, wanted: np.ndarray, tmp_path: Path) -> None:
    left_right = np.stack([wanted, np.roll(wanted, 40_000)], axis=1)
    audio = from_buffer(SAMPLE_RATE, left_right, "x")
    assert _codes(audio) == []
    np.testing.assert_array_equal(audio.samples, left_right.mean(axis=1))


def test_what_cancels_in_pauses_only_is_no_inversion(wanted: np.ndarray) -> None:
    """Hum of a bad cable, far below the speech."""
    hum = np.sin(2 * np.pi * 50 * np.arange(len(wanted) + 5 * SAMPLE_RATE) / SAMPLE_RATE).astype("f") * 1e-4
    speech = np.pad(wanted, (0, 5 * SAMPLE_RATE))
    audio = from_buffer(SAMPLE_RATE, np.stack([speech + hum, speech - hum], axis=1), "x")
    assert "cancelling_channels" not in _codes(audio)


def test_a_silent_channel_is_told(speech: AudioSegment, tmp_path: Path) -> None:
    silent = AudioSegment.silent(len(speech), SAMPLE_RATE)
    audio = _decoded(AudioSegment.from_mono_audiosegments(speech, silent), tmp_path)
    assert _figures(audio, "silent_channels") == {"silent": 1, "channels": 2, "first": 2}


# --- time


def _run_ffmpeg(*arguments: str | Path) -> None:
    import subprocess

    from imageio_ffmpeg import get_ffmpeg_exe

    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)], check=True)


_VIDEO = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=40")
_CODECS = {"mp4": ("mpeg4", "aac"), "mkv": ("mpeg4", "aac"), "webm": ("libvpx", "libopus"), "ts": ("mpeg2video", "aac")}


@pytest.mark.parametrize("suffix", _CODECS)
def test_a_track_that_begins_late_keeps_its_place(suffix: str, wanted: np.ndarray, tmp_path: Path) -> None:
    video, sound = _CODECS[suffix]
    path = tmp_path / f"late.{suffix}"
    _run_ffmpeg(*_VIDEO, "-itsoffset", "5", "-i", SPEECH, "-r", "25", "-c:v", video, "-c:a", sound, path)
    audio = decode(path)
    assert _figures(audio, "late_start")["seconds"] == pytest.approx(5, abs=0.1)
    assert not audio.samples[: int(4.9 * SAMPLE_RATE)].any()
    assert _alike(audio.samples[5 * SAMPLE_RATE :], wanted) > 0.8
    assert speech_spans(audio)[0].start_s == pytest.approx(5 + speech_spans(Audio(wanted, "x"))[0].start_s, abs=0.1)


@pytest.mark.parametrize("suffix", _CODECS)
def test_a_hole_in_the_timestamps_keeps_its_length(suffix: str, wanted: np.ndarray, tmp_path: Path) -> None:
    video, sound = _CODECS[suffix]
    path = tmp_path / f"hole.{suffix}"
    hole = "asetpts='if(gt(T,3),PTS+20/TB,PTS)'"
    _run_ffmpeg(*_VIDEO, "-i", SPEECH, "-af", hole, "-r", "25", "-c:v", video, "-c:a", sound, path)
    audio = decode(path)
    assert _figures(audio, "holes")["seconds"] == pytest.approx(20, abs=0.1)
    after = audio.samples[int(23.5 * SAMPLE_RATE) :]
    assert _alike(after, wanted[int(3.5 * SAMPLE_RATE) :]) > 0.8


def test_a_transport_stream_whose_clock_starts_again_is_read_on(tmp_path: Path, wanted: np.ndarray) -> None:
    _run_ffmpeg("-i", SPEECH, "-c:a", "aac", tmp_path / "one.ts")
    (tmp_path / "two.ts").write_bytes((tmp_path / "one.ts").read_bytes() * 2)
    assert decode(tmp_path / "two.ts").seconds == pytest.approx(2 * len(wanted) / SAMPLE_RATE, abs=0.5)


# --- tracks


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_track_with_sound_is_taken(suffix: str, wanted: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo:d=6")
    _run_ffmpeg(*silence, "-i", SPEECH, *silence, "-map", "0", "-map", "1", "-map", "2", "-c:a", "aac", path)
    audio = decode(path)
    assert _figures(audio, "other_track") == {"track": 2, "tracks": 3}
    assert _alike(audio.samples, wanted) > 0.9


def test_the_first_track_is_taken_where_it_has_sound(wanted: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    _run_ffmpeg("-i", SPEECH, "-i", SPEECH, "-map", "0", "-map", "1", "-filter:a:1", "volume=10dB", "-c:a", "aac", path)
    audio = decode(path)
    assert _figures(audio, "tracks") == {"track": 1, "tracks": 2}
    assert np.linalg.norm(audio.samples) == pytest.approx(np.linalg.norm(wanted), rel=0.1)


def test_ffmpeg_may_run_audio_decoders_only() -> None:
    may = ffmpeg._audio_decoders().split(",")
    assert {"aac", "opus", "mp3float", "pcm_s16le", "wmav2", "amrnb"} <= set(may)
    assert not {"h264", "hevc", "mpeg4", "png", "mjpeg", "vp9"} & set(may)


# --- told


def test_recordings_survive_json() -> None:
    recording = Recording(
        -20.5, -60.0, 4000, 0.25, (Finding("quiet", {"raised_db": 30.0}), Finding("holes", {"seconds": 2.0}))
    )
    assert Recording.from_dict(recording.as_dict()) == recording
    assert Recording.from_dict(Recording(None, None, None, 1.0).as_dict()).snr_db is None


def test_every_finding_has_its_words() -> None:
    sources = [p.read_text(encoding="utf-8") for p in (ROOT / "asr_app" / "audio").glob("*.py")]
    codes = set(itertools.chain.from_iterable(re.findall(r'Finding\(\s*"(\w+)"', s) for s in sources))
    codes |= {"tracks", "other_track", "late_start", "holes"}  # chosen by a variable
    assert codes == {key.removeprefix("finding_") for key in TEXTS if key.startswith("finding_")}
    figures = dict.fromkeys(
        ("raised_db", "lowered_db", "percent", "hz", "snr_db", "peak_db", "seconds", "silent", "channels", "first",
         "track", "tracks"), "7",
    )  # fmt: skip
    for code, language in itertools.product(codes, ("en", "zh")):
        assert "7" in t(f"finding_{code}", language, **figures)

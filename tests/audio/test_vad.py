"""Speech is found where it was put, noise and silence are not, and packing loses and repeats nothing."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from conftest import DATA, ROOT

from asr_app import fsmn_vad
from asr_app.datatypes import SAMPLE_RATE, Audio, Chunk
from asr_app.vad import Span, fsmn_spans, pack, speech_spans


def _say(text: str) -> np.ndarray:
    """`text` by espeak-ng, 16 kHz float32, without the silence around it."""
    spoken = subprocess.run(["espeak-ng", "-v", "en-us", "--stdout", text], capture_output=True, check=True).stdout
    samples, rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
    samples = soxr.resample(samples, rate, SAMPLE_RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return np.asarray(samples[loud[0] : loud[-1] + 1])


@pytest.fixture(scope="module")
def sentence() -> np.ndarray:
    return _say("The quick brown fox jumps over the lazy dog")


def _silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def _noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_RATE)) * level).astype(np.float32)


def _audio(*parts: np.ndarray) -> Audio:
    return Audio(np.concatenate(parts), "test")


# --- finding speech


def test_speech_is_found_where_it_is(sentence: np.ndarray) -> None:
    length = len(sentence) / SAMPLE_RATE
    spans = speech_spans(_audio(_noise(2, 1e-3), sentence, _noise(3, 1e-3), sentence, _noise(2, 1e-3)))
    assert len(spans) == 2
    for span, start in zip(spans, (2, 5 + length), strict=True):
        assert span.start_s == pytest.approx(start - 0.15, abs=0.15)
        assert span.end_s == pytest.approx(start + length + 0.15, abs=0.25)


@pytest.mark.parametrize("level", [0, 1e-4, 0.01, 0.3])
def test_silence_and_noise_hold_no_speech(level: float) -> None:
    assert speech_spans(Audio(_noise(20, level), "noise")) == []


@pytest.mark.parametrize("level_db", [-27, -36])
def test_quiet_speech_between_loud_is_found_and_noise_is_not(sentence: np.ndarray, level_db: int) -> None:
    """Silero alone misses it: 30 dB below other speech nobody seems to speak."""
    quiet = sentence * np.float32(10 ** (level_db / 20))
    hiss = np.float32(10 ** (-72 / 20))
    parts = [_silence(0.5), sentence, _silence(0.6), quiet, _silence(0.6), sentence, _silence(0.5)]
    samples = np.concatenate(parts) + _noise(sum(map(len, parts)) / SAMPLE_RATE, float(hiss))
    start = (len(sentence) / SAMPLE_RATE) + 1.1
    between = [
        s for s in speech_spans(Audio(samples, "test")) if start - 0.3 < s.start_s < start + len(quiet) / SAMPLE_RATE
    ]
    assert between
    assert between[0].start_s == pytest.approx(start, abs=0.3)
    without = [_silence(len(quiet) / SAMPLE_RATE) if part is quiet else part for part in parts]
    samples = np.concatenate(without) + _noise(len(samples) / SAMPLE_RATE, float(hiss))
    assert len(speech_spans(Audio(samples, "test"))) == 2


@pytest.mark.parametrize("samples", [0, 1, 511, 513])
def test_hardly_any_samples(samples: int) -> None:
    assert speech_spans(Audio(np.zeros(samples, np.float32), "short")) == []


@pytest.mark.parametrize("digit", ["one", "two", "three", "four", "six", "eight", "nine"])
def test_a_single_digit_without_any_lead(digit: str) -> None:
    samples = _say(digit)
    spans = speech_spans(Audio(samples, digit))
    assert len(spans) == 1
    assert spans[0].end_s - spans[0].start_s > 0.7 * len(samples) / SAMPLE_RATE
    assert spans[0].start_s >= 0
    assert spans[0].end_s <= len(samples) / SAMPLE_RATE


def test_no_seam_where_the_network_is_called_anew(sentence: np.ndarray) -> None:
    """It is given 16.384 s at a time; speech across that moment is found in one piece, as it is anywhere else."""
    length = len(sentence) / SAMPLE_RATE
    spans = speech_spans(_audio(_noise(16.384 - length / 2, 1e-3), sentence, _noise(4, 1e-3)))
    assert len(spans) == 1
    assert spans[0].start_s < 16.384 - 0.4 * length
    assert spans[0].end_s > 16.384 + 0.4 * length


def test_same_answer_as_silero_itself(sentence: np.ndarray) -> None:
    """On more than one block, frame by frame, but for the second of silence that leads in."""
    from silero_vad import load_silero_vad

    from asr_app import vad

    samples = np.concatenate([sentence, _noise(1, 1e-3)] * 8)
    lead = np.zeros(32 * 512, np.float32)
    expected = load_silero_vad(sequence=True).audio_forward(np.concatenate([lead, samples]))[32:]
    assert len(samples) > 20 * SAMPLE_RATE
    np.testing.assert_allclose(vad._probabilities(vad._silero(), samples), expected, atol=1e-6)


def test_a_long_recording_is_judged_in_pieces_and_has_no_seams(sentence: np.ndarray) -> None:
    """Pieces are a minute each. A piece, led in by what was before it, gives what the whole gives; so do several at once."""
    from silero_vad import load_silero_vad

    from asr_app import vad

    length = len(sentence) / SAMPLE_RATE
    silent = np.zeros(int((60 - length / 2) * SAMPLE_RATE), np.float32)  # the sentence lies across the first seam
    samples = np.concatenate([silent, sentence, *[_noise(1.3, 1e-3), sentence] * 40])
    assert len(samples) > 130 * SAMPLE_RATE
    lead = np.zeros(32 * 512, np.float32)
    whole = load_silero_vad(sequence=True).audio_forward(np.concatenate([lead, samples]))[32:]
    one, several = (vad._probabilities(vad._silero(), samples, threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, several)
    np.testing.assert_allclose(one, whole, atol=0.05)
    assert ((one > 0.5) == (whole > 0.5)).mean() > 0.999
    first = speech_spans(_audio(samples), 2)[0]
    assert first.start_s < 60 - 0.4 * length
    assert first.end_s > 60 + 0.4 * length


@pytest.mark.parametrize("length", [1, 160, 511, 512, 1600, 100_000])
def test_a_stream_in_pieces_gets_the_probabilities_of_the_whole(sentence: np.ndarray, length: int) -> None:
    from asr_app import vad

    samples = np.concatenate([sentence, _noise(1, 1e-3)] * (1 if length == 1 else 4))[: 8000 if length == 1 else None]
    whole = vad._probabilities(vad._silero(), samples[: len(samples) // 512 * 512])
    stream = vad.StreamVad()
    pieces = [stream.probabilities(samples[i : i + length]) for i in range(0, len(samples), length)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)


def test_threads_share_one_model(sentence: np.ndarray) -> None:
    audios = [_audio(_silence(pause), sentence) for pause in (0.5, 1.0, 1.5, 2.0)]
    alone = [speech_spans(a) for a in audios]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(speech_spans, audios)) == alone
    assert all(len(spans) == 1 for spans in alone)


def test_torch_keeps_its_threads() -> None:
    """Importing silero_vad sets them to 1; in a fresh interpreter, since here it is long imported."""
    program = (
        "import numpy, torch; from asr_app.datatypes import Audio; from asr_app.vad import speech_spans\n"
        "torch.set_num_threads(2); speech_spans(Audio(numpy.zeros(16000, 'float32'), ''))\n"
        "print(torch.get_num_threads())"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "2"


def test_real_spoken_digits_are_found() -> None:
    files = sorted((DATA / "fsdd").glob("*.wav"))[::4]
    if not files:
        pytest.skip("no ../shared/data/fsdd here: real spoken digits are not part of the repository")
    clips = {f.name: soxr.resample(*soundfile.read(f, dtype="float32"), SAMPLE_RATE) for f in files}
    assert [name for name, samples in clips.items() if not speech_spans(Audio(samples, name))] == []


# --- funasr's fsmn-vad


class _FakeFsmn:
    def __init__(self, value: list[list[int]]) -> None:
        self.value = value
        self.calls: list[np.ndarray] = []

    def segments(self, samples: np.ndarray) -> list[list[int]]:
        self.calls.append(samples)
        return self.value


def test_fsmn_milliseconds_become_seconds_inside_the_audio() -> None:
    model = _FakeFsmn([[100, 900], [1500, 2030]])
    audio = Audio(_noise(2, 0.1), "x")
    assert fsmn_spans(audio, model) == [Span(0.1, 0.9), Span(1.5, 2.0)]
    assert model.calls[0] is audio.samples


@pytest.mark.parametrize("samples", [_silence(3), _silence(0), _noise(0.09, 0.1)])
def test_fsmn_is_not_asked_about_what_it_raises_for(samples: np.ndarray) -> None:
    model = _FakeFsmn([[0, 10]])
    assert fsmn_spans(Audio(samples, "x"), model) == []
    assert not model.calls


def test_real_fsmn() -> None:
    if not (DATA / "fsmn_vad" / "model.pt").exists():
        pytest.skip("no ../shared/data/fsmn_vad here: the real weights are not part of the repository")
    model = fsmn_vad.load(DATA / "fsmn_vad", 1)
    clip = soundfile.read(DATA / "clips" / "vad_golden.wav", dtype="float32")[0]
    for _ in range(2):  # the second call meets whatever the first left behind
        assert fsmn_spans(Audio(clip, "x"), model) == [Span(0.77, 2.4), Span(3.38, 5.98)]
    assert fsmn_spans(Audio(clip[:1600], "x"), model) == []


# --- packing


def _spans_samples(spans: list[Span]) -> set[int]:
    return {i for s in spans for i in range(round(s.start_s * SAMPLE_RATE), round(s.end_s * SAMPLE_RATE))}


def _bounds(chunks: list[Chunk]) -> list[Any]:
    return [(pytest.approx(c.start_s), pytest.approx(c.end_s)) for c in chunks]


def test_neighbours_share_a_chunk_until_it_is_full_or_the_pause_is_long() -> None:
    audio = Audio(_noise(30, 0.1), "x")
    spans = [Span(0, 3), Span(3.5, 6), Span(6.5, 9.5), Span(11, 12), Span(12.6, 13), Span(13.7, 14)]
    assert _bounds(pack(audio, spans, 10)) == [(0, 9.5), (11, 13), (13.7, 14)]
    assert _bounds(pack(audio, spans, 9)) == [(0, 6), (6.5, 9.5), (11, 13), (13.7, 14)]
    assert _bounds(pack(audio, spans, 10, max_gap_s=1.0)) == [(0, 9.5), (11, 14)]
    assert _bounds(pack(audio, spans, 10, max_gap_s=0)) == [(s.start_s, s.end_s) for s in spans]


def test_no_spans_no_chunks() -> None:
    assert pack(Audio(_silence(5), "x"), [], 10) == []


def test_chunks_are_views() -> None:
    audio = Audio(_noise(30, 0.1), "x")
    chunks = pack(audio, [Span(0.5, 22), Span(25, 26)], 10)
    for chunk in chunks:
        assert np.shares_memory(chunk.samples, audio.samples)
        start = round(chunk.start_s * SAMPLE_RATE)
        np.testing.assert_array_equal(chunk.samples, audio.samples[start : start + len(chunk.samples)])


@pytest.mark.parametrize("quiet_s", [7.2, 8.4, 9.7])
def test_a_long_span_is_cut_where_it_is_quietest(quiet_s: float) -> None:
    samples = _noise(17, 0.1)
    at = round(quiet_s * SAMPLE_RATE)
    samples[at - 400 : at + 400] *= 0.1
    samples[3 * SAMPLE_RATE : 4 * SAMPLE_RATE] = 0  # quieter still, but so early that the chunk would be wasted
    chunks = pack(Audio(samples, "x"), [Span(0, 17)], 10)
    assert len(chunks) == 2
    assert chunks[0].end_s == pytest.approx(quiet_s, abs=0.02)


def test_a_span_just_too_long_leaves_no_scrap() -> None:
    chunks = pack(Audio(_noise(20, 0.1), "x"), [Span(0, 10.01)], 10)
    assert len(chunks) == 2
    assert min(len(c.samples) for c in chunks) >= 3.3 * SAMPLE_RATE


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_chunk_s", [1.0, 5.0, 29.97])
def test_packing_loses_and_repeats_nothing(seed: int, max_chunk_s: float) -> None:
    random = np.random.default_rng(seed)
    edges = np.cumsum(random.exponential(1.5, 20))
    spans = [Span(float(a), float(b)) for a, b in edges.reshape(-1, 2)]
    audio = Audio(_noise(float(edges[-1]) + 0.1, 0.1, seed), "x")
    chunks = pack(audio, spans, max_chunk_s)
    assert all(0 < len(c.samples) <= max_chunk_s * SAMPLE_RATE for c in chunks)
    limits = [(round(c.start_s * SAMPLE_RATE), round(c.start_s * SAMPLE_RATE) + len(c.samples)) for c in chunks]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(limits))
    inside = {i for start, end in limits for i in range(start, end)}
    speech = _spans_samples(spans)
    assert speech <= inside
    # What is inside but no speech is pauses of at most 0.6 s between two spans of one chunk.
    pauses = np.array(sorted(inside - speech))
    runs = np.split(pauses, np.flatnonzero(np.diff(pauses) > 1) + 1)
    assert all(len(run) <= 0.6 * SAMPLE_RATE + 1 for run in runs)

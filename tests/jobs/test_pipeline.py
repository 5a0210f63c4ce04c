"""The pipeline's progress after each chunk: seconds of speech and of work, words that wait, threads; and the transcript."""

from __future__ import annotations

import dataclasses
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import EXAMPLE

from asr_app import catalog, pipeline
from asr_app.audio import Limits
from asr_app.checks import Check
from asr_app.datatypes import SAMPLE_RATE, Audio, Chunk, Options, Segment, StageTimes, Word
from asr_app.loading import Loaded
from asr_app.memory import PeakMemory
from asr_app.precision import Precision
from asr_app.precision.counting import report

CARD = catalog.find("demo-paraformer")


class Clock:
    """Stands still until somebody works."""

    def __init__(self) -> None:
        self.now = 1.25

    def perf_counter(self) -> float:
        return self.now


class Works:
    """An engine that says `texts` in order, and takes three seconds of the clock for a second of sound.

    Punctuating takes half a second, and ends a sentence only at the end of what it is given.
    """

    def __init__(self, clock: Clock, *texts: str, marks: bool = False, workers: int = 1) -> None:
        self.clock, self.texts, self.workers = clock, list(texts), workers
        self.parts = {"encoder": torch.nn.Identity()} | ({"punctuation": torch.nn.Identity()} if marks else {})
        self.threads: list[int] = []
        self.lengths: list[int] = []
        self._lock = threading.Lock()

    def transcribe(self, batch, options):
        with self._lock:
            self.threads.append(torch.get_num_threads())
            self.lengths += [len(samples) // SAMPLE_RATE for samples in batch]
            found = [self.texts.pop(0) if self.texts else "" for _ in batch]
            self.clock.now += 3 * sum(map(len, batch)) / SAMPLE_RATE
        return [[Segment(0.1, 0.9, text, (Word(0.1, 0.9, text),))] if text else [] for text in found]

    def punctuate(self, words):
        self.clock.now += 0.5
        return [Segment(words[0].start_s, words[-1].end_s, " ".join(w.text for w in words), words)] if words else []


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pipeline, "time", made)
    return made


def loaded(engine, threads: int = 1, **changed) -> Loaded:
    card = dataclasses.replace(CARD, **changed)
    return Loaded(card, engine, report(engine.parts, Precision.FP32), "cpu", 1.5, 0.5, Check("x"), threads)


def chunks(*lengths: float, pause_s: float = 1.0) -> list[Chunk]:
    """Chunks of so many seconds, of silence: nobody is sure of speech in them."""
    made, start = [], 10.0
    for seconds in lengths:
        made.append(Chunk(start, np.zeros(round(seconds * SAMPLE_RATE), np.float32)))
        start = made[-1].end_s + pause_s
    return made


def steps(engine, cut, first=0, carry=(), threads=1, times=None, **changed):
    times = times or StageTimes()
    return list(
        pipeline.recognise(
            cut, loaded(engine, threads, **changed), Options(), times, first_chunk=first, carry=carry
        )
    )  # fmt: skip


def test_seconds_of_speech_are_counted_from_where_the_work_goes_on(clock):
    told = steps(Works(clock), chunks(1, 2, 4), first=1)
    assert [(s.done_s, s.speech_s, s.next_chunk, s.chunks) for s in told] == [(3.0, 7.0, 2, 3), (7.0, 7.0, 3, 3)]
    assert [s.end_s for s in told] == [14.0, 19.0]
    assert steps(Works(clock), chunks(1), first=1) == []
    assert steps(Works(clock), []) == []


def test_seconds_of_recognition_add_up_to_what_was_waited_and_are_shared_by_length(clock):
    told = steps(Works(clock), chunks(1, 1, 3), times=StageTimes(asr_s=5.0), chunks_a_batch=2)
    assert [s.times.asr_s for s in told] == [8.0, 11.0, 20.0]
    assert told[-1].times.punctuation_s == 0


def test_of_chunks_at_once_only_the_seconds_of_waiting_count(clock):
    """Both are worked on from the beginning; the second one may be done while the first one is waited for."""
    engine, asked = Works(clock, workers=2), threading.Event()
    says = engine.transcribe

    def transcribe(batch, options):
        assert asked.wait(10)
        return says(batch, options)

    engine.transcribe = transcribe
    threading.Timer(0.1, asked.set).start()
    assert steps(engine, chunks(1, 1.5))[-1].times.asr_s in (3.0, 7.5)


def test_seconds_to_the_first_words_begin_with_the_decoding_and_are_noted_once(clock):
    told = steps(Works(clock, "", "one", "two"), chunks(1, 1, 1), times=StageTimes(decode_s=2.0, vad_s=0.25))
    assert [s.times.first_text_s for s in told] == [None, 8.25, 8.25]


def test_punctuation_has_its_own_seconds(clock):
    told = steps(Works(clock, "a", "b", marks=True), chunks(1, 1))
    assert [(s.times.asr_s, s.times.punctuation_s) for s in told] == [(3.0, 0.5), (6.0, 1.0)]


@pytest.mark.parametrize(
    ("pause_s", "sentences"), [(0.1, [[], ["a b"]]), (0.25, [["a"], ["b"]]), (0.5, [["a"], ["b"]])]
)
def test_words_wait_for_their_sentence_only_over_a_cut_that_nobody_spoke(clock, pause_s, sentences):
    told = steps(Works(clock, "a", "b", marks=True), chunks(1, 1, pause_s=pause_s))
    assert [[s.text for s in step.segments] for step in told] == sentences
    assert [len(step.carry) for step in told] == [int(sentences[0] == []), 0]


def test_words_are_at_their_place_in_the_recording(clock):
    told = steps(Works(clock, "a", "b"), chunks(1, 1))
    assert [(s.start_s, s.words[0].end_s) for step in told for s in step.segments] == [(10.1, 10.9), (12.1, 12.9)]


@pytest.mark.parametrize(
    ("workers", "threads", "count", "each"), [(1, 3, 4, 3), (2, 4, 4, 2), (3, 2, 4, 1), (4, 6, 2, 3), (2, 3, 1, 3)]
)
def test_chunks_at_once_share_the_threads(clock, workers, threads, count, each):
    engine = Works(clock, workers=workers)
    assert len(steps(engine, chunks(*[1] * count), threads=threads)) == count
    assert set(engine.threads) == {each}


def test_the_first_chunk_is_begun_first_and_of_the_last_the_longest():
    batches = [(i, chunks(length)) for i, length in enumerate((1, 2, 3, 1, 3, 2, 4))]
    assert [i for i, _ in pipeline._begun(batches, 2)] == [0, 1, 2, 6, 4, 5, 3]
    assert [i for i, _ in pipeline._begun(batches[:3], 2)] == [0, 2, 1]
    assert [i for i, _ in pipeline._begun([(0, chunks(1, 1)), (1, chunks(1)), (2, chunks(1, 2))], 1)] == [0, 2, 1]


def test_a_chunk_that_is_cut_elsewhere_now_keeps_the_speech_that_is_left():
    chunk = Chunk(3.0, np.arange(10 * SAMPLE_RATE, dtype=np.float32), ((0.5, 2.0), (3.0, 6.0), (7.0, 9.0)))
    left, first = pipeline.remaining([chunk, *chunks(1)], 7.0)
    assert (first, len(left)) == (1, 3)
    assert (left[0].end_s, left[1].start_s, left[1].end_s) == (7.0, 7.0, 13.0)
    assert left[1].speech == ((0.0, 2.0), (3.0, 5.0))


@pytest.mark.parametrize(("resume_s", "first", "count"), [(13.005, 1, 2), (12.995, 1, 2), (14.005, 1, 2), (13.5, 1, 2)])
def test_a_place_that_is_off_by_milliseconds_divides_nothing(resume_s, first, count):
    left, index = pipeline.remaining(chunks(3, 2), resume_s)
    assert (index, len(left)) == (first, count)


def finished(engine, segments=(), options=None, of=None, memory=None, **changed):
    of, memory = of or loaded(engine, **changed), memory or PeakMemory("cpu")
    return pipeline.finish(segments, [], of, options or Options(), 60.0, StageTimes(load_s=1.0, asr_s=6.0), memory)


def test_only_the_first_transcript_of_an_engine_has_what_loading_it_cost(clock):
    engine = Works(clock)
    of = loaded(engine)
    of.given_back = 7
    first, second = finished(engine, of=of), finished(engine, of=of)
    assert (first.times.load_s, first.times.warmup_s, first.memory["given_back"]) == (2.5, 0.5, 7)
    assert (second.times.load_s, second.times.warmup_s) == (1.0, 0.0)
    assert "given_back" not in second.memory
    assert "given_back" not in finished(engine).memory
    assert (first.rtf, first.device, first.model_id) == (0.1, "cpu", CARD.id)


@pytest.mark.parametrize(("before", "first", "later"), [(60, 60, 64), (10, 100, 100)])
def test_memory_that_a_model_adds_is_beyond_what_was_there_without_it(clock, before, first, later):
    """The first job that uses it counts from what stayed when others went for it; later jobs count its weights, too."""
    engine = Works(clock)
    engine.parts = {"encoder": torch.nn.Linear(2, 2)}  # 24 bytes
    of = loaded(engine)
    of.given_back, of.disk_bytes = 20, 9
    memory = SimpleNamespace(before=before, as_dict=lambda weights: {"weights": weights, "peak_rss": 100})
    for added in (first, later):
        found = finished(engine, of=of, memory=memory)
        assert (found.memory["weights"], found.memory["disk"], found.memory["peak_added"]) == (24, 9, added)
        assert found.load_s == 2.0  # whoever waited for it


SAID, TOLD = Segment(0, 1, "a", (Word(0, 1, "a"),)), Segment(0, 1, "a")


@pytest.mark.parametrize(
    ("segments", "translate", "capabilities", "source"),
    [
        ([SAID], False, ["word_timestamps"], "model"), ([SAID, TOLD], False, ["word_timestamps"], "vad"),
        ([TOLD], True, ["word_timestamps"], "model"), ([SAID], False, [], "vad"), ([TOLD], True, [], "vad"),
    ],
)  # fmt: skip
def test_the_source_of_the_times_is_told(clock, segments, translate, capabilities, source):
    options = Options(translate=translate)
    assert finished(Works(clock), segments, options, capabilities=tuple(capabilities)).timestamps == source


def test_short_windows_are_told_of_models_that_have_that_choice(clock):
    assert finished(Works(clock), capabilities=()).short_windows is None
    for chosen in (True, False):
        found = finished(Works(clock), options=Options(short_windows=chosen), capabilities=("short_windows",))
        assert found.short_windows is chosen


def test_a_file_in_one_call_has_its_text_its_times_and_what_it_is_like():
    engine = Works(Clock(), *["word"] * 9)
    found = pipeline.transcribe(EXAMPLE / "english-home.flac", loaded(engine), Options(), Limits())
    assert len(found.segments) == len(engine.lengths) > 0
    assert found.recording.findings == ()
    assert found.audio_s == pytest.approx(sum(engine.lengths), abs=3)
    assert min(found.times.decode_s, found.times.vad_s, found.times.asr_s, found.times.first_text_s) > 0


def test_a_model_with_a_vad_of_its_own_is_cut_by_it(clock, monkeypatch):
    def finds(spans):
        def found(*_):
            clock.now += 2
            return spans

        return found

    sound = Audio(np.ones(20 * SAMPLE_RATE, np.float32), "x")
    by_model, by_silero = [(1.0, 3.0)], [(8.0, 12.0)]
    monkeypatch.setattr(pipeline.vad, "fsmn_spans", finds(by_model))
    monkeypatch.setattr(pipeline.vad, "speech_spans", finds(by_silero))
    monkeypatch.setattr(pipeline.vad, "pack", lambda _audio, spans, longest_s, gap_s: [(spans, longest_s, gap_s)])
    plain = loaded(Works(clock))
    own = dataclasses.replace(plain, vad=SimpleNamespace(module=torch.nn.Identity()))
    assert pipeline.cut(sound, plain) == ([(by_silero, CARD.max_chunk_s, CARD.max_gap_s)], 2.0)
    assert pipeline.cut(sound, own) == ([(by_model, CARD.max_chunk_s, CARD.max_gap_s)], 2.0)
    for each in (plain, own):  # models that are compared get the same chunks
        assert pipeline.cut(sound, each, (9.0, 0.5)) == ([(by_silero, 9.0, 0.5)], 2.0)


def test_decoding_has_its_seconds(clock, monkeypatch):
    def decode(path, **_):
        clock.now += 4
        return path

    monkeypatch.setattr(pipeline.audio_module, "decode", decode)
    assert pipeline.read("sound", "name", Limits()) == ("sound", 4.0)

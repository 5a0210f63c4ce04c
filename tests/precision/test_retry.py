"""Speech that got no words is recognised again, alone: what is new is added, what was said already is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import EXAMPLE

from asr_app import audio, catalog, retry
from asr_app.checks import Check, FiniteWatch
from asr_app.datatypes import SAMPLE_RATE, Chunk, Options, Segment, Word
from asr_app.loading import Loaded
from asr_app.precision import Precision
from asr_app.precision.counting import report

CLIP = audio.decode(EXAMPLE / "english-home.flac").samples[: 3 * SAMPLE_RATE]  # of speech from end to end
PAUSE_S = 1.0
CLIP_S = len(CLIP) / SAMPLE_RATE
SECOND_S = CLIP_S + PAUSE_S


class Says:
    """An engine that says `alone` to whatever it is given, and keeps what that was."""

    def __init__(self, *alone: Segment) -> None:
        self.parts = {"encoder": torch.nn.Identity()}
        self.workers = 1
        self.alone, self.given = list(alone), []

    def transcribe(self, batch, options):
        self.given += [(samples, options) for samples in batch]
        return [list(self.alone) for _ in batch]


def said(text: str, start_s: float, end_s: float) -> Segment:
    """A segment whose words share its time."""
    edges = np.linspace(start_s, end_s, len(text.split()) + 1)
    words = tuple(Word(float(a), float(b), w) for a, b, w in zip(edges, edges[1:], text.split(), strict=False))
    return Segment(start_s, end_s, text, words, language="en")


def chunk(gain: float = 0.05) -> Chunk:
    """The clip, a pause, and the clip again, quieter."""
    samples = np.concatenate([CLIP, np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32), CLIP * np.float32(gain)])
    return Chunk(10.0, samples, ((0.0, CLIP_S), (SECOND_S, SECOND_S + CLIP_S)))


def again(engine: Says, segments: list[Segment], of: Chunk | None = None):
    card = catalog.find("whisper-base")
    loaded = Loaded(card, engine, report(engine.parts, Precision.FP32), "cpu", 0.0, 0.0, Check("x"), 1)
    with FiniteWatch(engine.parts) as watch:
        return retry.stretches(of or chunk(), segments, loaded, watch, Options())


FIRST = said("a loud sentence of six words", 0.0, CLIP_S)


def test_a_quiet_sentence_without_words_is_recognised_alone_and_louder():
    engine = Says(said("what nobody heard", 0.3, 2.5))
    segments, doubts = again(engine, [FIRST])
    assert [s.text for s in segments] == [FIRST.text, "what nobody heard"]
    assert segments[1].start_s == pytest.approx(SECOND_S + 0.3, abs=0.25)
    assert [(d.reason, d.start_s) for d in doubts] == [("unheard", 10.0 + SECOND_S)]
    ((samples, options),) = engine.given
    assert np.abs(samples).max() > 5 * np.abs(chunk().samples[len(CLIP) :]).max()
    assert options.language == "en"  # as the rest of the chunk
    assert not options.retries  # once


def test_a_sentence_that_stood_at_the_wrong_time_is_moved_and_not_said_twice():
    late = said("what nobody heard here at all", CLIP_S - 1.2, CLIP_S)
    segments, _ = again(Says(said("what nobody heard here at all", 0.2, 2.8)), [said("one two three", 0, 1.5), late])
    assert [s.text for s in segments] == ["one two three", late.text]
    assert segments[1].start_s >= SECOND_S - 0.2


@pytest.mark.parametrize("text", ["six words", "six wards"])
def test_what_repeats_the_words_beside_it_is_left_out(text):
    longer = said("a loud sentence of more than six words", 0.0, SECOND_S + 0.4)
    segments, doubts = again(Says(said(text, 0.2, 0.9)), [longer])
    assert [s.text for s in segments] == [longer.text]
    assert doubts == ()


def test_a_sentence_skipped_inside_of_another_ones_words_comes_before_it():
    stretched = Segment(0.0, SECOND_S + CLIP_S, "and so it ends", tuple(
        Word(a, b, w) for a, b, w in zip([0, 4.9, 5.5, 6.1], [4.9, 5.5, 6.1, 7.0], ["and", "so", "it", "ends"], strict=True)
    ), language="en")  # fmt: skip
    segments, _ = again(Says(said("nothing like the other one", 0.2, 2.8)), [stretched])
    assert [s.text for s in segments] == ["nothing like the other one", "and so it ends"]
    assert segments[0].end_s <= segments[1].start_s


def test_silence_and_words_everywhere_ask_for_nothing():
    engine = Says(said("never", 0, 1))
    assert again(engine, [FIRST, said("and a quiet one with words", SECOND_S, SECOND_S + CLIP_S)])[1] == ()
    assert again(engine, [FIRST], chunk(gain=0.0))[1] == ()
    assert engine.given == []


def test_a_number_may_take_longer_than_a_word():
    year = said("1469", 0.0, CLIP_S - 1.5)
    assert retry.without_words(chunk(gain=0.0), [year, said("a b c", CLIP_S - 1.5, CLIP_S)]) == []

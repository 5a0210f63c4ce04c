"""Hotwords that a model takes itself: each place that they changed, from the engine to the journal."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from fakes import jobs, recording, wait  # noqa: F401

from asr_app import catalog, pipeline
from asr_app.checks import Check
from asr_app.datatypes import SAMPLE_RATE, Chunk, Options, Segment, StageTimes, Word
from asr_app.formats import write
from asr_app.journal import Journal
from asr_app.loading import Loaded
from asr_app.memory import PeakMemory
from asr_app.precision import Precision
from asr_app.precision.counting import report
from asr_app.rows import read_words, written_words
from asr_app.strikes import Strike
from asr_app.text import join


class Biased:
    """Says (with, without) hotwords in turn, one pair a chunk, by the loudness of the chunk: 0.01 is the first pair.

    With `marks` its segments have words, and sentences end at 。 only.
    """

    workers = 1

    def __init__(self, *pairs: tuple[str, str], marks: bool) -> None:
        self.pairs, self.marks = pairs, marks
        self.parts = {"encoder": torch.nn.Identity()} | ({"punctuation": torch.nn.Identity()} if marks else {})
        self.asked: list[tuple[str, ...]] = []

    def transcribe(self, batch, options):
        self.asked += [options.hotwords] * len(batch)
        texts = [self.pairs[round(float(samples[0]) * 100) - 1][not options.hotwords] for samples in batch]
        return [[self._segment(text)] if text else [] for text in texts]

    def _segment(self, text):
        pieces = text.split(" ") if " " in text else list(text)
        words = tuple(Word(i * 0.1, i * 0.1 + 0.1, piece) for i, piece in enumerate(pieces)) if self.marks else ()
        return Segment(0.0, 0.1 * len(pieces), join(pieces), words)

    def punctuate(self, words):
        made, begin = [], 0
        for i, word in enumerate(words, start=1):
            if word.text.endswith("了") or i == len(words):
                own = words[begin:i]
                made.append(Segment(own[0].start_s, own[-1].end_s, join(w.text for w in own) + "。", tuple(own)))
                begin = i
        return made


def loaded(engine, *capabilities: str) -> Loaded:
    card = dataclasses.replace(catalog.find("demo-paraformer"), capabilities=frozenset(capabilities))
    return Loaded(card, engine, report(engine.parts, Precision.FP32), "cpu", 0, 0, Check("x"), 1)


def chunks(count: int, pause_s: float = 1.0) -> list[Chunk]:
    samples = [np.full(SAMPLE_RATE, (i + 1) / 100, np.float32) for i in range(count)]
    return [Chunk(i * (1 + pause_s), s) for i, s in enumerate(samples)]


def recognised(engine, *hotwords: str, pause_s: float = 1.0, script=None):
    model = loaded(engine, "hotwords")
    options = Options(hotwords, script=script)
    steps = list(pipeline.recognise(chunks(len(engine.pairs), pause_s), model, options, StageTimes()))
    segments = [s for step in steps for s in step.segments]
    with PeakMemory("cpu") as memory:
        done = pipeline.finish(segments, (), model, options, 9.0, StageTimes(), memory)
    return done, steps


@pytest.mark.parametrize("marks", [True, False], ids=["words", "no words"])
def test_each_place_that_a_hotword_changed_is_told_with_its_time(marks):
    engine = Biased(("我们用玄戒芯片了", "我们用悬界芯骗了"), ("今天天气好了", "今天天气坏了"), marks=marks)
    done, _ = recognised(engine, "玄戒芯片", "达摩院")
    struck, idle = done.hotwords
    (strike,) = struck.strikes
    assert (strike.heard, strike.meant, strike.hotword) == ("悬界芯骗", "玄戒芯片", "玄戒芯片")
    assert (strike.start_s, strike.end_s) == pytest.approx((0.3, 0.7), abs=0.02)
    assert done.segments[0].text[strike.at :].startswith("玄戒芯片")
    assert (idle.strikes, idle.found, idle.way) == ((), 0, "model")
    assert all(word.strike is None for s in done.segments for word in s.words)
    # The second chunk has no hotword: it is not decoded twice, and its text stays.
    assert engine.asked == [("玄戒芯片", "达摩院")] * 2 + [()] or engine.asked == [
        ("玄戒芯片", "达摩院"), (), ("玄戒芯片", "达摩院")
    ]  # fmt: skip


def test_a_hotword_that_is_heard_anyway_has_no_effect():
    done, _ = recognised(Biased(("我在达摩院了", "我在达摩院了"), marks=True), "达摩院")
    (effect,) = done.hotwords
    assert (effect.strikes, effect.found) == ((), 1)


def test_what_changes_beside_a_hotword_is_told_too():
    done, _ = recognised(Biased(("他在达摩院很好了", "她在打磨院很好了"), marks=True), "达摩院")
    effect, beside = done.hotwords
    assert [(s.heard, s.meant) for s in effect.strikes] == [("打磨院", "达摩院")]
    assert (beside.hotword, [(s.heard, s.meant) for s in beside.strikes]) == ("", [("她", "他")])


def test_words_that_wait_for_their_sentence_keep_their_strike():
    """The first chunk ends inside a sentence, which the second one completes."""
    engine = Biased(("我在达摩院", "我在打磨院"), ("工作了", "工作了"), marks=True)
    done, steps = recognised(engine, "达摩院", pause_s=0.1)
    assert steps[0].segments == ()
    (carried,) = [w.strike for w in steps[0].carry if w.strike]
    assert (carried.heard, carried.meant) == ("打磨院", "达摩院")
    assert read_words(written_words(steps[0].carry)) == steps[0].carry
    assert [(s.heard, s.at) for s in done.hotwords[0].strikes] == [(carried.heard, 2)]
    assert done.text == "我在达摩院工作了。"


def test_the_places_follow_the_script_of_the_text():
    done, _ = recognised(Biased(("我们用后面的机", "我们用后的面机"), marks=True), "后面", script="traditional")
    (strike,) = done.hotwords[0].strikes
    assert done.segments[0].text[strike.at :].startswith(strike.meant)
    assert strike.meant.startswith("後面")


def test_rules_apply_after_the_models_own_hotwords():
    engine = Biased(("我在达摩院很好了", "我在打磨院很好了"), marks=True)
    done, _ = recognised(engine, "达摩院", "很好 => 非常好")
    own, rule = done.hotwords
    assert done.text == "我在达摩院非常好了。"
    assert [s.meant for s in own.strikes] == ["达摩院"]
    assert [(s.heard, s.meant) for s in rule.strikes] == [("很好", "非常好")]
    assert (own.way, rule.way) == ("model", "rule")
    assert engine.asked == [("达摩院",), ()]


def test_a_model_without_hotwords_gets_none_and_its_rules_apply():
    engine = Biased(("", "我在打魔院了"), marks=True)
    model = loaded(engine)
    (step,) = pipeline.recognise(chunks(1), model, Options(("达摩院",)), StageTimes())
    assert engine.asked == [()]
    assert step.segments[0].text == "我在达摩院了。"
    assert step.segments[0].strikes[0].heard == "打魔院"


# -- the journal


def test_the_journal_and_the_json_hold_what_was_heard_and_what_was_made_of_it(jobs, recording):
    options = Options(("w2 => second", "nothing => else", "Waitzkin", "xy"))
    job = jobs.submit(recording, recording.name, "demo-paraformer", Precision.INT8, options)
    jobs.start()
    view = wait(jobs, job, lambda v: v.finished)
    assert view.transcript is not None, view.error
    assert "second" in view.transcript.text
    struck = [s for segment in view.segments for s in segment.strikes]
    assert [(s.heard, s.meant, s.hotword, s.at) for s in struck] == [("w2", "second", "w2 => second", 0)]
    exported = json.loads(write(view.transcript, "json"))["hotwords"]
    assert exported[0] == {
        "hotword": "w2 => second", "way": "rule", "found": 1,
        "strikes": [{"start": round(struck[0].start_s, 3), "end": round(struck[0].end_s, 3), "heard": "w2", "meant": "second"}],
    }  # fmt: skip
    assert [(e["hotword"], e["way"], e["strikes"]) for e in exported[1:]] == [
        ("nothing => else", "rule", []), ("Waitzkin", "spelling", []), ("xy", "none", []),
    ]  # fmt: skip
    assert (
        next(e.hotword for e in Journal(jobs.journal.recordings.parent).view(job).transcript.hotwords) == "w2 => second"
    )


def test_a_row_of_an_earlier_version_has_no_strikes():
    assert read_words('[[0.1, 0.2, "好"]]') == (Word(0.1, 0.2, "好"),)
    strike = Strike(0.1, 0.2, "a", "b", "b", 3)
    assert Strike(*strike.as_row()) == strike

"""Live speech with a fake engine: ends, cuts, the rate of partials, the backlog, turns, commits, failures."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time

import numpy as np
import pytest
from speech import CARD, WORD, Listener, Room, talk

from asr_app.datatypes import SAMPLE_RATE, Options
from asr_app.errors import UserError
from asr_app.live import desk as desk_module
from asr_app.live.endpoint import Ending
from asr_app.live.events import Ended, Failed, Final, Partial, SpeechStarted, SpeechStopped
from asr_app.live.stream import MOST_BACKLOG_S, MOST_UNCOMMITTED_S
from asr_app.precision import Precision

WORD_S = WORD / SAMPLE_RATE


@pytest.fixture
def room(monkeypatch):
    made = Room(monkeypatch)
    yield made
    made.engine.gate.release(10**4)
    made.desk.stop()


def test_each_utterance_has_its_events_in_order_and_its_words(room):
    stream, heard = room.open()
    for samples in np.array_split(talk("... 1 2 3 .. 4 5 ..."), 40):
        stream.feed(samples)
        time.sleep(0.002)
    stream.finish()
    heard.until_ended()
    assert heard.texts == ["1 2 3", "4 5"]
    kinds = [type(e) for e in heard.events if not isinstance(e, Partial | Final)]
    assert kinds == [SpeechStarted, SpeechStopped] * 2 + [Ended]
    order = [(e.utterance, type(e)) for e in heard.events if not isinstance(e, Ended)]
    for number in (0, 1):
        own = [kind for utterance, kind in order if utterance == number]
        assert (own[0], own[-1], own.count(Final)) == (SpeechStarted, Final, 1)
    started, stopped, final = (heard.of(kind)[0] for kind in (SpeechStarted, SpeechStopped, Final))
    assert started.start_s == final.start_s == pytest.approx(3 * WORD_S - 0.3, abs=0.05)
    assert stopped.end_s == final.end_s == pytest.approx(6 * WORD_S + 0.3, abs=0.05)
    assert final.segments[0].words[1].start_s == pytest.approx(4 * WORD_S)
    assert heard.of(Final)[1].segments[0].words[0].start_s == pytest.approx(8 * WORD_S)


def test_silence_says_nothing(room):
    stream, heard = room.open()
    stream.feed(talk("." * 30))
    stream.finish()
    heard.until_ended()
    assert [type(e) for e in heard.events] == [Ended]
    assert room.engine.lengths == []


def test_partials_grow_and_the_next_one_replaces_the_last(room):
    stream, heard = room.open()
    for word in "12345":
        said = len(heard.partials)
        stream.feed(talk(word))
        stream.feed(talk(word)[:0])
        heard.until(lambda said=said, word=word: len(heard.partials) > said or word == "1")
    stream.finish()
    heard.until_ended()
    assert heard.partials == sorted(heard.partials, key=len)
    assert all("1 2 3 4 5".startswith(text) for text in heard.partials)
    partial = heard.of(Partial)[-1]
    assert (partial.utterance, partial.start_s) == (0, heard.of(SpeechStarted)[0].start_s)
    assert partial.end_s <= 5 * WORD_S


def test_partials_come_no_more_often_than_they_take_and_stale_ones_are_skipped(room):
    room.engine.gate = threading.Semaphore(0)
    stream, heard = room.open()
    stream.feed(talk("1 2"))
    heard.until(lambda: len(room.engine.lengths) == 1)
    for word in "345678":  # all of it comes while the first partial is worked on
        stream.feed(talk(word))
        time.sleep(0.03)
    assert len(room.engine.lengths) == 1
    room.engine.gate.release(2)
    heard.until(lambda: len(heard.partials) == 2)
    assert heard.partials == ["1 2", "1 2 3 4 5 6 7 8"]


def test_the_rate_of_partials_is_bounded(monkeypatch):
    room = Room(monkeypatch, every_s=0.4)
    stream, _ = room.open()
    began, words = time.monotonic(), 0
    while (now := time.monotonic() - began) < 1.5:
        if now > words * WORD_S:
            stream.feed(talk(str(words % 9 + 1)))
            words += 1
        time.sleep(0.01)
    assert 2 <= len(room.engine.lengths) <= 4
    room.desk.stop()


def test_without_partials_only_final_texts_are_recognised(room):
    stream, heard = room.open(partials=False)
    stream.feed(talk("1 2 3 4 5 6 .. 7 .."))
    heard.until(lambda: len(heard.texts) == 2)
    assert not heard.partials
    assert len(room.engine.lengths) == 2


def test_an_utterance_is_cut_where_it_is_quietest_before_the_model_has_enough(room):
    card = dataclasses.replace(CARD, max_chunk_s=3.0)
    stream, heard = room.open(card=card)
    said = "12345678912345678912345678"
    stream.feed(talk(said))
    stream.finish()
    heard.until_ended()
    assert "".join(heard.texts).replace(" ", "") == said
    finals = heard.of(Final)
    assert len(finals) > 3
    assert all(final.end_s - final.start_s <= 3.0 for final in finals)
    assert max(room.engine.lengths) <= 3.0
    assert [f.utterance for f in finals] == list(range(len(finals)))
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(finals))
    assert finals[-1].end_s == pytest.approx(len(said) * WORD_S, abs=0.04)  # no frame is lost at a cut


def test_a_long_stretch_is_not_recognised_from_its_start_each_time(room, monkeypatch):
    monkeypatch.setattr(desk_module, "_LONGEST_PARTIAL", 60)
    monkeypatch.setattr(desk_module, "_FRESH", 15)
    stream, heard = room.open()
    said = "1 2 3 4 5 6 7 8 9 1 2 3 4 5 6"
    for word in said.split():
        before = room.engine.lengths[:]
        stream.feed(talk(word))
        heard.until(lambda before=before: len(room.engine.lengths) > len(before) or len(before) < 2)
        time.sleep(0.03)
    stream.finish()
    heard.until_ended()
    assert all(said.startswith(text) for text in heard.partials)
    assert len(heard.partials[-1]) > len(said) - 5
    assert heard.texts == [said]
    assert max(room.engine.lengths[:-1]) < 2.5 < room.engine.lengths[-1]


def test_a_turn_ends_with_its_commit_only_and_has_all_words(room):
    stream, heard = room.open(cut_by_vad=False)
    stream.feed(talk(".. 1 2 ... 3 .."))
    heard.until(lambda: heard.partials[-1:] == ["1 2 3"])
    assert not heard.of(Final)
    stream.feed(talk("4"))
    stream.commit()
    stream.commit()  # nobody spoke in between
    stream.feed(talk(". 5 ."))
    stream.finish()
    heard.until_ended()
    assert heard.texts == ["1 2 3 4", "", "5"]
    assert not heard.of(SpeechStarted, SpeechStopped)
    assert [f.utterance for f in heard.of(Final)] == [0, 1, 2]
    assert heard.of(Final)[0].start_s == 0


def test_a_commit_ends_an_utterance_at_once(room):
    stream, heard = room.open()
    stream.feed(talk("1 2"))
    stream.commit()
    heard.until(lambda: heard.texts == ["1 2"])
    stream.commit()  # nothing is open
    stream.feed(talk("3 ..."))
    heard.until(lambda: heard.texts == ["1 2", "3"])


@pytest.mark.parametrize("cut_by_vad", [True, False])
def test_what_is_cleared_is_heard_of_no_more(room, cut_by_vad):
    stream, heard = room.open(cut_by_vad=cut_by_vad, partials=False)
    stream.feed(talk("1 2"))
    stream.clear()
    stream.feed(talk(". 3 ."))
    stream.commit()
    heard.until(lambda: heard.texts == ["3"])
    stream.finish()
    heard.until_ended()
    assert heard.texts == ["3"]


def test_a_partial_text_that_is_under_way_is_cleared_too(room):
    room.engine.gate = threading.Semaphore(0)
    stream, heard = room.open()
    stream.feed(talk("1 2"))
    heard.until(lambda: len(room.engine.lengths) == 1)
    stream.clear()
    stream.feed(talk(". 3 .."))
    heard.until(lambda: len(heard.of(SpeechStopped)) == 1)
    room.engine.gate.release(10)
    heard.until(lambda: heard.texts == ["3"])
    assert not [event for event in heard.events if event.utterance == 0 and not isinstance(event, SpeechStarted)]


def test_a_turn_without_a_commit_has_an_end(room):
    stream, heard = room.open(cut_by_vad=False, partials=False)
    piece = talk("1" + "." * 100)
    for _ in range(int(MOST_UNCOMMITTED_S * SAMPLE_RATE / len(piece)) + 1):
        heard.until(lambda: stream.backlog_s < 60)
        stream.feed(piece)
    heard.until(lambda: heard.of(Failed))
    assert "without a commit" in heard.of(Failed)[0].error.en
    stream.feed(talk("5"))
    stream.commit()
    heard.until(lambda: heard.of(Final))
    assert heard.texts[0].endswith("5")


def test_finals_go_before_partials_and_none_is_lost(room):
    room.engine.gate = threading.Semaphore(0)
    stream, heard = room.open()
    other, others = room.open()
    stream.feed(talk("1 .."))
    heard.until(lambda: len(room.engine.lengths) == 1)
    stream.feed(talk("2 .. 3 .. 4 .. 5 6 7"))
    other.feed(talk("8 9"))
    heard.until(lambda: len(heard.of(SpeechStarted)) == 5 and len(others.of(SpeechStarted)) == 1)
    room.engine.gate.release(4)
    heard.until(lambda: heard.texts == ["1", "2", "3", "4"])
    assert heard.partials == others.partials == []
    room.engine.gate.release(100)
    heard.until(lambda: heard.partials == ["5 6 7"])
    others.until(lambda: others.partials == ["8 9"])


def test_a_backlog_ends_the_stream_with_a_reason(room):
    room.engine.gate = threading.Semaphore(0)
    stream, heard = room.open()
    other, others = room.open()
    for _ in range(int(MOST_BACKLOG_S / (18 * WORD_S)) + 1):
        stream.feed(talk("1 2 3 4 5 6 7 8 9 .. 1 2 3 4 5 6 7 8 9"))
    heard.until_ended()
    (failed,) = heard.of(Failed)
    assert failed.utterance is None
    assert "faster" in failed.error.en
    stream.feed(talk("1"))
    assert stream.backlog_s == 0
    room.engine.gate.release(10**4)
    other.feed(talk("5 .."))
    others.until(lambda: others.texts == ["5"])
    assert heard.events[-1] == failed


def test_streams_take_turns(room):
    room.engine.gate = threading.Semaphore(0)
    opened = [room.open(partials=False) for _ in range(3)]
    for stream, heard in opened:
        stream.feed(talk("1 .. 2 .."))
        heard.until(lambda heard=heard: len(heard.of(SpeechStopped)) == 2)
    room.engine.gate.release(10**4)
    for _, heard in opened:
        heard.until(lambda heard=heard: heard.texts == ["1", "2"])
    stream, heard = opened[0]
    stream.close()
    stream.feed(talk("3 .."))
    other, others = opened[1]
    other.feed(talk("4 .."))
    others.until(lambda: others.texts == ["1", "2", "4"])
    assert heard.texts == ["1", "2"]
    assert len(room.desk._streams) == 2


def test_an_utterance_that_fails_is_told_and_the_next_one_goes_on(room):
    stream, heard = room.open(partials=False)
    room.engine.breaks = True
    stream.feed(talk("1 .."))
    heard.until(lambda: heard.of(Failed))
    assert heard.of(Failed)[0].utterance == 0
    assert "ValueError" in heard.of(Failed)[0].error.en
    room.engine.breaks = False
    stream.feed(talk("2 .."))
    heard.until(lambda: heard.texts == ["2"])


def test_a_listener_that_raises_ends_its_own_stream_alone(room):
    def raises(event):
        raise RuntimeError("the client has gone")

    broken = room.desk.open(CARD, Precision.FP32, Options(), raises)
    stream, heard = room.open()
    broken.feed(talk("1 2 3 .."))
    stream.feed(talk("4 .."))
    heard.until(lambda: heard.texts == ["4"])
    assert broken.is_over


def test_the_silence_that_ends_an_utterance_can_be_chosen(room):
    said = "1 2 . 3 4 ... 5"
    results = []
    for silence_s in (0.2, 0.5, 2.0):
        stream, heard = room.open(ending=Ending(silence_s=silence_s))
        stream.feed(talk(said))
        stream.finish()
        heard.until_ended()
        results.append(heard.texts)
    assert results == [["1 2", "3 4", "5"], ["1 2 3 4", "5"], ["1 2 3 4 5"]]


def test_options_and_the_number_of_streams_are_checked(room):
    with pytest.raises(UserError, match="no option prompt"):
        room.desk.open(CARD, Precision.FP32, Options(prompt="x"), Listener())
    opened = [room.open()[0] for _ in range(desk_module.MOST_STREAMS)]
    with pytest.raises(UserError, match="open already"):
        room.open()
    opened[0].close()
    room.open()


def test_samples_that_are_no_numbers_are_silence(room):
    stream, heard = room.open()
    stream.feed(np.full(4000, np.nan))
    stream.feed(talk("1 .."))
    heard.until(lambda: heard.texts == ["1"])

"""Windows over stretches of speech, turns from windows, and sentences cut among speakers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asr_app.datatypes import Audio, Chunk, Segment, Word
from asr_app.speakers.diarize import find_turns, speech_in
from asr_app.speakers.turns import Turn, attributed, turns_of
from asr_app.speakers.windows import LENGTH_S, Window, samples_of, windows_of
from asr_app.strikes import Strike


def sentence(text: str, start_s: float = 0.0, each_s: float = 1.0, words: list[str] | None = None) -> Segment:
    """A segment whose words, those at the spaces without their marks, last a second each."""
    said = words or [word.strip(".,!?") for word in text.split()]
    timed = tuple(Word(start_s + i * each_s, start_s + (i + 1) * each_s, word) for i, word in enumerate(said))
    return Segment(start_s, start_s + len(said) * each_s, text, timed)


def shown(pieces: list[list[Segment]]) -> list[list[tuple[str | None, str]]]:
    return [[(piece.speaker, piece.text) for piece in segment] for segment in pieces]


def test_windows_cover_each_stretch_and_none_is_too_short():
    windows = windows_of([(0.0, 4.0), (5.0, 5.9), (7.0, 7.2)])
    assert [w.start_s for w in windows if w.start_s < 5] == [0.0, 0.75, 1.5, 2.25, 2.5]
    assert windows[-1] == Window(5.0, 5.9)
    assert all(w.end_s - w.start_s <= LENGTH_S + 1e-9 for w in windows)


def test_a_short_window_is_repeated():
    samples = np.arange(16_000, dtype=np.float32)
    cut = samples_of(Window(0.0, 0.5), samples)
    assert len(cut) == 24_000
    assert (cut[:8000] == cut[8000:16000]).all()
    assert cut[7999] == 7999


def test_windows_that_overlap_meet_half_way():
    windows = windows_of([(0.0, 6.0)])
    turns = turns_of(windows, [0, 0, 0, 1, 1, 1, 1][: len(windows)])
    assert [(t.start_s, t.end_s, t.speaker) for t in turns] == [(0.0, 2.625, 0), (2.625, 6.0, 1)]


def test_a_turn_too_short_to_be_true_is_given_to_its_neighbour():
    windows = [Window(i * 0.6, i * 0.6 + 0.6) for i in range(6)]
    assert {t.speaker for t in turns_of(windows, [0, 0, 1, 0, 0, 0])} == {0}


def test_a_short_answer_between_pauses_stays():
    windows = [Window(0.0, 1.5), Window(2.0, 2.5), Window(3.0, 4.5)]
    assert [t.speaker for t in turns_of(windows, [0, 1, 0])] == [0, 1, 0]


def test_a_sentence_of_two_speakers_is_cut_between_its_words():
    turns = [Turn(0.0, 3.1, 7), Turn(3.1, 6.0, 2)]
    (pieces,) = attributed([sentence("How are you? Fine, thank you.")], turns)
    assert [(p.speaker, p.text, p.start_s, p.end_s) for p in pieces] == [
        ("S1", "How are you?", 0.0, 3.0), ("S2", "Fine, thank you.", 3.0, 6.0),
    ]  # fmt: skip
    assert [word.text for word in pieces[1].words] == ["Fine", "thank", "you"]


def test_a_mandarin_sentence_is_cut_without_spaces():
    turns = [Turn(0.0, 2.0, 0), Turn(2.0, 4.0, 1)]
    pieces = attributed([sentence("你好，再见。", words=list("你好再见"))], turns)
    assert shown(pieces) == [[("S1", "你好，"), ("S2", "再见。")]]


def test_speakers_are_named_as_they_first_speak():
    turns = [Turn(0.0, 1.0, 5), Turn(1.0, 2.0, 3), Turn(2.0, 3.0, 5)]
    segments = [sentence("One.", 0.0), sentence("Two.", 1.0), sentence("Three.", 2.0)]
    assert shown(attributed(segments, turns)) == [[("S1", "One.")], [("S2", "Two.")], [("S1", "Three.")]]


def test_a_sentence_without_times_of_words_stays_whole():
    turns = [Turn(0.0, 2.5, 0), Turn(2.5, 4.0, 1)]
    pieces = attributed([Segment(0.0, 4.0, "Ja. Nein.")], turns)
    assert shown(pieces) == [[("S1", "Ja. Nein.")]]


def test_a_word_or_two_beside_a_border_is_no_turn():
    turns = [Turn(0.0, 3.05, 0), Turn(3.05, 6.0, 1)]
    (pieces,) = attributed([sentence("one two three four five six seven", each_s=0.5)], turns)
    assert [p.text for p in pieces] == ["one two three four five six seven"]


def test_words_that_a_number_format_rewrote_leave_the_sentence_whole():
    turns = [Turn(0.0, 2.0, 0), Turn(2.0, 4.0, 1)]
    pieces = attributed([sentence("2026", words=["twenty", "twenty", "six", "years"])], turns)
    assert shown(pieces) == [[("S1", "2026")]]


def test_the_places_of_hotwords_move_with_their_piece():
    strikes = (Strike(0.0, 1.0, "ann", "Anna", "Anna", 0), Strike(3.0, 4.0, "bop", "Bob", "Bob", 12))
    said = sentence("Anna is in. Bob is not in.")
    (pieces,) = attributed([replace(said, strikes=strikes)],
                           [Turn(0.0, 3.0, 0), Turn(3.0, 7.0, 1)])  # fmt: skip
    assert [[(s.meant, p.text[s.at : s.at + len(s.meant)]) for s in p.strikes] for p in pieces] == [
        [("Anna", "Anna")], [("Bob", "Bob")],
    ]  # fmt: skip


def test_without_speech_nobody_is_named():
    assert shown(attributed([sentence("Thank you.")], [])) == [[(None, "Thank you.")]]


def test_stretches_of_chunks_that_touch_are_one():
    chunks = [
        Chunk(1.0, np.zeros(16_000, np.float32), ((0.0, 1.0),)),
        Chunk(2.0, np.zeros(16_000, np.float32), ((0.0, 0.4), (0.6, 1.0))),
    ]
    assert speech_in(chunks) == [(1.0, 2.4), (2.6, 3.0)]


class Voices:
    """In place of CAM++: the first sample of a window is the number of its speaker."""

    def embed(self, windows, done):
        found = [np.eye(4)[int(window[0])] for window in windows]
        done(len(found))
        return np.array(found)


@pytest.mark.parametrize(("spans", "speakers"), [([], 0), ([(0.0, 0.2)], 1), ([(0.0, 9.0)], 2), ([(0.0, 4.0)], 1)])
def test_turns_of_a_recording(spans, speakers):
    samples = np.repeat(np.array([0, 1], np.float32), 5 * 16_000)
    told = []
    turns = find_turns(Audio(samples, "two.wav"), spans, Voices(), None, lambda done, total: told.append((done, total)))
    assert len({turn.speaker for turn in turns}) == speakers
    assert all(done <= total for done, total in told)

"""A corrected line keeps its start and end, and its unchanged words keep their times."""

from __future__ import annotations

import random

import pytest
from corrections.journals import timed

from asr_app.corrections.retime import retimed
from asr_app.datatypes import Segment, Word
from asr_app.scoring import normalise
from asr_app.subtitles import make_cues


def times(segment: Segment) -> list[tuple[float, float, str]]:
    return [(round(w.start_s, 3), round(w.end_s, 3), w.text) for w in segment.words]


def test_words_that_stayed_keep_their_times_and_new_ones_share_the_rest():
    line = retimed(timed(10, "we wreck a nice beach today"), "We recognise speech, today!")
    assert (line.start_s, line.end_s, line.text) == (10, 13, "We recognise speech, today!")
    # Fifteen letters share 10.5 to 12.5.
    assert times(line) == [(10, 10.5, "we"), (10.5, 11.7, "recognise"), (11.7, 12.5, "speech"), (12.5, 13, "today")]


def test_new_words_share_by_their_letters():
    line = retimed(timed(0, "a bb c"), "a xxx y c")
    assert times(line) == [(0, 0.5, "a"), (0.5, 0.875, "xxx"), (0.875, 1.0, "y"), (1.0, 1.5, "c")]


@pytest.mark.parametrize(
    ("said", "text", "expected"),
    [
        ("a b c", "a c", [(0, 0.5, "a"), (1.0, 1.5, "c")]),
        ("a b", "a b c", [(0, 0.5, "a"), (0.5, 1.0, "b"), (1.0, 1.0, "c")]),
        ("a b", "", []),
        ("a b", "…!", []),
        ("a b", "A, b.", [(0, 0.5, "a"), (0.5, 1.0, "b")]),
        ("don't go", "Don't stop", [(0, 0.5, "don't"), (0.5, 1.0, "stop")]),
    ],
)
def test_words_go_come_and_change_their_marks(said, text, expected):
    assert times(retimed(timed(0, said), text)) == expected


def test_characters_of_chinese_are_words_beside_those_of_english():
    words = [Word(0.1, 0.3, "今"), Word(0.3, 0.5, "天"), Word(0.6, 0.9, "weather"), Word(1.0, 1.2, "号")]
    line = retimed(Segment(0, 1.5, "今天weather号。", tuple(words)), "今天weather好。")
    assert times(line) == [(0.1, 0.3, "今"), (0.3, 0.5, "天"), (0.6, 0.9, "weather"), (0.9, 1.5, "好")]


def test_a_word_of_several_units_stays_whole_or_goes_whole():
    line = Segment(0, 2, "at 3.5 now", (Word(0, 0.5, "at"), Word(0.5, 1.5, "3.5"), Word(1.5, 2, "now")))
    assert times(retimed(line, "at 3.5 soon")) == [(0, 0.5, "at"), (0.5, 1.5, "3.5"), (1.5, 2, "soon")]
    assert [w.text for w in retimed(line, "at 3 now").words] == ["at", "3", "now"]
    assert [w.text for w in retimed(line, "at 3, say 5 now").words] == ["at", "3", "say", "5", "now"]


def test_a_line_without_times_of_words_stays_without():
    assert retimed(Segment(1, 2, "said"), "meant") == Segment(1, 2, "meant")


def test_times_never_go_back_nor_leave_the_line():
    draw = random.Random(5)
    for _ in range(200):
        said, text = (" ".join(draw.choices(["ab", "c'", "好", "d.e"], k=draw.randint(0, 8))) for _ in range(2))
        line = timed(3, said)
        new = retimed(line, text)
        edges = [edge for w in new.words for edge in (w.start_s, w.end_s)]
        assert edges == sorted(edges)
        assert all(line.start_s <= edge <= line.end_s for edge in edges)
        if line.words:
            assert [key for w in new.words for key in normalise(w.text)] == normalise(text)
        make_cues([new], new.end_s)  # subtitles can be made of it
        assert retimed(line, said) == line

"""Words lie in speech, and a sentence that was skipped finds its place between, or inside of, the others."""

from __future__ import annotations

import pytest

from asr_app import timing
from asr_app.datatypes import Segment, Word


def segment(text: str, *times: tuple[float, float]) -> Segment:
    """A segment whose words, split at spaces and without marks, have these times."""
    words = tuple(Word(*pair, word.strip(".,")) for pair, word in zip(times, text.split(), strict=True))
    return Segment(words[0].start_s, words[-1].end_s, text, words)


def times(segments: list[Segment]) -> list[list[tuple[float, float]]]:
    return [[(word.start_s, word.end_s) for word in s.words] for s in segments]


SPEECH = [(0.0, 2.0), (3.0, 5.0)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.5, 1.0), (0.5, 1.0)),  # nothing to mend
        ((2.1, 3.6), (3.0, 3.6)),  # begins in the pause before it
        ((1.9, 3.6), (3.0, 3.6)),  # begins with the last of what was said before the pause
        ((1.2, 2.7), (1.2, 2.0)),  # ends in the pause after it
        ((1.2, 3.1), (1.2, 2.0)),  # reaches over the pause, spoken before it
        ((2.5, 2.8), (3.0, 3.0)),  # wholly in the pause, just before speech
        ((2.1, 2.5), (2.1, 2.5)),  # wholly where the VAD hears nothing: it may be wrong
        ((5.0, 5.5), (5.0, 5.5)),
    ],
)
def test_a_word_does_not_reach_over_a_pause(given, expected):
    (found,) = timing.within_speech([segment("word", given)], SPEECH)
    assert times([found]) == [[expected]]
    assert (found.start_s, found.end_s) == expected


def test_a_word_without_length_goes_with_the_one_after_it():
    found = timing.within_speech([segment("I do", (2.4, 2.4), (2.4, 3.5))], SPEECH)
    assert times(found) == [[(3.0, 3.0), (3.0, 3.5)]]


def test_without_speech_or_words_nothing_changes():
    timed, untimed = segment("a b", (0, 1), (1, 2)), Segment(0.0, 1.0, "a")
    assert timing.within_speech([timed, untimed], ()) == [timed, untimed]


def test_spans_that_touch_are_one():
    assert timing.merged([(0, 1), (1.01, 2), (2.5, 3)]) == [(0, 2), (2.5, 3)]
    assert timing.merged([]) == []


LONG = segment("one two three, four five six.", (0, 1), (1, 2), (2, 3), (3, 8), (8, 9), (9, 10))


def test_a_segment_is_cut_at_a_stretch_in_its_middle():
    before, after = timing.around(LONG, 3.5, 7.0)
    assert (before.text, after.text) == ("one two three,", "four five six.")
    assert times([before, after]) == [[(0, 1), (1, 2), (2, 3)], [(7.0, 8), (8, 9), (9, 10)]]


@pytest.mark.parametrize(
    ("words", "stretch", "expected"),
    [
        (((0, 1), (6, 7), (7, 8), (8, 9)), (2, 5), (5, 9)),  # one word stayed before it, three are after it
        (((0, 1), (1, 2), (2, 3), (6, 9)), (4, 8), (0, 4)),  # one is after it
        (((1.7, 1.8), (1.8, 1.9), (6, 7), (7, 8)), (2, 5), (5, 8)),  # half of them, in 0.3 s
    ],
)
def test_a_scrap_of_a_sentence_joins_the_rest_of_it(words, stretch, expected):
    (found,) = timing.around(segment("a b c d", *words), *stretch)
    assert (found.start_s, found.end_s, found.text) == (*expected, "a b c d")
    assert all(a <= b for a, b in times([found])[0])


def test_a_segment_beside_a_stretch_stays():
    assert timing.around(LONG, 10.0, 12.0) == [LONG]
    assert timing.around(Segment(0.0, 9.0, "no words"), 2.0, 4.0) == [Segment(0.0, 9.0, "no words")]


def test_a_stretch_takes_back_what_a_first_word_has_of_its_speech():
    sentence = segment("I do not have it", (3.1, 3.6), (3.6, 8.2), (8.2, 8.4), (8.4, 8.6), (8.6, 9.0))
    assert timing.widened([sentence], [(0, 2), (3, 6), (7.5, 9)], 3.6, 6.0) == (3.1, 6.0)
    assert timing.widened([LONG], [(0, 10)], 3.5, 7.0) == (3.5, 7.0)  # three words before it are a part of a sentence


def test_segments_rise():
    found = timing.rising([segment("a b", (0, 1), (1, 3)), segment("c", (2, 2.5)), segment("d", (2, 5))])
    assert times(found) == [[(0, 1), (1, 3)], [(3, 3)], [(3, 5)]]

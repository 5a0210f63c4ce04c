"""The benchmark of live captions: a word counts from its end to its first appearance."""

from __future__ import annotations

import pytest

from asr_app.datatypes import Segment, Word
from asr_app.live.events import Final, Partial
from benchmarks.live import Heard, _delays, _figures


def segment(*words: tuple[str, float]) -> Segment:
    timed = tuple(Word(end_s - 0.3, end_s, text) for text, end_s in words)
    return Segment(timed[0].start_s, timed[-1].end_s, " ".join(w.text for w in timed) + ".", timed)


def test_delays_are_counted_from_the_ends_of_words():
    whole = [segment(("one", 1.0), ("two", 2.0), ("three", 3.0)), segment(("one", 6.0), ("four", 7.0))]
    heard = [
        Heard(2.0, Partial(0, 0.5, 1.8, "One.")),
        Heard(3.5, Partial(0, 0.5, 3.2, "One, too, three")),
        Heard(4.0, Final(0, 0.5, 3.3, (segment(("one", 1.0), ("two", 2.0), ("three", 3.0)),))),
        Heard(6.5, Partial(1, 5.0, 6.3, "one")),
        Heard(8.0, Final(1, 5.0, 7.3, (segment(("one", 6.0), ("for", 7.0)),))),
    ]
    found = _delays(whole, heard, 0.5)
    assert sorted(found.appearing) == pytest.approx([0.5, 0.5, 1.0, 2.0])
    assert found.finishing == pytest.approx([1.0, 1.0])
    assert (found.words, found.early, found.cores) == (5, 3, 0.5)
    assert found.difference == pytest.approx(1 / 5)
    figures = _figures([found])
    assert figures["words that appeared"] == 0.8
    assert figures["word's end to appearance, median s"] == 0.75

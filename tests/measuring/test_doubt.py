"""`benchmarks doubt`: which words are wrong, what a sign is worth, what a second pass buys."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.doubt.figures import Sample, auc, base_rate, best_threshold, detect
from benchmarks.doubt.labels import shared, wrong
from benchmarks.doubt.verify import Pair, verified


@pytest.mark.parametrize(
    ("said", "reference", "language", "expected"),
    [
        ("the cat sat", "The cat sat.", "en", [False, False, False]),
        ("the hat sat", "The cat sat.", "en", [False, True, False]),
        ("the the cat sat", "The cat sat.", "en", None),  # one of the two is surplus: see below
        ("cat sat", "The cat sat.", "en", [False, False]),  # what is missing has no word to be wrong
        ("don't go", "do not go", "en", [False, False]),
        ("twenty five men", "25 men", "en", None),  # numbers are read from several words
        ("你 号", "你好", "zh", [False, True]),
        ("後 面", "后面", "zh", [False, False]),  # the script is no error
        ("", "anything", "en", []),
    ],
)
def test_a_word_is_wrong_where_the_fewest_edits_say_so(said, reference, language, expected):
    labels = wrong(said.split(), reference, language)
    if said.startswith("the the"):
        assert sorted(labels) == [False, False, False, True]
    else:
        assert labels == expected


def test_words_are_shared_at_their_place():
    assert shared(["a", "b", "c"], ["a", "x", "c", "b"], "en") == [True, False, True]


RANDOM = np.random.default_rng(1)


def samples(shift: float, clips: int = 200, words: int = 8) -> list[Sample]:
    """Clips with a fifth of wrong words, whose sign is `shift` lower in the mean."""
    wrongs = RANDOM.random((clips, words)) < 0.2
    return [Sample(row, RANDOM.normal(0.0, 1.0, words) - shift * row) for row in wrongs]


def test_a_sign_without_information_is_at_chance():
    _, low, high = auc(samples(0.0), 200)
    assert low < 0.5 < high
    assert 0.03 < high - low < 0.12


def test_a_known_sign_has_its_known_area():
    """Two normal distributions `d` apart: the area is the normal distribution at d / sqrt 2."""
    area, low, high = auc(samples(1.5), 200)
    known = 0.5 * (1 + math.erf(1.5 / 2))
    assert low < known < high
    assert area == pytest.approx(known, abs=0.03)


def test_without_wrong_words_there_is_no_area():
    assert math.isnan(auc([Sample(np.array([False, False]), np.array([1.0, 2.0]))], 10)[0])


def test_precision_and_recall_of_a_threshold():
    sample = Sample(np.array([True, True, False, False, False]), np.array([0.1, 0.6, 0.2, 0.7, 0.8]))
    got = detect([sample], 0.5)
    assert (got.precision, got.recall, got.marked) == (0.5, 0.5, 0.4)
    assert base_rate([sample]) == 0.4
    threshold = best_threshold([sample])
    assert 0.6 < threshold < 0.7  # marks three, two of them wrong
    assert detect([sample], threshold).recall == 1.0


def test_words_of_the_same_sign_are_marked_together():
    sample = Sample(np.array([True, False, False]), np.array([0.5, 0.5, 0.9]))
    assert detect([sample], best_threshold([sample])).marked == pytest.approx(2 / 3)


def test_the_least_sure_clips_are_done_again():
    pairs = [Pair(2, 1, 10, 1.0, 2.0, 0.1, True), *[Pair(1, 3, 10, 1.0, 2.0, 0.9, True)] * 3]
    got = verified(pairs, 0.25)
    assert (got.share, got.error, got.cpu) == (0.25, 4 / 40, 1.5)
    assert got.difference[0] == pytest.approx(-1 / 40)
    assert got.chance == pytest.approx(0.25 * 5 / 40)
    assert verified(pairs, 1.0).error == 10 / 40

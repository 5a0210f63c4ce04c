"""Differences between two texts: units and their times, the fewest edits, the moves of cues, the blind round."""

from __future__ import annotations

import random
from collections import Counter

import jiwer
import pytest

from asr_app.compare import blind
from asr_app.compare.difference import align, count, cue_shift
from asr_app.compare.units import units_of
from asr_app.datatypes import Segment, Word


def said(*texts: str) -> list[Segment]:
    """Segments of two seconds each, without times of words."""
    return [Segment(2.0 * i, 2.0 * i + 2, text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("“Don't go!” he said: 'twas well-known.", ["dont", "go", "he", "said", "twas", "well", "known"]),
        ("“你好。”world再見", ["你", "好", "world", "再", "见"]),
        ("สวัสดีครับ", ["สวัสดี", "ครับ"]),
        ("3.5％ OK", ["3", "5", "ok"]),
        ("…", [""]),
    ],
)
def test_units_are_characters_or_words_and_keep_every_mark(text, keys):
    units = units_of(said(text))
    assert [unit.key for unit in units] == keys
    assert "".join(unit.text for unit in units) == text


def test_units_have_the_times_of_their_words_or_a_share_of_their_cue():
    words = (Word(0.1, 0.3, "你"), Word(0.5, 0.6, "好"), Word(0.8, 1.4, "world"))
    timed = units_of([Segment(0, 2, "你好，world。", words)])
    assert [(unit.start_s, unit.end_s) for unit in timed] == [(0.1, 0.3), (0.5, 0.6), (0.8, 1.4)]
    shared = units_of([Segment(10, 12, "ab cd")])
    assert [(unit.start_s, unit.end_s) for unit in shared] == [(10, 11), (11, 12)]


def test_texts_of_segments_are_joined_as_the_transcript_joins_them():
    assert "".join(unit.text for unit in units_of(said("Yes.", "No.", "对。", "错。"))) == "Yes. No. 对。错。"


def test_the_edits_are_as_few_as_jiwer_finds():
    draw = random.Random(3)
    for _ in range(50):
        one, two = (" ".join(draw.choices("abcd", k=draw.randint(1, 12))) for _ in range(2))
        first, other = units_of(said(one)), units_of(said(two))
        steps = align(first, other)
        least = jiwer.process_words(one, two)
        assert count(steps) <= least.substitutions + least.deletions + least.insertions
        assert [unit.key for step in steps for unit in first[slice(*step.first)]] == one.split()
        assert [unit.key for step in steps for unit in other[slice(*step.other)]] == two.split()
        for step in steps:
            same = [u.key for u in first[slice(*step.first)]] == [u.key for u in other[slice(*step.other)]]
            assert same == (step.kind == "equal")


def test_marks_and_case_are_no_difference():
    assert count(align(units_of(said("Well, yes!")), units_of(said("well yes")))) == 0


def test_moves_of_cues_count_where_both_begin_and_end():
    first, other = said("a b", "c d"), [Segment(0.1, 1.9, "a b"), Segment(2.3, 3.0, "c"), Segment(3.0, 4.0, "d")]
    units, others = units_of(first), units_of(other)
    shift = cue_shift(units, others, align(units, others), first, other)
    assert (shift.cues, shift.gone) == (4, 0)
    assert shift.median_s == pytest.approx(0.1)
    joined = [Segment(0.0, 4.0, "a b c d")]
    units_joined = units_of(joined)
    assert cue_shift(units, units_joined, align(units, units_joined), first, joined).gone == 2
    assert cue_shift(units, [], align(units, []), first, []).median_s is None


def _arms(length: int = 60) -> tuple[list, list]:
    words = [f"w{i}" for i in range(length)]
    wrong = [f"x{i}" if i % 5 == 2 else word for i, word in enumerate(words)]
    return units_of(said(*words)), units_of(said(*wrong))


def test_places_are_few_short_and_the_same_for_one_seed():
    first, other = _arms()
    steps = [align(first, other), align(first, first), align(first, other)]
    made = blind.places([first, other, first, other], steps, "seed")
    assert len(made) == blind.MOST_PLACES
    assert Counter(place.arm for place in made) == {1: 5, 3: 5}
    assert made == blind.places([first, other, first, other], steps, "seed")
    assert made != blind.places([first, other, first, other], steps, "another")
    for place in made:
        assert 0 <= place.start_s < place.end_s <= place.start_s + 10
        own = [side.own.strip() for side in place.sides]
        assert [text[0] for text in own] == (["x", "w"] if place.swapped else ["w", "x"])


def test_of_a_long_difference_the_beginning_is_judged():
    first, wrong = units_of(said(*"abcdefghijklmno")), units_of(said(*"pqrstuvwxyzpqrs"))
    (place,) = blind.places([first, wrong], [align(first, wrong)], "seed")
    assert place.end_s - place.start_s < 12
    assert sorted(side.own.split()[0] for side in place.sides) == ["a", "p"]


def test_nothing_differs_and_nothing_is_said():
    first, _ = _arms()
    assert blind.places([first, first], [align(first, first)], "seed") == []
    assert blind.places([[], []], [[]], "seed") == []


def test_the_sides_are_shuffled():
    first, other = _arms(3000)
    swapped = [
        place.swapped for seed in range(60) for place in blind.places([first, other], [align(first, other)], str(seed))
    ]
    assert 0.4 < sum(swapped) / len(swapped) < 0.6


@pytest.mark.parametrize(
    ("first", "other", "p"), [(5, 5, 1.0), (10, 0, 2 / 2**10), (8, 2, 2 * (1 + 10 + 45) / 2**10), (0, 0, 1.0)]
)
def test_the_sign_test_is_exact_and_ties_do_not_count(first, other, p):
    units, others = _arms()
    (place, *_) = blind.places([units, others], [align(units, others)], "seed")
    for_first, for_other = ("right", "left") if place.swapped else ("left", "right")
    votes = [(place, vote) for vote in [for_first] * first + [for_other] * other + ["same"] * 3]
    verdict = blind.verdict(votes, 1)
    assert (verdict.first, verdict.other, verdict.ties) == (first, other, 3)
    assert verdict.p == pytest.approx(p)
    assert blind.verdict(votes, 2) == blind.Verdict(0, 0, 0, 1.0)

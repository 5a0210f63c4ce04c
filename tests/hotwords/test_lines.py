"""Lists of hotwords that are taken, and those that are refused before any work."""

from __future__ import annotations

import time

import pytest

from asr_app import catalog
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.families.base import require
from asr_app.hotwords.lines import MAX_CHARACTERS, MAX_LINES, Line, bare, parse

WITHOUT = catalog.find("demo-paraformer")  # a model without hotwords of its own
WITH = catalog.find("demo-fun-asr")


@pytest.mark.parametrize(
    ("text", "heard", "meant"),
    [
        ("达摩院", "", "达摩院"),
        ("打磨院 => 达摩院", "打磨院", "达摩院"),
        ("caps  rider->CapsWriter", "caps rider", "CapsWriter"),
        ("a → b => c", "a", "b => c"),
    ],
)
def test_a_line_is_a_word_or_a_rule(text, heard, meant):
    assert parse(text) == Line(" ".join(text.split()), heard, meant)


def test_a_model_with_hotwords_takes_the_bare_ones():
    assert bare(["达摩院", "打磨院 => 达摩院", "two words"]) == ("达摩院", "two words")


@pytest.mark.parametrize("card", [WITHOUT, WITH], ids=["rules", "native"])
@pytest.mark.parametrize("line", ["=> x", "x =>", "! => x", "x => !", "...", "a\0b", "=>"])
def test_an_incomplete_line_is_refused_by_its_number(line, card):
    with pytest.raises(UserError, match="line 2 is incomplete") as error:
        require(card, Options(hotwords=("fine", line)))
    assert "第 2 行" in error.value.zh


def test_rules_that_contradict_each_other_are_refused():
    with pytest.raises(UserError, match="line 3 contradicts"):
        require(WITHOUT, Options(hotwords=("Cloud => Claude", "x", "cloud => Cloude")))
    require(WITHOUT, Options(hotwords=("Cloud => Claude", "cloud => Claude")))  # the same once more


@pytest.mark.parametrize(
    "hotwords",
    [("x",) * (MAX_LINES + 1), ("x" * 121,), ("x" * 100,) * 201, ("x" * 1_000_000,),
     tuple(f"word{i}" for i in range(100_000))],
    ids=["many", "long", "together", "a megabyte", "a megabyte of lines"],
)  # fmt: skip
def test_a_strangers_list_is_refused_at_once(hotwords):
    began = time.process_time()
    with pytest.raises(UserError, match="At most 1,000 lines of up to 120"):
        require(WITHOUT, Options(hotwords))
    assert time.process_time() - began < 1


def test_the_longest_list_is_taken():
    require(WITHOUT, Options(("x" * (MAX_CHARACTERS // MAX_LINES),) * MAX_LINES))


def test_rules_do_not_count_against_what_a_model_takes_itself():
    require(WITH, Options(tuple(f"heard{i} => meant{i}" for i in range(300))))
    with pytest.raises(UserError, match="At most 200"):
        require(WITH, Options(tuple(f"meant{i}" for i in range(300))))

"""What was measured on this machine decides what lite means, and is what the page says of the switch."""

from __future__ import annotations

import pytest

from asr_app import catalog, selfbench
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.precision import Evidence, Precision, choose
from asr_app.precision.evidence import Table
from asr_app.ui import render

CARD = catalog.find("demo-paraformer")
RECIPES = catalog.recipes(CARD)
FULL, LOW = Evidence(0.2, 100_000_000), Evidence(0.1, 30_000_000)


def test_evidence_outlives_the_process_that_measured_it(tmp_path):
    Table(tmp_path, "cpu", 2).note("m", Precision.INT8, "w1", LOW)
    later = Table(tmp_path, "cpu", 2)
    assert later.of("m") == {Precision.INT8: LOW}
    assert later.known("m", Precision.INT8, "w1")
    assert not later.known("m", Precision.INT8, "w2")
    assert not later.known("m", Precision.FP32, "w1")
    assert Table(tmp_path, "cpu", 4).of("m") == {}  # other threads, another speed
    assert Table(tmp_path, "cpu", 2).of("n") == {}


def test_other_weights_make_all_that_was_known_void(tmp_path):
    table = Table(tmp_path, "cpu", 2)
    table.note("m", Precision.FP32, "w1", FULL)
    table.note("m", Precision.INT8, "w2", LOW)
    assert table.of("m") == {Precision.INT8: LOW}


def test_a_failed_self_check_is_looked_at_again_at_the_next_start(tmp_path):
    table = Table(tmp_path, "cpu", 2)
    table.note("m", Precision.INT8, "w", Evidence(0.0, 1, "no text"))
    assert table.of("m")[Precision.INT8].reason == "no text"
    assert Table(tmp_path, "cpu", 2).of("m") == {}


@pytest.mark.parametrize("content", ["{", '{"int8": 3}', '{"int9": {}}', '{"int8": {"weights": "w", "odd": 1}}', "[]"])
def test_a_damaged_table_is_an_empty_one(tmp_path, content):
    Table(tmp_path, "cpu", 2).note("m", Precision.INT8, "w", LOW)
    (file,) = (tmp_path / "measured").iterdir()
    file.write_text(content)
    assert Table(tmp_path, "cpu", 2).of("m") == {}


def lite(measured):
    return choose(True, None, RECIPES, CARD.precisions, "cpu", measured)


def test_lite_is_what_was_measured_fastest_here():
    fast, slow = Evidence(0.1, 1), Evidence(0.2, 1)
    assert lite({}) is Precision.INT8
    assert lite({Precision.INT8: slow}) is Precision.INT8  # the other one may be slower still
    assert lite({Precision.INT8: slow, Precision.BF16: fast}) is Precision.BF16
    assert lite({Precision.INT8: fast, Precision.BF16: slow}) is Precision.INT8


def test_lite_is_never_what_failed_its_self_check():
    failed = Evidence(0.0, 1, "no text")
    assert lite({Precision.INT8: failed}) is Precision.BF16
    with pytest.raises(UserError, match="no lite variant"):
        lite({Precision.INT8: failed, Precision.BF16: failed})


def said(full, low):
    return render.evidence(None, {Precision.FP32: full, Precision.INT8: low}, Precision.INT8, "en")


def test_the_page_says_what_was_measured_and_never_faster_of_what_was_slower():
    assert "INT8 2.00 times as fast, 70 % smaller" in said(FULL, LOW)
    assert "INT8 slower (0.50 times as fast)" in said(LOW, FULL)
    assert "Not measured" in render.evidence(None, {Precision.FP32: FULL}, Precision.INT8, "en")


def test_what_failed_is_greyed_out_with_its_reason():
    shown = said(FULL, Evidence(0.0, 1, "numbers <not> finite"))
    assert "INT8: self-check failed: numbers &lt;not&gt; finite" in shown
    assert 'label:has(input[value="int8"])' in shown
    assert "faster" not in shown
    assert "<style>" not in said(FULL, LOW)
    assert "no lite variant" in render.evidence(None, {Precision.INT8: Evidence(0.0, 1, "x")}, None, "en")


@pytest.mark.models
def test_both_sides_are_measured_once_for_all_starts(tmp_path):
    engines = Engines("cpu", 2, "modelscope", cache=tmp_path)
    selfbench.both_sides(engines, CARD, Precision.FP32)
    found = engines.evidence.of(CARD.id)
    assert set(found) == {Precision.FP32, Precision.INT8}
    assert all(0 < e.rtf < 1 and not e.reason for e in found.values())
    assert found[Precision.INT8].weight_bytes < 0.5 * found[Precision.FP32].weight_bytes
    again = Engines("cpu", 2, "modelscope", cache=tmp_path)
    selfbench.both_sides(again, CARD, Precision.FP32)
    assert again.evidence.of(CARD.id) == found
    assert [x.precision.requested for x in again.resident()] == [Precision.FP32]  # nothing was loaded to measure


@pytest.mark.models
def test_with_no_room_for_both_the_model_in_use_stays(tmp_path):
    engines = Engines("cpu", 2, "modelscope", budget=20_000_000, cache=tmp_path)
    selfbench.both_sides(engines, CARD, Precision.FP32)
    assert [x.precision.requested for x in engines.resident()] == [Precision.FP32]
    assert set(engines.evidence.of(CARD.id)) == {Precision.FP32}

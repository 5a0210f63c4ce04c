"""The page shows measurements of this machine beside the switch; a precision that failed its self-check is not offered."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from asr_app import catalog, selfbench
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.precision import Evidence, Precision, Speed, choose, evidence
from asr_app.precision.evidence import Table
from asr_app.ui import render

CARD = catalog.find("demo-paraformer")
RECIPES = catalog.recipes(CARD)
FULL, LOW = Evidence(100_000_000), Evidence(30_000_000, speed=Speed(1.8, 2.0, 2.3))


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
    table.note("m", Precision.INT8, "w", Evidence(1, "no text"))
    assert table.of("m")[Precision.INT8].reason == "no text"
    assert Table(tmp_path, "cpu", 2).of("m") == {}


@pytest.mark.parametrize("content", ["{", '{"int8": 3}', '{"int9": {}}', '{"int8": {"weights": "w", "odd": 1}}', "[]"])
def test_a_damaged_table_is_an_empty_one(tmp_path, content):
    Table(tmp_path, "cpu", 2).note("m", Precision.INT8, "w", LOW)
    (file,) = (tmp_path / "measured").iterdir()
    file.write_text(content)
    assert Table(tmp_path, "cpu", 2).of("m") == {}


def test_a_new_table_knows_of_no_busy_machine(tmp_path):
    assert not Table(tmp_path, "cpu", 2).busy


@pytest.mark.parametrize(
    ("cpuinfo", "name"), [("vendor_id : x\nmodel name : Some 9 CPU\nmodel name : b", "Some 9 CPU"), ("", "arm")]
)
def test_the_processor_has_a_name(monkeypatch, cpuinfo, name):
    monkeypatch.setattr(evidence, "Path", lambda _: SimpleNamespace(read_text=lambda encoding: cpuinfo))
    monkeypatch.setattr(evidence.platform, "processor", lambda: "arm")
    assert evidence.processor.__wrapped__() == name


def lite(measured):
    return choose(True, None, RECIPES, CARD.precisions, "cpu", measured)


def test_lite_is_never_what_failed_its_self_check():
    failed = Evidence(1, "no text")
    assert lite({Precision.INT8: failed}) is Precision.BF16
    with pytest.raises(UserError, match="no lite variant"):
        lite({Precision.INT8: failed, Precision.BF16: failed})


def said(full, low, busy=False):
    return render.evidence(None, {Precision.FP32: full, Precision.INT8: low}, Precision.INT8, busy, "en")


def test_the_page_says_what_was_measured_with_its_spread():
    assert "INT8 2.0 times as fast (1.8–2.3), 70 % smaller" in said(FULL, LOW)
    same = Evidence(30_000_000, speed=Speed(0.9, 1.1, 1.2))
    assert "INT8 about as fast, 70 % smaller" in said(FULL, same)
    slower = Evidence(30_000_000, speed=Speed(0.4, 0.5, 0.6))
    assert "INT8 slower: 0.5 times as fast (0.4–0.6)" in said(FULL, slower)
    assert "measuring" in said(FULL, Evidence(30_000_000))
    assert "machine was busy" in said(FULL, Evidence(30_000_000), busy=True)


class Takes:
    """A stand-in for a loaded model whose recognition takes so many seconds, one after another."""

    def __init__(self, *seconds):
        self.card, self.seconds = CARD, iter(seconds)


@pytest.fixture
def measured(monkeypatch):
    """Ratios of seconds that are given, on a machine where other programs take `others` of a second of CPU."""

    def compare(full, lite, others=0.0, idle=lambda: True):
        worked = iter([0.0, others + 1.0])
        own = iter([0.0, 1.0])
        monkeypatch.setattr(selfbench.pipeline, "cut", lambda _audio, _loaded: ([], 0.0))
        monkeypatch.setattr(selfbench, "_seconds", lambda loaded, _chunks: next(loaded.seconds))
        monkeypatch.setattr(selfbench, "_busy_s", lambda: next(worked))
        monkeypatch.setattr(selfbench.time, "process_time", lambda: next(own))
        return selfbench.compare(Takes(*full), Takes(*lite), idle)

    return compare


def test_the_first_round_and_the_outermost_ratios_do_not_count(measured):
    full = [9.0, 4.0, 2.0, 2.2, 2.4, 2.6, 2.8, 0.1]
    assert measured(full, [1.0] * 8) == Speed(2.0, 2.4, 2.8)


def test_what_is_measured_beside_other_programs_or_somebody_who_waits_does_not_count(measured):
    assert measured([2.0] * 8, [1.0] * 8, others=1e9) is None
    assert measured([2.0] * 8, [1.0] * 8, idle=lambda: False) is None


def test_what_failed_is_greyed_out_with_its_reason():
    shown = said(FULL, Evidence(1, "numbers <not> finite"))
    assert "INT8: self-check failed: numbers &lt;not&gt; finite" in shown
    assert 'label:has(input[value="int8"])' in shown
    assert "faster" not in shown
    assert "<style>" not in said(FULL, LOW)
    assert "no lite variant" in render.evidence(None, {Precision.INT8: Evidence(1, "x")}, None, False, "en")


@pytest.mark.models
def test_both_sides_are_measured_once_for_all_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(selfbench, "_MOST_OTHER_LOAD", 1e9)  # whatever else runs beside the tests
    engines = Engines("cpu", 2, "modelscope", cache=tmp_path)
    selfbench.both_sides(engines, CARD, Precision.FP32, lambda: True)
    found = engines.evidence.of(CARD.id)
    assert set(found) == {Precision.FP32, Precision.INT8}
    speed = found[Precision.INT8].speed
    assert 0 < speed.low <= speed.median <= speed.high
    assert found[Precision.INT8].weight_bytes < 0.5 * found[Precision.FP32].weight_bytes
    again = Engines("cpu", 2, "modelscope", cache=tmp_path)
    selfbench.both_sides(again, CARD, Precision.FP32, lambda: True)
    assert again.evidence.of(CARD.id) == found
    assert [x.precision.requested for x in again.resident()] == [Precision.FP32]  # nothing was loaded to measure


@pytest.mark.models
def test_with_no_room_for_both_the_model_in_use_stays(tmp_path):
    engines = Engines("cpu", 2, "modelscope", budget=20_000_000, cache=tmp_path)
    selfbench.both_sides(engines, CARD, Precision.FP32, lambda: True)
    assert [x.precision.requested for x in engines.resident()] == [Precision.FP32]
    assert engines.evidence.of(CARD.id) == {}

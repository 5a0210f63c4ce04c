"""Models made ready in the background: what the page is told, and what answers where one does not come."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time

import pytest

from asr_app import catalog, startup
from asr_app.errors import UserError
from asr_app.precision import Precision
from asr_app.startup import Preparer
from asr_app.ui import arrival, render
from asr_app.ui.texts import TEXTS

WANTED, FALLBACK, OTHER = (catalog.CARDS[c] for c in ("whisper-base", "demo-paraformer", "sensevoice-small"))
GONE = UserError("no source gave it", "没有来源")


class FakeEngines:
    """Downloads in three steps, each let through by `step`; what is in `missing` fails."""

    def __init__(self, *missing: str) -> None:
        self.missing = set(missing)
        self.used: list[str] = []
        self.step = threading.Semaphore(0)

    @contextlib.contextmanager
    def use(self, card, _precision, on_progress, _on_step, _stop):
        self.used.append(card.id)
        if card.id in self.missing:
            raise GONE
        if card.note != "demo":
            for done in (10, 50, 100):
                assert self.step.acquire(timeout=10)
                on_progress(done, 100)
        yield type("Loaded", (), {"fresh": True})()


def wait_until(true) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_start_shows_bytes_and_then_loading_and_measures_what_is_ready():
    engines, ready = FakeEngines(), []
    preparer = Preparer(engines, WANTED, FALLBACK, lambda card, _: ready.append(card.id))
    preparer.begin(WANTED, Precision.FP32)
    engines.step.release(2)
    wait_until(lambda: preparer.current.done == 50)
    assert (preparer.current.stage, preparer.current.total) == ("downloading", 100)
    engines.step.release()
    wait_until(lambda: ready)
    assert ready == [WANTED.id]
    assert (preparer.current, preparer.failure, preparer.home) == (None, None, WANTED.key)


def test_what_cannot_be_had_is_answered_for_by_the_fallback_until_a_retry_brings_it():
    engines = FakeEngines(WANTED.id)
    preparer = Preparer(engines, WANTED, FALLBACK)
    preparer.begin(WANTED, Precision.INT8)
    wait_until(lambda: preparer.current is None)
    assert (preparer.failure.error, preparer.failure.instead, preparer.home) == (GONE, FALLBACK, FALLBACK.key)
    engines.missing.clear()
    engines.step.release(3)
    preparer.retry()
    wait_until(lambda: preparer.current is None)
    assert engines.used == [WANTED.id, FALLBACK.id, WANTED.id]
    assert (preparer.failure, preparer.home) == (None, WANTED.key)


def test_another_model_that_fails_leaves_the_start_as_it_is():
    engines = FakeEngines(OTHER.id)
    preparer = Preparer(engines, WANTED, FALLBACK)
    preparer.begin(OTHER, Precision.FP32)
    wait_until(lambda: preparer.current is None)
    assert (preparer.failure.card, preparer.failure.instead, preparer.home) == (OTHER, None, WANTED.key)
    assert engines.used == [OTHER.id]


def test_a_second_model_waits_for_the_first_and_a_stop_ends_the_first_alone():
    engines = FakeEngines()
    preparer = Preparer(engines, WANTED, FALLBACK)
    preparer.begin(WANTED, Precision.FP32)
    for card in (OTHER, WANTED, OTHER):  # asked for twice is fetched once
        preparer.begin(card, Precision.FP32)
    assert [card.id for card, _ in preparer.waiting] == [OTHER.id]
    preparer.stop()
    engines.step.release(4)
    wait_until(lambda: preparer.current is None)
    assert engines.used == [WANTED.id, FALLBACK.id, OTHER.id]
    assert "stopped" in preparer.failure.error.en


def test_closing_ends_the_download_and_what_waits():
    engines = FakeEngines()
    preparer = Preparer(engines, WANTED, FALLBACK)
    preparer.begin(WANTED, Precision.FP32)
    preparer.begin(OTHER, Precision.FP32)
    engines.step.release()
    preparer.close()
    assert preparer.current is None
    assert OTHER.id not in engines.used


def test_a_defect_while_loading_falls_back_and_says_where_to_look(caplog):
    engines = FakeEngines()

    @contextlib.contextmanager
    def broken(card, *_):
        if card is WANTED:
            raise ZeroDivisionError
        yield type("Loaded", (), {"fresh": True})()

    engines.use = broken
    preparer = Preparer(engines, WANTED, FALLBACK)
    preparer.begin(WANTED, Precision.FP32)
    wait_until(lambda: preparer.current is None)
    assert "ZeroDivisionError" in preparer.failure.error.en
    assert preparer.home == FALLBACK.key
    assert "Traceback" in caplog.text


def test_the_time_left_does_not_count_bytes_of_an_earlier_try(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(startup.time, "monotonic", lambda: now[0])
    pace = startup._Pace()
    assert pace.left_s(50, 100) is None
    now[0] = 10.0
    assert pace.left_s(60, 100) == pytest.approx(40.0)
    assert pace.left_s(0, 0) is None  # of unknown length


def test_the_bar_has_bytes_of_bytes_and_the_time_left_in_both_languages():
    current = startup.Preparation(WANTED, Precision.FP32, "downloading", 43_000_000, 145_000_000, 61.0)
    english, chinese = (arrival.progress(current, [OTHER], language) for language in ("en", "zh"))
    assert "Downloading Whisper base" in english
    assert "43.0 MB of 145 MB · 1:01 left" in english
    assert 'aria-valuenow="30"' in english
    assert "Next: SenseVoice Small." in english
    assert "43.0 MB / 145 MB · 剩余 1:01" in chinese
    loading = arrival.progress(dataclasses.replace(current, stage="loading", done=0, total=0), [], "en")
    assert "aria-valuenow" not in loading


def test_a_failure_is_one_sentence_and_its_reason_is_escaped():
    error = UserError("<b>why</b>", "为什么")
    shown = arrival.failed(startup.Failure(WANTED, Precision.FP32, error, FALLBACK), "en")
    assert "Whisper base could not be made ready; the demo model answers in its place." in shown
    assert "&lt;b&gt;why" in shown


@pytest.mark.parametrize(
    ("low", "median", "high", "english", "chinese"),
    [
        (1.9, 2.24, 2.5, "2.2 times as fast (1.9–2.5), 74 % smaller", "速度为 2.2 倍（1.9–2.5），体积小 74 %"),
        (0.9, 1.2, 1.4, "about as fast, 74 % smaller", "速度相近，体积小 74 %"),
        (1.01, 1.03, 1.05, "about as fast, 74 % smaller", "速度相近，体积小 74 %"),
        (0.5, 0.62, 0.7, "slower: 0.6 times as fast (0.5–0.7), 74 % smaller", "更慢：速度为 0.6 倍（0.5–0.7），体积小 74 %"),
    ],
)  # fmt: skip
def test_the_sentence_beside_the_switch(low, median, high, english, chinese):
    assert render.speed_sentence(low, median, high, 0.74, "en") == english
    assert render.speed_sentence(low, median, high, 0.74, "zh") == chinese


def test_before_a_measurement_counts_the_switch_says_so():
    assert render.speed_unknown(False, "en") == "measuring ..."
    assert "busy" in render.speed_unknown(True, "en")


def test_sizes_are_told_in_units_that_people_read():
    assert [render.megabytes(x) for x in (5_600_000, 145_217_532, 2_000_000_000)] == ["5.6 MB", "145 MB", "2.0 GB"]


def test_every_published_model_says_what_it_is_good_for():
    for card in catalog.CARDS.values():
        assert card.good_for in TEXTS, card.id

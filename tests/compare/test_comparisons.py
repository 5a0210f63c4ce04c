"""A comparison is jobs in the journal: same chunks for all arms, votes that stay, and nothing left of a refused one."""

from __future__ import annotations

import dataclasses
import time

import pytest
from conftest import EXAMPLE
from fakes import FakeEngine, FakeEngines, jobs, recording, wait  # noqa: F401 (fixtures)

from asr_app import audio, catalog, loading, pipeline
from asr_app.audio import Limits
from asr_app.compare.comparisons import Comparisons
from asr_app.datatypes import Options, Segment, Word
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.precision import Precision
from asr_app.ui.compare import render

PARAFORMER, WHISPER = catalog.find("demo-paraformer"), catalog.find("demo-whisper")
BOTH = [(PARAFORMER, Precision.FP32), (PARAFORMER, Precision.INT8)]


@pytest.fixture
def comparisons(jobs):
    return Comparisons(jobs)


def finished(comparisons: Comparisons, comparison: str):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = comparisons.find(comparison)
        if found.finished:
            return found
        time.sleep(0.05)
    raise AssertionError([arm.status for arm in found.arms])


def test_arms_run_one_after_the_other_and_are_aligned(comparisons, jobs, recording):
    comparison = comparisons.begin(recording, "two words.wav", BOTH, Options(), "  w1 w2 ", judge=True)
    jobs.start()
    found = finished(comparisons, comparison)
    assert [arm.precision for arm in found.arms] == [Precision.FP32, Precision.INT8]
    assert (found.name, found.reference, found.blind) == ("two words.wav", "w1 w2", True)
    compared = comparisons.compared(found)
    assert len(compared.latencies[0]) == len(compared.views[0].segments) > 5
    assert all(seconds >= 0 for seconds in compared.latencies[0])
    # The fake engine goes on counting: every word of the second arm is another one.
    assert all(step.kind != "equal" for step in compared.steps[0])
    done = compared.views[0].transcript
    assert done.load_s == 2.0
    assert done.memory["peak_added"] > 0


def test_models_that_are_cut_differently_get_the_same_chunks(comparisons, jobs, recording, monkeypatch):
    lengths: list[list[int]] = []
    taken = jobs.journal.take

    def take():
        if (task := taken()) is not None:
            lengths.append([])
        return task

    def transcribe(_self, batch, _options):
        lengths[-1] += [len(samples) for samples in batch]
        return [[Segment(0.1, 0.4, "well", (Word(0.1, 0.4, "well"),))] for _ in batch]

    monkeypatch.setattr(jobs.journal, "take", take)
    monkeypatch.setattr(FakeEngine, "transcribe", transcribe)
    arms = [(WHISPER, Precision.FP32), (PARAFORMER, Precision.FP32), (WHISPER, Precision.INT8)]
    comparison = comparisons.begin(recording, "x.wav", arms, Options(language="en"))
    jobs.start()
    finished(comparisons, comparison)
    assert len(lengths[0]) > 5
    assert sorted(lengths[0]) == sorted(lengths[1]) == sorted(lengths[2])
    options = [jobs.journal.task(arm.job).options for arm in comparisons.find(comparison).arms]
    assert [asked.cuts for asked in options] == [(PARAFORMER.max_chunk_s, PARAFORMER.max_gap_s)] * 3
    assert [asked.language for asked in options] == ["en", None, "en"]  # the demo of Paraformer has no such option


@pytest.mark.models
def test_shared_cuts_replace_those_of_the_model():
    loaded = loading.load(WHISPER, Precision.FP32, "cpu", 1, "modelscope")
    sound = audio.decode(EXAMPLE / "english-home.flac")
    own, _ = pipeline.cut(sound, loaded)
    short, _ = pipeline.cut(sound, loaded, (2.0, 0.1))
    assert len(short) > len(own)
    assert max(chunk.end_s - chunk.start_s for chunk in short) <= 2.0


@pytest.mark.parametrize(
    "arms", [[], BOTH[:1], BOTH[:1] * 3, [(c, p) for c in (PARAFORMER, WHISPER) for p in list(Precision)[:3]]]
)
def test_too_few_and_too_many_arms_are_refused(comparisons, jobs, recording, arms):
    with pytest.raises(UserError, match="2 to 4"):
        comparisons.begin(recording, "x.wav", arms, Options())
    assert jobs.journal.idle()


def test_a_refused_arm_leaves_no_other(comparisons, jobs, recording, monkeypatch):
    monkeypatch.setattr("asr_app.jobs.MOST_WAITING", 1)
    with pytest.raises(UserError, match="waiting already"):
        comparisons.begin(recording, "x.wav", BOTH, Options())
    assert jobs.journal.idle()


def test_a_double_click_begins_one_comparison(comparisons, jobs, recording):
    first = comparisons.begin(recording, "x.wav", BOTH, Options())
    assert comparisons.begin(recording, "x.wav", BOTH, Options(), before=first) == first
    assert comparisons.begin(recording, "x.wav", BOTH[::-1], Options(), before=first) != first


def test_votes_are_kept_in_order_until_the_end_of_the_round(comparisons, recording):
    comparison = comparisons.begin(recording, "x.wav", BOTH, Options(), judge=True)
    comparisons.vote(comparison, 0, "left")
    comparisons.vote(comparison, 0, "right")  # a second click on the same place
    comparisons.vote(comparison, 5, "right")
    comparisons.vote(comparison, 1, "neither")
    comparisons.vote(comparison, 1, "same")
    assert comparisons.find(comparison).votes == ("left", "same")
    comparisons.reveal(comparison)
    comparisons.vote(comparison, 2, "left")
    found = comparisons.find(comparison)
    assert (found.votes, found.blind) == (("left", "same"), False)
    comparisons.vote("unknown", 0, "left")
    assert comparisons.find("unknown") is None


def test_votes_of_a_round_do_not_align_the_texts_anew(comparisons, jobs, recording, monkeypatch):
    comparison = comparisons.begin(recording, "a.wav", BOTH, Options(), judge=True)
    jobs.start()
    first = comparisons.compared(finished(comparisons, comparison))
    comparisons.vote(comparison, 0, "left")
    assert comparisons.compared(comparisons.find(comparison)) is first
    comparisons.reveal(comparison)
    comparisons.compared(comparisons.find(comparison))
    assert comparisons.compared(comparisons.find(comparison)) is not first  # the memory of hours of text is given back


def test_a_comparison_goes_on_after_the_server_died(jobs, recording, tmp_path):
    comparison = Comparisons(jobs).begin(recording, "x.wav", BOTH, Options())
    jobs.journal.take()  # it ran when the process died
    again = Jobs(Journal(tmp_path / "home"), FakeEngines(), Limits())
    again.start()
    try:
        found = finished(Comparisons(again), comparison)
        assert [arm.status.state for arm in found.arms] == ["done", "done"]
    finally:
        again.stop()


def test_cancel_ends_every_arm_and_what_is_removed_leaves_nothing(comparisons, jobs, recording):
    comparison = comparisons.begin(recording, "x.wav", BOTH, Options())
    comparisons.remove(comparison)
    assert comparisons.find(comparison) is not None  # not while it waits
    comparisons.cancel(comparison)
    found = comparisons.find(comparison)
    assert [arm.status.state for arm in found.arms] == ["cancelled", "cancelled"]
    assert comparisons.compared(found) is None
    comparisons.remove(comparison)
    assert comparisons.find(comparison) is None
    assert not list(jobs.journal.recordings.iterdir())


def test_an_arm_that_fails_is_said_and_the_others_are_compared(comparisons, jobs, recording, monkeypatch):
    arms = [*BOTH, (PARAFORMER, Precision.BF16)]
    comparison = comparisons.begin(recording, "x.wav", arms, Options())
    use = FakeEngines.use

    def failing(self, card, precision, *rest, **more):
        if precision is Precision.INT8:
            raise UserError("needs 6.2 GB of memory", "需要 6.2 GB 内存")
        return use(self, card, precision, *rest, **more)

    monkeypatch.setattr(FakeEngines, "use", failing)
    jobs.start()
    found = finished(comparisons, comparison)
    compared = comparisons.compared(found)
    assert [arm.precision for arm in compared.arms] == [Precision.FP32, Precision.BF16]
    assert "6.2 GB" in render.arms_progress(found, "en")
    assert "BF16" in render.results(found, compared, "en")


def test_what_was_said_and_named_is_escaped(comparisons, jobs, recording, monkeypatch):
    said = "<img src=x onerror=alert(1)>"
    comparison = comparisons.begin(recording, said, BOTH, Options(), judge=True)
    jobs.start()
    found = finished(comparisons, comparison)
    compared = comparisons.compared(found)
    segments = tuple(dataclasses.replace(s, text=f"{said} {s.text}") for s in compared.views[1].segments)
    changed = dataclasses.replace(compared.views[1].transcript, segments=segments)
    view = dataclasses.replace(compared.views[1], segments=segments, transcript=changed)
    monkeypatch.setattr(jobs.journal, "view", lambda job: view if job == found.arms[1].job else compared.views[0])
    compared = comparisons.compared(found)
    html = render.judging(found, compared, "zh") + render.results(found, compared, "en")
    assert "onerror" in html
    assert "<img" not in html

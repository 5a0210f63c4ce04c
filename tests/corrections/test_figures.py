"""Scripted corrections give the same error as the references they were made from, for every model and precision."""

from __future__ import annotations

import json
import random
import re

import pytest
from conftest import DATA, EXAMPLE
from corrections.journals import MODEL, done, timed

from asr_app.corrections.figures import tally
from asr_app.corrections.references import References, texts_by_line
from asr_app.corrections.store import Corrections
from asr_app.datatypes import Options, Segment, StageTimes, Word
from asr_app.examples import EXAMPLES
from asr_app.journal import Journal
from asr_app.precision import Precision
from asr_app.scoring import score

INT8, FP32 = Precision.INT8, Precision.FP32


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


def damaged(text: str, draw: random.Random) -> str:
    """The text with some of its words or characters gone, changed or doubled."""
    units = text.split() if " " in text else list(text)
    said = []
    for unit in units:
        fate = draw.random()
        said += [] if fate < 0.1 else ["xx"] if fate < 0.2 else [unit, unit] if fate < 0.25 else [unit]
    return (" " if " " in text else "").join(said)


def figures(journal: Journal):
    return {(f.model, f.precision): f for f in tally(References(journal).all()).figures}


def spoken_texts() -> list[str]:
    table = DATA / "speech" / "refs.tsv"
    if table.is_file():
        return [line.split("\t")[2] for line in table.read_text(encoding="utf-8").splitlines()][:200]
    clips = json.loads((EXAMPLE / "expected.json").read_text(encoding="utf-8"))
    return [clip["text"] for clip in clips.values()]


def test_scripted_corrections_give_the_error_of_the_references_they_were_made_from(journal):
    """A person corrects every line that is not the reference, and confirms the others."""
    draw = random.Random(1)
    references = spoken_texts()
    corrections = Corrections(journal)
    pairs = []
    for start in range(0, len(references), 10):
        texts = references[start : start + 10]
        said = [text if draw.random() < 0.3 else damaged(text, draw) for text in texts]
        job = done(journal, f"job{start}", [timed(10.0 * i, text, 0.1) for i, text in enumerate(said)])
        for line, (reference, text) in enumerate(zip(texts, said, strict=True)):
            if " ".join(reference.split()) == text:
                corrections.confirm(job, line, 0)
            else:
                corrections.correct(job, line, reference, 0)
            pairs.append((reference, text))
    found = figures(journal)[MODEL, INT8]
    assert found.score == score(pairs)
    assert found.lines == len(references)
    assert 0.02 < found.score.rate < 0.4
    assert found.right == found.score.units - found.score.substitutions - found.score.deletions


def test_only_lines_that_a_person_judged_count(journal):
    corrections = Corrections(journal)
    done(journal, "job", [timed(0, "a b"), timed(2, "c d"), timed(4, "e f"), timed(6, "g h")])
    corrections.correct("job", 0, "a x", 0)
    corrections.confirm("job", 1, 0)
    corrections.correct("job", 2, "e x", 0)
    corrections.put_back("job", 2, corrections.line("job", 2).change.number)
    counted = tally(References(journal).all())
    (figure,) = counted.figures
    assert (figure.score.errors, figure.score.units, figure.right, figure.lines) == (1, 4, 3, 2)
    assert (counted.corrected, counted.confirmed, counted.recordings, counted.same_lines) == (1, 1, 1, True)


def test_a_line_in_which_nothing_is_said_counts_what_the_model_made_up(journal):
    done(journal, "job", [timed(0, "thank you"), timed(2, "c d")])
    Corrections(journal).correct("job", 0, "", 0)
    Corrections(journal).confirm("job", 1, 0)
    (figure,) = tally(References(journal).all()).figures
    assert (figure.score.insertions, figure.score.units, figure.score.rate, figure.right) == (2, 2, 1.0, 2)


def test_a_line_counts_for_every_precision_that_had_the_same_recording(journal):
    done(journal, "int8", [timed(0, "we wreck a nice beach"), timed(3, "today")], INT8, digest="d")
    done(journal, "fp32", [timed(0, "we recognise speech today")], FP32, digest="d")
    done(journal, "elsewhere", [timed(0, "something else altogether")], FP32, digest="e")
    done(journal, "undigested", [timed(0, "from an older version")], Precision.BF16)
    done(
        journal,
        "translated",
        [timed(0, "wir erkennen sprache")],
        Precision.FP16,
        digest="d",
        options=Options(translate=True),
    )
    Corrections(journal).correct("int8", 0, "we recognise speech", 0)
    found = figures(journal)
    assert set(found) == {(MODEL, INT8), (MODEL, FP32)}
    assert found[MODEL, FP32].score.errors == 0
    assert found[MODEL, INT8].score == score([("we recognise speech", "we wreck a nice beach")])
    Corrections(journal).confirm("int8", 1, 0)
    found = figures(journal)[MODEL, FP32]
    assert (found.lines, found.score.errors, found.score.units) == (2, 0, 4)
    assert tally(References(journal).all()).same_lines
    done(journal, "alone", [timed(0, "for itself")], INT8)
    Corrections(journal).confirm("alone", 0, 0)
    assert not tally(References(journal).all()).same_lines
    assert {arm: f.lines for arm, f in figures(journal).items()} == {(MODEL, INT8): 3, (MODEL, FP32): 2}


def test_the_lines_own_job_counts_before_others_and_newer_ones_before_older(journal):
    for job, text in (("own", "a b c"), ("first", "a x x"), ("second", "a x y")):
        done(journal, job, [timed(0, text)], INT8 if job == "own" else FP32, digest="d")
        done(journal, f"{job} again", [timed(0, "x x x")], INT8, digest="d")
    with journal.transaction() as db:
        db.execute("UPDATE jobs SET created = CASE id WHEN 'first' THEN 1 WHEN 'second' THEN 2 ELSE 3 END")
    Corrections(journal).confirm("own", 0, 0)
    (reference,) = References(journal).all()
    assert reference.said == {(MODEL, INT8): "a b c", (MODEL, FP32): "a x y"}


def test_one_stretch_that_was_corrected_in_two_jobs_counts_once(journal):
    for job, precision in (("one", INT8), ("two", FP32)):
        done(journal, job, [timed(0, "a b c d"), timed(4, "e")], precision, digest="d")
        Corrections(journal).correct(job, 0, f"a b c {job}", 0)
    counted = tally(References(journal).all())
    assert [figure.lines for figure in counted.figures] == [1, 1]
    assert [reference.text for reference in References(journal).all()] == ["a b c two"]
    Corrections(journal).confirm("one", 1, 0)
    assert [figure.lines for figure in tally(References(journal).all()).figures] == [2, 2]


def test_an_alignment_is_remembered_but_new_lines_of_a_running_job_are_seen(journal):
    done(journal, "fp32", [timed(0, "a b"), timed(5, "c d")], FP32, digest="d")
    journal.add("job", "x.wav", journal.recordings / "x.wav", MODEL, INT8, Options(), digest="d")
    journal.write_chunk("job", 1.0, [timed(0, "a x")], (), 1.0, 2.0, 1.0, StageTimes())
    references = References(journal)
    Corrections(journal).correct("job", 0, "a b", 0)
    assert {f.precision: f.score.errors for f in tally(references.all()).figures} == {FP32: 2, INT8: 1}
    journal.write_chunk("job", 6.0, [timed(5, "c y")], (), 2.0, 2.0, 0.0, StageTimes())
    assert {f.precision: f.score.errors for f in tally(references.all()).figures} == {FP32: 0, INT8: 1}


def test_a_damaged_job_is_left_out(journal):
    done(journal, "good", [timed(0, "a b")])
    done(journal, "bad", [timed(0, "c d")])
    for job in ("good", "bad"):
        Corrections(journal).confirm(job, 0, 0)
    with journal.transaction() as db:
        db.execute("UPDATE segments SET body = '[{}]' WHERE job = 'bad'")
    assert [reference.job for reference in References(journal).all()] == ["good"]


def test_words_of_another_transcript_go_to_the_line_that_has_them():
    lines = [timed(0, "one two three"), timed(2, "four five"), timed(4, "six")]
    other = [timed(0.9, "one two"), timed(2.4, "three four five six", 0.1)]  # other cues, other times
    assert texts_by_line(lines, other) == ["one two three", "four five", "six"]


def test_words_that_differ_go_by_their_time_and_never_past_those_that_do_not():
    lines = [timed(0, "one two"), timed(2, "three four")]
    assert texts_by_line(lines, [timed(0, "one too tree four", 0.8)]) == ["one too", "tree four"]
    late = [Segment(0, 9, "x one y two z", tuple(Word(8, 9, w) for w in ["x", "one", "y", "two", "z"]))]
    assert texts_by_line(lines, late) == ["x one y two", "z"]
    assert texts_by_line(lines, []) == ["", ""]
    assert texts_by_line([], lines) == []


def test_no_unit_is_lost_or_doubled_between_the_lines():
    draw = random.Random(2)
    for _ in range(100):
        lines = [timed(2.0 * i, " ".join(draw.choices("abcd", k=3))) for i in range(draw.randint(1, 5))]
        other = [timed(1.5 * i, " ".join(draw.choices("abcde", k=draw.randint(1, 4)))) for i in range(4)]
        assert " ".join(" ".join(texts_by_line(lines, other)).split()) == " ".join(s.text for s in other)


@pytest.mark.models
def test_demo_clips_corrected_by_their_texts_give_the_error_that_scoring_gives(tmp_path, expected):
    """Both sides of the switch, through the queue, on the demo model."""
    from fakes import wait

    from asr_app.audio import Limits
    from asr_app.engines import Engines
    from asr_app.jobs import Jobs

    jobs = Jobs(Journal(tmp_path / "home"), Engines("cpu", 1, "modelscope"), Limits())
    jobs.start()
    try:
        said = {}
        for name in expected:
            for precision in (FP32, INT8):
                job = jobs.submit(EXAMPLES / name, name, MODEL, precision, Options())
                said[name, precision] = wait(jobs, job, lambda v: v.finished, 120)
    finally:
        jobs.stop()
    corrections, pairs = Corrections(jobs.journal), {FP32: [], INT8: []}
    for name, clip in expected.items():
        full, lite = (said[name, precision].transcript.segments for precision in (FP32, INT8))
        references = re.findall(r"[^.?!。？！]+[.?!。？！]", clip["text"])
        if not len(references) == len(full) == len(lite):
            continue
        for line, reference in enumerate(references):
            corrections.correct(said[name, INT8].id, line, f"{reference} {line}", 0)  # not one of them is right
            for precision, lines in ((FP32, full), (INT8, lite)):
                pairs[precision].append((f"{reference} {line}", lines[line].text))
    assert len(pairs[INT8]) >= 6
    found = figures(jobs.journal)
    for precision, texts in pairs.items():
        assert found[MODEL, precision].score == score(texts)
        assert found[MODEL, precision].lines == len(texts)
        assert found[MODEL, precision].score.errors >= len(texts)

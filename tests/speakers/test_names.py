"""Names that a person gives to speakers: kept in the journal, in every export, taken back."""

from __future__ import annotations

import dataclasses
import sys

import pytest

sys.path.insert(0, str(__import__("pathlib").Path(__file__).parent.parent / "corrections"))
from journals import done, timed

from asr_app.corrections.store import Corrections, Counts, Overtaken
from asr_app.errors import UserError
from asr_app.formats import write
from asr_app.journal import Journal
from asr_app.people import People
from asr_app.rows import replace_segments


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path)


@pytest.fixture
def job(journal):
    """Two sentences, of which the first is cut between two speakers."""
    one, two = timed(0.0, "How are you? Fine."), timed(5.0, "Good.")
    done(journal, "job", [one, two])
    parts = [
        dataclasses.replace(one, end_s=1.5, text="How are you?", words=one.words[:3], speaker="S1"),
        dataclasses.replace(one, start_s=1.5, text="Fine.", words=one.words[3:], speaker="S2"),
    ]
    with journal.transaction() as db:
        replace_segments(db, "job", [parts, [dataclasses.replace(two, speaker="S1")]])
    transcript = journal.view("job").transcript
    journal.finish("job", dataclasses.replace(transcript, speakers=People(("S1", "S2"), "campplus", 28_000_000)))
    return "job"


def text(journal, job) -> str:
    return write(Corrections(journal).transcript(journal.view(job)), "txt")


def test_a_cut_sentence_is_two_lines_of_its_chunk(journal, job):
    assert [s.text for s in journal.segments(job)] == ["How are you?", "Fine.", "Good."]
    assert text(journal, job) == "S1: How are you?\nS2: Fine.\nS1: Good.\n"


def test_a_name_is_in_all_of_the_transcript_and_outlives_the_process(journal, job, tmp_path):
    corrections = Corrections(journal)
    corrections.rename(job, "S1", "  Anna\n Müller ", 0)
    assert text(journal, job) == "Anna Müller: How are you?\nS2: Fine.\nAnna Müller: Good.\n"
    again = Journal(tmp_path)
    transcript = Corrections(again).transcript(again.view(job))
    assert transcript.as_dict()["speakers"]["names"] == {"S1": "Anna Müller"}
    assert [(one.label, one.name) for one in corrections.speakers(job)] == [("S1", "Anna Müller"), ("S2", "")]


def test_a_name_is_taken_back(journal, job):
    corrections = Corrections(journal)
    corrections.rename(job, "S2", "Bob", 0)
    corrections.rename(job, "S2", "Rob", corrections.speakers(job)[1].number)
    assert corrections.counts(job) == Counts(last=corrections.speakers(job)[1].number, renamed=1)
    corrections.undo(job, corrections.counts(job).last)
    assert "Bob: Fine." in text(journal, job)
    corrections.undo(job, corrections.counts(job).last)
    assert "S2: Fine." in text(journal, job)
    assert corrections.counts(job) == Counts()


def test_an_empty_name_is_none(journal, job):
    corrections = Corrections(journal)
    corrections.rename(job, "S1", "Anna", 0)
    corrections.rename(job, "S1", " ", corrections.speakers(job)[0].number)
    assert text(journal, job).startswith("S1: ")
    assert corrections.counts(job).renamed == 0


def test_two_speakers_of_one_name_are_one_person(journal, job):
    corrections = Corrections(journal)
    corrections.rename(job, "S1", "Anna", 0)
    corrections.rename(job, "S2", "Anna", 0)
    shown = write(corrections.transcript(journal.view(job)), "srt")
    assert shown.count("Anna:") == 1


def test_another_window_was_faster(journal, job):
    corrections = Corrections(journal)
    corrections.rename(job, "S1", "Anna", 0)
    with pytest.raises(Overtaken):
        corrections.rename(job, "S1", "Eve", 0)
    assert "Anna" in text(journal, job)


@pytest.mark.parametrize("speaker", ["S3", "S0", "", "../S1", "S-1"])
def test_a_speaker_that_the_job_does_not_have(journal, job, speaker):
    with pytest.raises(UserError, match="not there any more"):
        Corrections(journal).rename(job, speaker, "Anna", 0)


def test_a_name_that_is_too_long(journal, job):
    with pytest.raises(UserError, match="at most 60"):
        Corrections(journal).rename(job, "S1", "x" * 61, 0)


def test_lines_are_corrected_beside_names(journal, job):
    corrections = Corrections(journal)
    corrections.rename(job, "S2", "Bob", 0)
    corrections.correct(job, 1, "Fine, thanks.", 0)
    assert "Bob: Fine, thanks." in text(journal, job)
    assert corrections.counts(job) == Counts(corrected=1, last=corrections.counts(job).last, renamed=1)

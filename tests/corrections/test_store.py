"""Changes of lines stay in the journal, reach every export, can be taken back, and go with their job."""

from __future__ import annotations

import json
import re
import sqlite3
import threading

import pytest
from corrections.journals import done, timed

from asr_app import database
from asr_app.corrections.store import Corrections, Counts, Overtaken
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.formats import WRITERS, write
from asr_app.journal import Journal
from asr_app.precision import Precision

LINES = [timed(0, "the weather is find"), timed(3, "it rains"), timed(5, "a hum")]


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path)
    done(made, "job", LINES)
    return made


@pytest.fixture
def corrections(journal):
    return Corrections(journal)


def texts(corrections: Corrections, job: str = "job") -> list[str]:
    return [corrections.line(job, i).text for i in range(3)]


def number(corrections: Corrections, line: int) -> int:
    change = corrections.line("job", line).change
    return change.number if change else 0


@pytest.mark.parametrize("format", WRITERS)
def test_every_export_has_the_corrected_text_at_the_times_of_the_line(journal, corrections, format):
    before = write(corrections.transcript(journal.view("job")), format)
    corrections.correct("job", 0, "The weather is fine.", 0)
    after = write(corrections.transcript(journal.view("job")), format)
    if format == "vtt-words":  # which has times between the words
        before, after = (re.sub(r"<[\d:.]+>", "", text) for text in (before, after))
    assert "find" in before
    assert "find" not in after.replace('"model_said": "the weather is find"', "")
    assert "The weather is fine." in after
    if format in ("srt", "vtt", "tsv"):  # nothing else has changed
        assert after.replace("The weather is fine.", "the weather is find") == before


def test_the_json_says_which_lines_were_changed_and_what_the_model_had_said(journal, corrections):
    corrections.correct("job", 0, "The weather is fine.", 0)
    corrections.confirm("job", 1, 0)
    found = json.loads(write(corrections.transcript(journal.view("job")), "json"))
    assert found["text"].startswith("The weather is fine.")
    assert [s.get("change") for s in found["segments"]] == [
        {"kind": "corrected", "model_said": "the weather is find"}, {"kind": "confirmed", "model_said": "it rains"}, None,
    ]  # fmt: skip
    assert [w["text"] for w in found["segments"][0]["words"]] == ["the", "weather", "is", "fine"]
    assert found["segments"][0]["words"][1] == {"start": 0.5, "end": 1.0, "text": "weather"}
    # What the model said stays what comparisons and the journal have.
    assert journal.view("job").transcript.segments[0].text == "the weather is find"


def test_changes_outlive_the_process_and_go_with_the_job(tmp_path, journal, corrections):
    corrections.correct("job", 2, "", 0)
    again = Journal(tmp_path)
    assert texts(Corrections(again)) == ["the weather is find", "it rains", ""]
    again.remove("job")
    with again.transaction() as db:
        assert db.execute("SELECT COUNT(*) FROM changes").fetchone()[0] == 0
    with pytest.raises(UserError, match="not there any more"):
        corrections.correct("job", 0, "x", 0)


def test_steps_are_taken_back_one_by_one_to_the_original(corrections):
    for text in ("one", "two", "three"):
        corrections.correct("job", 0, text, number(corrections, 0))
    corrections.correct("job", 1, "it pours", 0)
    for expected in (
        ["three", "it rains"], ["two", "it rains"], ["one", "it rains"], ["the weather is find", "it rains"],
    ):  # fmt: skip
        corrections.undo("job", corrections.counts("job").last)
        assert texts(corrections)[:2] == expected
    assert corrections.counts("job") == Counts()
    assert corrections.line("job", 0) == LINES[0]


def test_the_original_is_put_back_in_one_step_which_can_be_undone(corrections):
    corrections.put_back("job", 0, 0)  # nothing to put back
    assert corrections.counts("job").last == 0
    corrections.correct("job", 0, "one", 0)
    corrections.correct("job", 0, "two", number(corrections, 0))
    corrections.put_back("job", 0, number(corrections, 0))
    line = corrections.line("job", 0)
    assert (line.text, line.words, line.change.kind) == (LINES[0].text, LINES[0].words, "original")
    assert corrections.counts("job").corrected == 0
    corrections.undo("job", number(corrections, 0))
    assert texts(corrections)[0] == "two"


def test_the_later_of_two_windows_is_told_and_nothing_is_lost(corrections):
    corrections.correct("job", 0, "from the first window", 0)
    for late in (
        lambda: corrections.correct("job", 0, "from the second", 0),
        lambda: corrections.confirm("job", 0, 0),
        lambda: corrections.put_back("job", 0, 0),
        lambda: corrections.undo("job", 0),
    ):
        with pytest.raises(Overtaken):
            late()
    assert texts(corrections)[0] == "from the first window"
    corrections.correct("job", 0, "from the second", number(corrections, 0))
    assert texts(corrections)[0] == "from the second"
    corrections.undo("job", number(corrections, 0))
    assert texts(corrections)[0] == "from the first window"


def test_a_number_is_never_given_twice(corrections):
    """Else a window would undo, or replace, a change that it has never seen."""
    corrections.correct("job", 0, "one", 0)
    first = number(corrections, 0)
    corrections.undo("job", first)
    corrections.correct("job", 0, "another", 0)
    with pytest.raises(Overtaken):
        corrections.undo("job", first)
    with pytest.raises(Overtaken):
        corrections.correct("job", 0, "two", first)


def test_of_two_at_the_same_moment_one_wins(corrections):
    outcomes = []

    def change(text: str) -> None:
        try:
            corrections.correct("job", 0, text, 0)
            outcomes.append(text)
        except Overtaken:
            outcomes.append(None)

    threads = [threading.Thread(target=change, args=(f"text {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [text for text in outcomes if text]
    assert texts(corrections)[0] == won


def test_words_get_their_times_from_the_model_whatever_was_typed_between(corrections):
    for text in ("", "something else", "the weather is fine"):
        corrections.correct("job", 0, text, number(corrections, 0))
    words = corrections.line("job", 0).words
    assert [(w.start_s, w.end_s, w.text) for w in words] == [
        (0, 0.5, "the"), (0.5, 1.0, "weather"), (1.0, 1.5, "is"), (1.5, 2.0, "fine"),
    ]  # fmt: skip


def test_an_undone_change_of_another_job_stays(journal, corrections):
    done(journal, "other", LINES)
    corrections.correct("job", 0, "one", 0)
    with pytest.raises(Overtaken):
        corrections.undo("other", number(corrections, 0))
    assert texts(corrections)[0] == "one"
    assert texts(corrections, "other")[0] == LINES[0].text


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  two\n\tlines ", "two lines"),
        ("<b>&amp;", "<b>&amp;"),
        ("bell\x07\x00", "bell"),
        ("it --> pours", "it --> pours"),
    ],
)
def test_a_text_is_one_line_and_is_kept_as_typed(corrections, typed, kept):
    corrections.correct("job", 1, typed, 0)
    assert texts(corrections)[1] == kept


def test_too_long_a_text_and_a_line_that_is_not_there_are_refused(corrections):
    with pytest.raises(UserError, match="at most 4,000"):
        corrections.correct("job", 0, "x" * 4_001, 0)
    for line in (-1, 3):
        with pytest.raises(UserError, match="not there"):
            corrections.confirm("job", line, 0)
    with pytest.raises(UserError, match="not there"):
        corrections.correct("unknown", 0, "x", 0)


def test_an_unchanged_text_is_no_change_and_no_reference(corrections):
    corrections.correct("job", 0, " the weather  is find ", 0)
    assert corrections.counts("job") == Counts()


def test_lines_are_counted_by_their_last_change(corrections):
    corrections.correct("job", 0, "one", 0)
    corrections.correct("job", 1, "two", 0)
    corrections.confirm("job", 2, 0)
    corrections.put_back("job", 1, number(corrections, 1))
    assert corrections.counts("job") == Counts(1, 1, 0, number(corrections, 1))


def test_a_journal_of_version_5_is_taken_over_with_its_texts(tmp_path):
    with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
        for script in database._MIGRATIONS[:5]:
            db.executescript(script)
        db.execute("PRAGMA user_version = 5")
        db.execute(
            "INSERT INTO jobs (id, created, name, recording, model, precision, options, state) "
            "VALUES ('old', 1, 'x.wav', 'x.wav', 'demo-paraformer', 'int8', '{}', 'cancelled')"
        )
        body = '[{"s": 0, "e": 1, "t": "said", "w": [], "speaker": null, "language": null, "tags": []}]'
        db.execute("INSERT INTO segments VALUES ('old', 1000, ?)", (body,))
    journal = Journal(tmp_path)
    Corrections(journal).correct("old", 0, "meant", 0)
    assert Corrections(journal).line("old", 0).text == "meant"
    journal.add("new", "x.wav", tmp_path / "x.wav", "demo-paraformer", Precision.INT8, Options(), digest="d")
    assert journal.view("new").state == "queued"

"""Changes of a job's lines in the journal: corrections, confirmations, redone lines, and the steps back.

A line is a segment of the job, by its index. Every change is a row; the last one of a line counts. The segments stay as
the model gave them. The name of speaker Sk is a change of "line" -k.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import catalog
from asr_app.corrections.retime import retimed
from asr_app.datatypes import Change, Segment, Transcript, Word
from asr_app.errors import UserError
from asr_app.journal import Journal, View
from asr_app.precision import Precision
from asr_app.rows import read_segments, read_words, written_words

BY_A_PERSON = ("corrected", "confirmed")
_MOST_CHARACTERS = 4_000  # of a line
_MOST_IN_NAME = 60  # characters of a speaker's name


class Overtaken(Exception):
    """The line has changed since the page saw it."""


@dataclass(frozen=True)
class Named:
    """A speaker of a job, the name that a person gave (empty without one), and the number of the last change of it."""

    label: str
    name: str
    number: int


@dataclass(frozen=True)
class Counts:
    """Lines of a job by the kind of their last change, and the number of the last change of all (0 without any).

    `renamed` counts speakers.
    """

    corrected: int = 0
    confirmed: int = 0
    redone: int = 0
    last: int = 0
    renamed: int = 0


class Corrections:
    """The changes of lines in a journal.

    `seen` is always the number of the line's last change that the person saw, 0 for none. A method raises Overtaken if
    it is not the last one any more, and UserError for a line that the job does not have.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def applied(self, job: str, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """The job's segments, from the first one on, as they were changed."""
        with self._journal.transaction() as db:
            return _applied(db, job, segments)

    def transcript(self, view: View) -> Transcript | None:
        """The transcript of a job that is done, as it was changed; None before."""
        if view.transcript is None:
            return None
        done, names = view.transcript, {one.label: one.name for one in self.speakers(view.id) if one.name}
        segments = self.applied(view.id, done.segments)
        if done.speakers is None:
            return dataclasses.replace(done, segments=segments)
        people = dataclasses.replace(done.speakers, names=names)
        segments = tuple(dataclasses.replace(s, speaker=s.speaker and people.name(s.speaker)) for s in segments)
        return dataclasses.replace(done, segments=segments, speakers=people)

    def speakers(self, job: str) -> list[Named]:
        """The speakers of the job in the order in which they first speak; empty if nobody asked for them."""
        with self._journal.transaction() as db:
            return _speakers(db, job)

    def rename(self, job: str, label: str, name: str, seen: int) -> None:
        """Gives the speaker a name; an empty one takes it away. Speakers of one name are one person in all exports.

        Raises UserError for a name that is too long, and for a speaker that the job does not have.
        """
        name = _one_line(name)
        if len(name) > _MOST_IN_NAME:
            raise UserError(
                f"The name has {len(name)} characters; at most {_MOST_IN_NAME} are taken. Shorten it.",
                f"名字有 {len(name)} 个字符，最多 {_MOST_IN_NAME} 个。请缩短。",
            )
        with self._journal.transaction() as db:
            found = next((one for one in _speakers(db, job) if one.label == label), None)
            if found is None:
                raise UserError(
                    "That speaker is not there any more. Reload the page.", "该说话人已不存在，请刷新页面。"
                )
            if name != (found.name or ""):
                add(db, job, -int(label[1:]), "renamed", "" if name == label else name, seen)

    def line(self, job: str, line: int) -> Segment:
        """The line as it was changed."""
        with self._journal.transaction() as db:
            return _line(db, job, line)

    def counts(self, job: str) -> Counts:
        """The numbers of changed lines."""
        with self._journal.transaction() as db:
            rows = db.execute(
                "SELECT kind, text, MAX(n) AS n FROM changes WHERE job = ? GROUP BY line",  # SQLite: the kind is of MAX
                (job,),
            ).fetchall()
        corrected, confirmed, redone = (
            sum(row["kind"] == kind for row in rows) for kind in (*BY_A_PERSON, "redone")
        )  # fmt: skip
        renamed = sum(row["kind"] == "renamed" and row["text"] != "" for row in rows)
        return Counts(corrected, confirmed, redone, max((row["n"] for row in rows), default=0), renamed)

    def correct(self, job: str, line: int, text: str, seen: int) -> None:
        """Gives the line the text that is really said; empty if nothing is. An unchanged text is no change.

        Raises UserError for a text that is too long.
        """
        text = _one_line(text)
        if len(text) > _MOST_CHARACTERS:
            raise UserError(
                f"The line has {len(text):,} characters; at most {_MOST_CHARACTERS:,} are taken. Shorten it.",
                f"该行有 {len(text):,} 个字符，最多 {_MOST_CHARACTERS:,} 个。请缩短。",
            )
        with self._journal.transaction() as db:
            if text != _line(db, job, line).text:
                add(db, job, line, "corrected", text, seen)

    def confirm(self, job: str, line: int, seen: int) -> None:
        """Notes that a person found the line right as it is."""
        with self._journal.transaction() as db:
            add(db, job, line, "confirmed", _line(db, job, line).text, seen)

    def put_back(self, job: str, line: int, seen: int) -> None:
        """Gives the line the text of the job's model again."""
        with self._journal.transaction() as db:
            if (change := _line(db, job, line).change) is not None:
                add(db, job, line, "original", change.original, seen)

    def undo(self, job: str, number: int) -> None:
        """Takes back the change of that number, if it is the last one of its line. Raises Overtaken otherwise."""
        with self._journal.transaction() as db:
            undone = db.execute(
                "DELETE FROM changes WHERE n = ? AND job = ? AND n = (SELECT MAX(n) FROM changes AS other WHERE "
                "other.job = changes.job AND other.line = changes.line)",
                (number, job),
            ).rowcount
        if not undone:
            raise Overtaken


def add(
    db: sqlite3.Connection, job: str, line: int, kind: str, text: str, seen: int, words: Sequence[Word] = (),
    model: str | None = None, precision: Precision | None = None,
) -> None:  # fmt: skip
    """A change of the line after change `seen`. Raises Overtaken if that is not its last one."""
    added = db.execute(
        "INSERT INTO changes (created, job, line, kind, text, words, model, precision) SELECT ?, ?, ?, ?, ?, ?, ?, ? "
        "WHERE ? = (SELECT COALESCE(MAX(n), 0) FROM changes WHERE job = ? AND line = ?)",
        (
            time.time(),
            job,
            line,
            kind,
            text,
            written_words(words),
            model,
            precision and precision.value,
            seen,
            job,
            line,
        ),
    ).rowcount
    if not added:
        raise Overtaken


def _one_line(text: str) -> str:
    """`text` without control characters and line breaks."""
    return " ".join("".join(c for c in text if unicodedata.category(c) != "Cc" or c.isspace()).split())


def _speakers(db: sqlite3.Connection, job: str) -> list[Named]:
    labels = dict.fromkeys(s.speaker for s in read_segments(db, job) if s.speaker)
    last = {
        f"S{-row['line']}": (row["text"], row["n"])
        for row in db.execute("SELECT n, line, text FROM changes WHERE job = ? AND line < 0 ORDER BY n", (job,))
    }
    return [Named(label, *last.get(label, ("", 0))) for label in labels]


def _line(db: sqlite3.Connection, job: str, line: int) -> Segment:
    segments = read_segments(db, job)
    if not 0 <= line < len(segments):
        raise UserError(
            "That line is not there any more. Reload the page.", "该行已不存在，请刷新页面。"
        )  # fmt: skip
    return _applied(db, job, segments)[line]


def _applied(db: sqlite3.Connection, job: str, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    changes: defaultdict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in db.execute(
        "SELECT n, line, kind, text, words, model, precision FROM changes WHERE job = ? ORDER BY n", (job,)
    ):
        changes[row["line"]].append(row)
    return tuple(_changed(s, changes[i]) if i in changes else s for i, s in enumerate(segments))


def _changed(original: Segment, changes: Sequence[sqlite3.Row]) -> Segment:
    of_model = line = original  # the last one whose words a model timed
    for change in changes:
        if change["kind"] == "original":
            of_model = line = original
        elif change["kind"] == "corrected":
            line = retimed(of_model, change["text"])
        elif change["kind"] == "redone":
            words = _inside(change["words"], original)
            of_model = line = dataclasses.replace(original, text=change["text"], words=words)
    last = changes[-1]
    by = f"{model_name(last['model'])} {Precision(last['precision']).label}" if last["model"] else ""
    return dataclasses.replace(line, change=Change(last["n"], last["kind"], original.text, by))


def model_name(model: str) -> str:
    """The name to show for a model's key: its id, or the name of its folder."""
    return model if model in catalog.CARDS else Path(model).name


def _inside(words: str, line: Segment) -> tuple[Word, ...]:
    """The words of a redone line, within the line's times."""

    def clip(at_s: float) -> float:
        return min(max(at_s, line.start_s), line.end_s)

    return tuple(
        dataclasses.replace(w, start_s=clip(w.start_s), end_s=clip(w.end_s)) for w in read_words(words)
    )  # fmt: skip

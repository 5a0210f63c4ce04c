"""Status and new segments of jobs, for polling. A read touches only new rows, and no options or results."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import turns
from asr_app.datatypes import Segment
from asr_app.errors import UserError
from asr_app.journal import FINAL, Journal
from asr_app.rows import UNREADABLE, read_segments_since, read_words, unreadable, waiting_segment

# The columns of the index `jobs_looked_at`: SQLite reads these from it, and the table's long rows not at all.
_COLUMNS = (
    "id, created, name, recording, model, state, stage, done, total, eta, seconds, carry, error_en, error_zh"
)  # fmt: skip
STATUS = f"SELECT {_COLUMNS} FROM jobs INDEXED BY jobs_looked_at WHERE id = ?"  # noqa: S608 (names are ours)


@dataclass(frozen=True)
class Status:
    """A job without its text. `View` explains the fields of the same names.

    `created` is in seconds since 1970; `seconds` is the recording's length, None until it is decoded.
    """

    id: str
    created: float
    name: str
    recording: Path
    model: str
    state: str
    stage: str
    done: float
    total: float
    eta_s: float | None
    ahead: int
    seconds: float | None
    error: UserError | None

    @property
    def finished(self) -> bool:
        return self.state in FINAL

    @property
    def rests(self) -> bool:
        """Whether nothing happens to it: it has ended, or it is paused."""
        return self.finished or self.state == "paused"


@dataclass(frozen=True)
class News:
    """The segments after a chunk; `last` is the number of the newest chunk.

    `waiting` are words that wait for the rest of their sentence, as a segment, or nothing. Later news have others.
    """

    status: Status
    segments: tuple[Segment, ...]
    last: int
    waiting: tuple[Segment, ...]


class Observer:
    """Reads the jobs of a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def status(self, job: str) -> Status | None:
        """The job's present status; None for an unknown id."""
        with self._journal.transaction() as db:
            row = db.execute(STATUS, (job,)).fetchone()
            return None if row is None else self._status(db, row)

    def statuses(self, jobs: Sequence[str]) -> list[Status]:
        """Statuses of the given jobs in their order, without unknown ids."""
        with self._journal.transaction() as db:
            rows = [db.execute(STATUS, (job,)).fetchone() for job in jobs]
            return [self._status(db, row) for row in rows if row is not None]

    def news(self, job: str, since: int) -> News | None:
        """The job's news after chunk number `since`, 0 for all; None for an unknown id."""
        with self._journal.transaction() as db:
            row = db.execute(STATUS, (job,)).fetchone()
            if row is None:
                return None
            status = self._status(db, row)
            try:
                segments, last = read_segments_since(db, job, since)
                return News(status, segments, last, waiting_segment(read_words(row["carry"])))
            except UNREADABLE as error:
                return News(self._status(db, row, unreadable(error)), (), since, ())

    def counts(self) -> dict[str, int]:
        """The number of jobs by their state."""
        with self._journal.transaction() as db:
            return dict(db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())

    def _status(self, db: sqlite3.Connection, row: sqlite3.Row, failure: UserError | None = None) -> Status:
        ahead = 0
        if row["state"] == "queued":
            ahead = turns.ahead(db, row["id"])
        if row["error_en"]:
            failure = failure or UserError(row["error_en"], row["error_zh"])
        trouble = self._journal.trouble if row["state"] not in FINAL else None
        return Status(
            row["id"], row["created"], row["name"], self._journal.recordings / row["recording"], row["model"],
            "failed" if failure else row["state"], row["stage"], row["done"], row["total"], row["eta"], ahead,
            row["seconds"], failure or trouble,
        )  # fmt: skip

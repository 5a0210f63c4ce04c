"""The SQLite file in which jobs outlive a reload and a process: what was asked, what was heard, where to go on.

It knows nothing of models or threads; jobs.py works from it, the page looks into it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_app import turns
from asr_app.database import Database
from asr_app.datatypes import Doubt, Options, Segment, StageTimes, Transcript, Word
from asr_app.errors import UserError
from asr_app.precision import Precision
from asr_app.rows import (
    UNREADABLE,
    read_doubts,
    read_segments,
    read_transcript,
    read_words,
    unreadable,
    waiting_segment,
    written_segment,
    written_words,
)  # fmt: skip
from asr_app.storage import Storage

log = logging.getLogger(__name__)
KEEP_DAYS = 7
REQUEST = "request-"  # begins the ids of jobs for which a request waits
FINAL = ("done", "failed", "cancelled")

_CANCEL, _PAUSE = 1, 2  # values of the column `cancel`: what a running job is asked for
_STOPPED = {_CANCEL: "cancelled", _PAUSE: "paused"}
_MOST_ATTEMPTS = 2  # without a finished chunk between them


@dataclass(frozen=True)
class View:
    """A job for an observer. `state`: queued, running, paused, done, failed or cancelled.

    `stage` (while running): decoding, downloading, quantising, loading, vad, recognising or speakers; `done` and `total` are
    seconds of speech, or bytes while a model downloads, or steps while its variant is made; `ahead` jobs come before a queued one; `transcript` is there once done.
    """

    id: str
    name: str
    recording: Path
    model: str
    state: str
    stage: str
    done: float
    total: float
    eta_s: float | None
    ahead: int
    segments: tuple[Segment, ...]
    transcript: Transcript | None
    error: UserError | None

    @property
    def finished(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True)
class Task:
    """A job for the worker: its inputs, and the state to go on from.

    `resume_s` is the end of the last finished chunk in the recording, `carry` are words that wait for the rest of their
    sentence, `times` are spent already (None before the first chunk).
    """

    id: str
    name: str
    recording: Path
    model: str
    precision: Precision
    options: Options
    created: float
    resume_s: float
    carry: tuple[Word, ...]
    times: StageTimes | None


class Journal:
    """The journal in the folder `home`, beside the files of `storage`. Raises UserError as `Database` does."""

    def __init__(self, home: Path, max_disk_bytes: int = sys.maxsize) -> None:
        self.storage = Storage(home, max_disk_bytes)
        self.recordings = self.storage.recordings
        self.trouble: UserError | None = None  # while the worker cannot write: jobs stand still
        shutil.rmtree(home / "exports", ignore_errors=True)  # transcripts that earlier versions wrote there
        self.transaction = Database(home / "journal.sqlite3").transaction

    # -- from the page -------------------------------------------------------------------------------------------------

    def add(
        self, job: str, name: str, recording: Path, model: str, precision: Precision, options: Options, client: str = "",
        digest: str = "",
    ) -> None:  # fmt: skip
        """A new job, the last one of `client`; `recording` lies in the journal's own folder, `digest` identifies it."""
        asked = json.dumps(dataclasses.asdict(options))
        values = (job, time.time(), name, recording.name, model, precision.value, asked, client, digest)
        with self.transaction() as db:
            db.execute(
                "INSERT INTO jobs (id, created, name, recording, model, precision, options, client, digest, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued')", values,
            )  # fmt: skip

    def waiting(self, client: str) -> int:
        """The number of the client's jobs that wait."""
        with self.transaction() as db:
            return turns.waiting(db, client)

    def is_just_added(
        self, job: str, name: str, model: str, precision: Precision, options: Options, within_s: float
    ) -> bool:
        """Whether `job` asks for the same, has not ended, and is no older than `within_s`."""
        wanted = (job, name, model, precision.value, json.dumps(dataclasses.asdict(options)), time.time() - within_s)
        with self.transaction() as db:
            return db.execute(
                "SELECT 1 FROM jobs WHERE id = ? AND name = ? AND model = ? AND precision = ? AND options = ? "
                "AND created > ? AND state IN ('queued', 'running')",
                wanted,
            ).fetchone() is not None  # fmt: skip

    def view(self, job: str) -> View | None:
        """The job as it stands; None for an id the journal does not know."""
        with self.transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
            if row is None:
                return None
            try:
                segments, doubts = read_segments(db, job), read_doubts(db, job)
                carry, transcript = read_words(row["carry"]), read_transcript(row, segments, doubts)
            except UNREADABLE as error:
                return self._unreadable(row, error)
            ahead = turns.ahead(db, job) if row["state"] == "queued" else 0
        if transcript is None:
            segments += waiting_segment(carry)
        failure = UserError(row["error_en"], row["error_zh"]) if row["error_en"] else None
        return View(
            row["id"], row["name"], self.recordings / row["recording"], row["model"], row["state"], row["stage"],
            row["done"], row["total"], row["eta"], ahead, segments, transcript, failure,
        )  # fmt: skip

    def _unreadable(self, row: sqlite3.Row, error: Exception) -> View:
        recording = self.recordings / row["recording"]
        return View(
            row["id"], row["name"], recording, row["model"], "failed", "", 0.0, 0.0, None, 0, (), None, unreadable(error)
        )  # fmt: skip

    def task(self, job: str) -> Task | None:
        """The job's inputs; None for an unknown id. Raises UserError if its row cannot be read."""
        with self.transaction() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        try:
            return row and self._task(row)
        except UNREADABLE as error:
            raise unreadable(error) from error

    def ask_to_cancel(self, job: str) -> None:
        """Ends a job that waits at once; a running one looks with `stop_asked`."""
        with self.transaction() as db:
            db.execute("UPDATE jobs SET cancel = ? WHERE id = ?", (_CANCEL, job))
            db.execute("UPDATE jobs SET state = 'cancelled' WHERE id = ? AND state IN ('queued', 'paused')", (job,))

    def ask_to_pause(self, job: str) -> None:
        """Takes a queued job out of the queue at once; a running one looks with `stop_asked`, and keeps its chunks."""
        with self.transaction() as db:
            db.execute("UPDATE jobs SET cancel = ? WHERE id = ? AND state = 'running' AND cancel = 0", (_PAUSE, job))
            db.execute("UPDATE jobs SET state = 'paused' WHERE id = ? AND state = 'queued'", (job,))

    def go_on(self, job: str) -> None:
        """Puts a paused job back into the queue."""
        with self.transaction() as db:
            db.execute("UPDATE jobs SET state = 'queued' WHERE id = ? AND state = 'paused'", (job,))
            db.execute("UPDATE jobs SET cancel = 0 WHERE id = ? AND cancel = ?", (job, _PAUSE))

    def remove(self, job: str) -> None:
        """Deletes a job that has ended, with its recording and its text. Does nothing to any other."""
        with self.transaction() as db:
            row = db.execute(
                "SELECT id, recording FROM jobs WHERE id = ? AND state IN ('done', 'failed', 'cancelled')", (job,)
            ).fetchone()
            if row is not None:
                self._delete(db, row)

    # -- from the worker -----------------------------------------------------------------------------------------------

    def recover(self, busy: Sequence[str] = ()) -> None:
        """Queues jobs again that ran when the process died, unless they were to stop; not those that are `busy` now."""
        with self.transaction() as db:
            for asked, state in (_STOPPED | {0: "queued"}).items():
                db.execute(
                    "UPDATE jobs SET state = ?, stage = '' WHERE state = 'running' AND cancel = ? "
                    "AND id NOT IN (SELECT value FROM json_each(?))", (state, asked, json.dumps(busy)),
                )  # fmt: skip

    def take(self) -> Task | None:
        """The job whose turn it is, now running; None if none waits.

        A job that cannot be read, or during whose attempts the process died too often, fails instead.
        """
        while True:
            with self.transaction() as db:
                if (row := turns.first(db)) is None:
                    return None
                claim = (
                    "UPDATE jobs SET state = 'running', stage = 'decoding', attempts = attempts + 1, started = ? "
                    "WHERE id = ? AND state = 'queued'"
                )
                if not db.execute(claim, (time.time(), row["id"])).rowcount:
                    return None
            if row["attempts"] >= _MOST_ATTEMPTS:
                self.end(row["id"], "failed", UserError(
                    f"The server stopped {_MOST_ATTEMPTS} times while working on this recording. The text so far is "
                    "kept. Try a smaller model or a part of the recording.",
                    f"处理此录音时服务器停止了 {_MOST_ATTEMPTS} 次。已识别的文本会保留。请尝试更小的模型或截取部分录音。",
                ))  # fmt: skip
                continue
            try:
                return self._task(row)
            except UNREADABLE as error:
                log.exception("a job cannot be read")
                self.end(row["id"], "failed", unreadable(error))

    def _task(self, row: sqlite3.Row) -> Task:
        options: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(row["options"]).items()
        }
        times = json.loads(row["times"])
        return Task(
            row["id"], row["name"], self.recordings / row["recording"], row["model"], Precision(row["precision"]),
            Options(**options), row["created"], row["resume_s"], read_words(row["carry"]),
            StageTimes(**times) if times else None,
        )  # fmt: skip

    def idle(self) -> bool:
        """Whether no job waits or runs."""
        with self.transaction() as db:
            return not db.execute("SELECT COUNT(*) FROM jobs WHERE state IN ('queued', 'running')").fetchone()[0]

    def stop_asked(self, job: str) -> str:
        """The state in which the running job is to stop: cancelled or paused; empty if it is to go on."""
        with self.transaction() as db:
            return _STOPPED.get(db.execute("SELECT cancel FROM jobs WHERE id = ?", (job,)).fetchone()["cancel"], "")

    def stage(self, job: str, stage: str, done: float, total: float) -> None:
        """Sets the stage and the progress of the running job."""
        self._set(job, stage=stage, done=done, total=total, eta=None)

    def length(self, job: str, seconds: float) -> None:
        """Notes the length of the recording, which is known once it is decoded."""
        self._set(job, seconds=seconds)

    def write_chunk(
        self, job: str, end_s: float, segments: Sequence[Segment], carry: Sequence[Word], done: float, total: float,
        eta: float, times: StageTimes, doubts: Sequence[Doubt] = (), latency_s: float = 0.0,
    ) -> None:  # fmt: skip
        """A finished chunk's text, its doubts, its end, from which the job goes on, and the seconds of its recognition."""
        body = json.dumps([written_segment(s) for s in segments], ensure_ascii=False)
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", (job, round(end_s * 1000), body))
            db.execute("INSERT OR REPLACE INTO latencies VALUES (?, ?, ?)", (job, round(end_s * 1000), latency_s))
            for doubt in doubts:
                kept = json.dumps([doubt.end_s, doubt.reason, doubt.redone_at and doubt.redone_at.value])
                db.execute("INSERT OR REPLACE INTO doubts VALUES (?, ?, ?)", (job, doubt.start_s, kept))
            db.execute(
                "UPDATE jobs SET resume_s = ?, attempts = 0, carry = ?, done = ?, total = ?, eta = ?, times = ? "
                "WHERE id = ?",
                (end_s, written_words(carry), done, total, eta, json.dumps(dataclasses.asdict(times)), job),
            )

    def segments(self, job: str) -> tuple[Segment, ...]:
        """The finished segments of the job, in order."""
        with self.transaction() as db:
            return read_segments(db, job)

    def doubts(self, job: str) -> tuple[Doubt, ...]:
        """The chunks of the job that were in doubt, in order."""
        with self.transaction() as db:
            return read_doubts(db, job)

    def latencies(self, job: str) -> list[float]:
        """Seconds of recognition of each chunk, in order."""
        with self.transaction() as db:
            rows = db.execute("SELECT seconds FROM latencies WHERE job = ? ORDER BY n", (job,)).fetchall()
        return [row["seconds"] for row in rows]

    def finish(self, job: str, transcript: Transcript) -> None:
        """The job is done; its segments are in the journal already."""
        result = transcript.as_dict()
        for kept_elsewhere in ("segments", "doubts", "text"):
            del result[kept_elsewhere]
        self._set(
            job, state="done", stage="", eta=0.0, carry="[]", result=json.dumps(result, ensure_ascii=False),
            times=json.dumps(dataclasses.asdict(transcript.times)),
        )  # fmt: skip

    def end(self, job: str, state: str, error: UserError | None = None) -> None:
        """Failed, cancelled, paused, or queued again; the text so far stays. Does nothing to a job that has ended."""
        with self.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, stage = '', attempts = 0, error_en = ?, error_zh = ? "
                "WHERE id = ? AND state NOT IN ('done', 'failed', 'cancelled')",
                (state, error and error.en, error and error.zh, job),
            )

    def forget_old(self, *, requests: bool = False) -> None:
        """Deletes jobs older than KEEP_DAYS, if asked those of all `requests`, and old recordings without a job."""
        with self.transaction() as db:
            for row in db.execute(
                "SELECT id, recording FROM jobs WHERE state != 'running' AND (created < ? OR (? AND id LIKE ?) OR id IN "
                "(SELECT job FROM redos WHERE parent NOT IN (SELECT id FROM jobs)))",
                (time.time() - KEEP_DAYS * 86400, requests, f"{REQUEST}%"),
            ).fetchall():
                self._delete(db, row)
            known = {row["recording"] for row in db.execute("SELECT recording FROM jobs")}
        self.storage.forget_strays(known, KEEP_DAYS * 86400)

    def _delete(self, db: sqlite3.Connection, row: sqlite3.Row) -> None:
        self.storage.remove(row["recording"])
        for table in ("segments", "doubts", "latencies", "changes", "webhooks"):
            db.execute(f"DELETE FROM {table} WHERE job = ?", (row["id"],))  # noqa: S608 (names are ours)
        db.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))
        db.execute("DELETE FROM arms WHERE job = ?", (row["id"],))
        db.execute("DELETE FROM comparisons WHERE id NOT IN (SELECT comparison FROM arms)")
        redos = "FROM jobs WHERE id IN (SELECT job FROM redos WHERE parent = ?)"
        db.execute(f"UPDATE jobs SET cancel = 1 WHERE id IN (SELECT id {redos})", (row["id"],))  # noqa: S608
        # One that runs goes once it has stopped: `forget_old`.
        for redo in db.execute(f"SELECT id, recording {redos} AND state != 'running'", (row["id"],)).fetchall():
            self._delete(db, redo)
        db.execute("DELETE FROM redos WHERE job NOT IN (SELECT id FROM jobs) AND parent NOT IN (SELECT id FROM jobs)")

    def _set(self, job: str, **columns: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.transaction() as db:
            db.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*columns.values(), job))  # noqa: S608 (names are ours)

"""The journal's SQLite file: its schema, the way from older versions, and what happens to a damaged one."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from asr_app.errors import NoRoom, UserError

log = logging.getLogger(__name__)
_WAIT_S = 10.0  # for another program's transaction

# Each script brings a file from the version before it to its own, `PRAGMA user_version`. Files of the first releases
# have version 0, with or without tables.
_MIGRATIONS = (
    """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, created REAL NOT NULL, name TEXT NOT NULL, recording TEXT NOT NULL,
    model TEXT NOT NULL, precision TEXT NOT NULL, options TEXT NOT NULL, state TEXT NOT NULL,
    cancel INTEGER NOT NULL DEFAULT 0, stage TEXT NOT NULL DEFAULT '', done REAL NOT NULL DEFAULT 0,
    total REAL NOT NULL DEFAULT 0, eta REAL, next_chunk INTEGER NOT NULL DEFAULT 0, carry TEXT NOT NULL DEFAULT '[]',
    times TEXT NOT NULL DEFAULT '{}', result TEXT, error_en TEXT, error_zh TEXT);
CREATE TABLE IF NOT EXISTS segments (job TEXT NOT NULL, n INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (job, n));
CREATE TABLE IF NOT EXISTS doubts (job TEXT NOT NULL, start REAL NOT NULL, body TEXT NOT NULL, PRIMARY KEY (job, start));
""",
    # A job goes on at a time in the recording, not at the number of a chunk: another version may cut elsewhere. What an
    # older one has begun starts anew.
    """
ALTER TABLE jobs DROP COLUMN next_chunk;
ALTER TABLE jobs ADD COLUMN resume_s REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
DELETE FROM segments WHERE job IN (SELECT id FROM jobs WHERE state IN ('queued', 'running'));
DELETE FROM doubts WHERE job IN (SELECT id FROM jobs WHERE state IN ('queued', 'running'));
UPDATE jobs SET carry = '[]', times = '{}', done = 0 WHERE state IN ('queued', 'running');
""",
    # The index has all that the page asks for while a job runs: no look reads options or results (observer.py).
    """
ALTER TABLE jobs ADD COLUMN seconds REAL;
UPDATE jobs SET seconds = json_extract(result, '$.duration_s') WHERE json_valid(result);
CREATE INDEX jobs_looked_at ON jobs
    (id, created, name, recording, model, state, stage, done, total, eta, seconds, carry, error_en, error_zh);
CREATE INDEX jobs_in_turn ON jobs (state, created);
""",
    """
ALTER TABLE jobs ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN started REAL NOT NULL DEFAULT 0;
CREATE INDEX jobs_of_client ON jobs (client, started);
""",
    # A comparison is a row here and a job for each of its arms.
    """
CREATE TABLE latencies (job TEXT NOT NULL, n INTEGER NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (job, n));
CREATE TABLE comparisons (
    id TEXT PRIMARY KEY, created REAL NOT NULL, name TEXT NOT NULL, reference TEXT NOT NULL, blind INTEGER NOT NULL,
    votes TEXT NOT NULL DEFAULT '[]');
CREATE TABLE arms (comparison TEXT NOT NULL, n INTEGER NOT NULL, job TEXT NOT NULL, PRIMARY KEY (comparison, n));
CREATE INDEX arms_by_job ON arms (job);
""",
    # Changes of lines, of which the last one of a line counts, and stretches that are recognised again by a job of their
    # own. Jobs with the same digest have the same recording; those of older versions have none.
    """
ALTER TABLE jobs ADD COLUMN digest TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_by_digest ON jobs (digest);
CREATE TABLE changes (
    n INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL, job TEXT NOT NULL, line INTEGER NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL, words TEXT NOT NULL DEFAULT '[]', model TEXT, precision TEXT);
CREATE INDEX changes_of_job ON changes (job, line);
CREATE TABLE redos (
    job TEXT PRIMARY KEY, parent TEXT NOT NULL, line INTEGER NOT NULL, seen INTEGER NOT NULL, model TEXT NOT NULL,
    precision TEXT NOT NULL, text TEXT);
CREATE INDEX redos_of_job ON redos (parent, line);
""",
    # Microphone recordings that are being made, and pieces of them that came before an earlier piece.
    """
CREATE TABLE captures (
    id TEXT PRIMARY KEY, created REAL NOT NULL, touched REAL NOT NULL, client TEXT NOT NULL, file TEXT NOT NULL,
    rate INTEGER NOT NULL, pieces INTEGER NOT NULL DEFAULT 0, samples INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'open', job TEXT NOT NULL DEFAULT '');
CREATE TABLE early_pieces (capture TEXT NOT NULL, n INTEGER NOT NULL, samples BLOB NOT NULL, PRIMARY KEY (capture, n));
""",
    # `state` is waiting, delivered or failed; `due` is the time of the next try, in seconds since 1970.
    """
CREATE TABLE webhooks (
    job TEXT PRIMARY KEY, url TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0, error TEXT);
""",
)


def unusable(error: sqlite3.OperationalError) -> UserError:
    """The journal is locked, or its disk is full or read-only: `error` says which."""
    kind = NoRoom if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL else UserError
    return kind(
        f"The journal journal.sqlite3 cannot be used ({error}). Close the program that has it open, free disk space if "
        "there is none, then try again.",
        f"任务日志 journal.sqlite3 无法使用（{error}）。请关闭占用它的程序，确认磁盘有空间，然后重试。",
    )


class Database:
    """The file at `path`, brought to the present version.

    A file that is damaged, or of a newer version, is renamed, and an empty one takes its place. Raises UserError if
    another program has locked the file, or if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._open()
        except sqlite3.OperationalError as error:
            raise unusable(error) from error
        except sqlite3.DatabaseError as error:
            self._set_aside(str(error))
            self._open()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction. A connection each: sqlite3's are not to be shared between threads."""
        db = sqlite3.connect(self._path, timeout=_WAIT_S)
        db.row_factory = sqlite3.Row
        try:
            with db:
                yield db
        finally:
            db.close()

    def _open(self) -> None:
        self._migrate()
        # While one connection stays open, SQLite keeps its files beside the journal. Otherwise it makes them anew for
        # each one, which a full disk does not allow: nothing could be read.
        anchor = sqlite3.connect(self._path, timeout=_WAIT_S, check_same_thread=False)
        weakref.finalize(self, anchor.close)
        anchor.execute("SELECT COUNT(*) FROM jobs").fetchone()

    def _migrate(self) -> None:
        with self.transaction() as db:
            db.execute("PRAGMA journal_mode=WAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(_MIGRATIONS):
                raise sqlite3.DatabaseError(f"its version is {version}, this app knows {len(_MIGRATIONS)}")
            if (problem := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(problem)
            for number, script in enumerate(_MIGRATIONS[version:], version + 1):
                db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

    def _set_aside(self, problem: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.{time.strftime('%Y%m%d-%H%M%S')}.damaged")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + suffix).rename(aside.with_name(aside.name + suffix))
        log.error("the journal cannot be read (%s): it is kept as %s, and a new one is begun", problem, aside)

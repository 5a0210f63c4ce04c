"""The order of the waiting jobs: clients take turns, so that many jobs of one do not keep the others waiting."""

from __future__ import annotations

import sqlite3

MOST_WAITING = 20  # jobs of one client

# Jobs that a stop of the server interrupted go first. Of the others each client's first one comes in the first round,
# its second one in the second. In a round, the client comes first whose last job was begun the longest time ago.
_WAITING = """
WITH waiting AS (
    SELECT id, resume_s = 0 AS new, created,
        ROW_NUMBER() OVER (PARTITION BY client ORDER BY resume_s = 0, created, id) AS round,
        (SELECT MAX(started) FROM jobs AS other WHERE other.client = jobs.client) AS last
    FROM jobs WHERE state = 'queued'),
turns AS (SELECT id, ROW_NUMBER() OVER (ORDER BY new, round, last, created, id) AS turn FROM waiting)
"""


def first(db: sqlite3.Connection) -> sqlite3.Row | None:
    """The row of the job whose turn it is; None if no job waits."""
    query = f"{_WAITING} SELECT jobs.* FROM turns JOIN jobs USING (id) WHERE turn = 1"  # noqa: S608 (no value in it)
    row: sqlite3.Row | None = db.execute(query).fetchone()
    return row


def ahead(db: sqlite3.Connection, job: str) -> int:
    """The number of jobs that run or come before the waiting job, as things stand; 0 if it has just been taken."""
    running = db.execute("SELECT COUNT(*) FROM jobs WHERE state = 'running'").fetchone()[0]
    turn = db.execute(f"{_WAITING} SELECT turn FROM turns WHERE id = ?", (job,)).fetchone()  # noqa: S608
    return int(running + turn["turn"] - 1) if turn else 0


def waiting(db: sqlite3.Connection, client: str) -> int:
    """The number of the client's jobs that wait."""
    count = "SELECT COUNT(*) FROM jobs WHERE client = ? AND state = 'queued'"
    return int(db.execute(count, (client,)).fetchone()[0])

"""Webhooks of jobs: kept in the journal, sent when the job has ended, tried again until they are accepted.

A thread looks for jobs that have ended. So a restart, or a job that ends while the server stops, loses no webhook.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from datetime import UTC, datetime
from typing import Any

from asr_app.api.sending import NotSent, Sender, Target, read_secret
from asr_app.api.states import state
from asr_app.api_errors import ApiError
from asr_app.config import Config
from asr_app.journal import Journal
from asr_app.observer import Observer

log = logging.getLogger(__name__)
_LOOK_S = 1.0
# Waits between tries, as https://www.standardwebhooks.com advises. The last try is nine hours after the job's end.
_WAITS_S = (5.0, 60.0, 300.0, 1800.0, 7200.0, 21_600.0)
_DUE = (
    "SELECT webhooks.job, url, webhooks.attempts FROM webhooks JOIN jobs ON jobs.id = webhooks.job "
    "WHERE webhooks.state = 'waiting' AND due <= ? AND jobs.state IN ('done', 'failed', 'cancelled') ORDER BY due"
)


class Webhooks:
    """The webhooks of a journal. `start` runs the thread that sends them; without `sender` none is taken or sent."""

    def __init__(self, journal: Journal, sender: Sender | None) -> None:
        self._journal, self._observer, self._sender = journal, Observer(journal), sender
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of_flags(cls, config: Config, journal: Journal) -> Webhooks:
        """The webhooks as the flags and ASR_WEBHOOK_SECRET ask for them. Raises UserError for an unusable secret."""
        secret = read_secret(os.environ.get("ASR_WEBHOOK_SECRET", ""), config.webhook_secret)
        return cls(journal, Sender(secret, config.webhook_allow) if secret else None)

    def require(self, url: str) -> None:
        """Raises ApiError for a URL that a job may not have."""
        if self._sender is None:
            raise ApiError(
                400, "This server sends no webhooks: it was started without ASR_WEBHOOK_SECRET or --webhook-secret.",
                "webhook",
            )  # fmt: skip
        try:
            problem = self._sender.refusal(Target.parse(url))
        except ValueError as error:
            problem = str(error)
        if problem:
            raise ApiError(400, f"The webhook is not taken: {problem}.", "webhook")

    def add(self, job: str, url: str) -> None:
        """Sends the state of `job` to `url` once it has ended."""
        with self._journal.transaction() as db:
            db.execute("INSERT INTO webhooks (job, url) VALUES (?, ?)", (job, url))

    def of(self, job: str) -> dict[str, Any] | None:
        """The state of the job's webhook as JSON; None without one. Its URL may hold a secret, and is not shown."""
        with self._journal.transaction() as db:
            row = db.execute("SELECT state, attempts, due, error FROM webhooks WHERE job = ?", (job,)).fetchone()
        if row is None:
            return None
        again = int(row["due"]) if row["state"] == "waiting" and row["attempts"] else None
        return {"status": row["state"], "attempts": row["attempts"], "next_at": again, "error": row["error"]}

    def start(self) -> None:
        """Starts sending."""
        if self._sender is not None:
            self._thread = threading.Thread(target=self._work, args=(self._sender,), name="webhooks", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Sends no more. A try under way goes on; if the process ends in it, the next start repeats it."""
        self._stopping.set()

    def _work(self, sender: Sender) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                with self._journal.transaction() as db:
                    due = db.execute(_DUE, (time.time(),)).fetchall()
                for row in due:
                    if not self._stopping.is_set():
                        self._try(sender, row)
            except Exception:  # a locked journal must not end the thread
                log.exception("webhooks could not be sent; trying again")
                self._stopping.wait(5.0)

    def _try(self, sender: Sender, row: sqlite3.Row) -> None:
        status, attempts = self._observer.status(row["job"]), row["attempts"] + 1
        if status is None:  # deleted meanwhile
            return
        said = {
            "type": f"transcription.job.{status.state}", "timestamp": datetime.now(UTC).isoformat(), "data": state(status)
        }  # fmt: skip
        outcome, due, error = "delivered", 0.0, None
        try:
            sender.send(Target.parse(row["url"]), status.id, json.dumps(said, ensure_ascii=False).encode())
        except (NotSent, ValueError) as problem:
            error, outcome = str(problem), "waiting" if attempts <= len(_WAITS_S) else "failed"
            due = time.time() + _WAITS_S[attempts - 1] if outcome == "waiting" else 0.0
            log.warning("the webhook of a job was not accepted at try %d: %s", attempts, error)
        with self._journal.transaction() as db:
            db.execute(
                "UPDATE webhooks SET state = ?, attempts = ?, due = ?, error = ? WHERE job = ?",
                (outcome, attempts, due, error, row["job"]),
            )

"""Comparisons in the journal: a row, and a job for each arm. The jobs wait their turn like any others."""

from __future__ import annotations

import dataclasses
import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import catalog
from asr_app.compare import blind
from asr_app.compare.blind import Place
from asr_app.compare.difference import Step, align
from asr_app.compare.units import Unit, units_of
from asr_app.datatypes import ModelCard, Options
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import View
from asr_app.observer import Observer, Status
from asr_app.precision import Precision

FEWEST, MOST = 2, 4
VOTES = ("left", "right", "same")
_DOUBLE_CLICK_S = 2.0


@dataclass(frozen=True)
class Arm:
    """A model at a precision, and its job. Without a `status` the job has been deleted."""

    job: str
    model: str
    precision: Precision
    status: Status | None


@dataclass(frozen=True)
class Comparison:
    """A comparison as it stands. `votes` are those of the blind round, in the order of its places.

    `blind` says that the round is wanted and has not been ended.
    """

    id: str
    name: str
    reference: str
    arms: tuple[Arm, ...]
    blind: bool
    votes: tuple[str, ...]

    @property
    def finished(self) -> bool:
        return all(arm.status is None or arm.status.finished for arm in self.arms)


@dataclass(frozen=True)
class Compared:
    """The arms of a comparison that are done, with their units; `steps[i]` aligns the first of them with the next ones.

    `places` are those of the blind round. `latencies` are seconds of recognition a chunk.
    """

    arms: tuple[Arm, ...]
    views: tuple[View, ...]
    units: tuple[tuple[Unit, ...], ...]
    steps: tuple[tuple[Step, ...], ...]
    places: tuple[Place, ...]
    latencies: tuple[tuple[float, ...], ...]


class Comparisons:
    """The comparisons of a journal. Their arms are submitted to `jobs`."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._journal = jobs, jobs.journal
        self._observer = Observer(jobs.journal)
        # Of a blind round that lasts: texts of hours take seconds to align, and each vote asks for them.
        self._judged: tuple[str, Compared] | None = None

    def begin(
        self, path: Path, name: str, arms: Sequence[tuple[ModelCard, Precision]], options: Options, reference: str = "",
        judge: bool = False, before: str = "", client: str = "",
    ) -> str:  # fmt: skip
        """Queues a job for each arm and returns the comparison's id. Every arm gets the same chunks.

        `options` are those of one model, or `language` alone for several. `before` is the client's last comparison,
        which is returned if a double click asks for the same once more. Raises UserError for too few or too many arms,
        and where a job is refused; then none of them stays.
        """
        wanted = list(dict.fromkeys((card.key, precision) for card, precision in arms))
        if not FEWEST <= len(wanted) <= MOST:
            raise UserError(
                f"Choose {FEWEST} to {MOST} different arms: a model at a precision each.",
                f"请选择 {FEWEST} 至 {MOST} 个不同的对比项（模型加精度）。",
            )
        if before and self._is_just_begun(before, name, wanted):
            return before
        cards = [catalog.find(model) for model, _ in wanted]
        options = dataclasses.replace(options, cuts=_cuts(cards))
        submitted: list[str] = []
        try:
            for card, precision in zip(cards, (precision for _, precision in wanted), strict=True):
                asked = options if card.key == cards[0].key else language_only(card, options)
                submitted.append(self._jobs.submit(path, name, card.key, precision, asked, client=client))
            comparison = secrets.token_urlsafe(18)
            with self._journal.transaction() as db:
                db.execute(
                    "INSERT INTO comparisons (id, created, name, reference, blind) VALUES (?, ?, ?, ?, ?)",
                    (comparison, time.time(), name, reference.strip(), judge),
                )
                db.executemany(
                    "INSERT INTO arms VALUES (?, ?, ?)", [(comparison, n, job) for n, job in enumerate(submitted)]
                )
        except (UserError, sqlite3.OperationalError):
            for job in submitted:
                self._jobs.cancel(job)
            raise
        return comparison

    def find(self, comparison: str) -> Comparison | None:
        """The comparison as it stands; None for an id that the journal does not know."""
        with self._journal.transaction() as db:
            row = db.execute("SELECT * FROM comparisons WHERE id = ?", (comparison,)).fetchone()
            if row is None:
                return None
            jobs = db.execute(
                "SELECT arms.job, jobs.model, jobs.precision FROM arms JOIN jobs ON jobs.id = arms.job "
                "WHERE comparison = ? ORDER BY n",
                (comparison,),
            ).fetchall()
        statuses = {status.id: status for status in self._observer.statuses([job["job"] for job in jobs])}
        arms = tuple(
            Arm(job["job"], job["model"], Precision(job["precision"]), statuses.get(job["job"])) for job in jobs
        )
        votes = tuple(json.loads(row["votes"]))
        return Comparison(row["id"], row["name"], row["reference"], arms, bool(row["blind"]), votes)

    def compared(self, comparison: Comparison) -> Compared | None:
        """The texts of the arms that are done, aligned. None if fewer than two of them are, or the first is not."""
        kept = self._judged
        found = kept[1] if kept is not None and kept[0] == comparison.id else self._aligned(comparison)
        self._judged = (comparison.id, found) if found and comparison.blind and comparison.finished else None
        return found

    def _aligned(self, comparison: Comparison) -> Compared | None:
        views = [self._journal.view(arm.job) for arm in comparison.arms]
        done = [(arm, v) for arm, v in zip(comparison.arms, views, strict=True) if v and v.transcript]
        if len(done) < FEWEST or done[0][0] is not comparison.arms[0]:
            return None
        units = tuple(tuple(units_of(view.segments)) for _, view in done)
        steps = tuple(tuple(align(units[0], other)) for other in units[1:])
        return Compared(
            tuple(arm for arm, _ in done), tuple(view for _, view in done), units, steps,
            tuple(blind.places(units, steps, comparison.id)),
            tuple(tuple(self._journal.latencies(arm.job)) for arm, _ in done),
        )  # fmt: skip

    def vote(self, comparison: str, place: int, choice: str) -> None:
        """Notes the vote on a place of the blind round, if it is the next one to be judged."""
        with self._journal.transaction() as db:
            row = db.execute("SELECT votes FROM comparisons WHERE id = ? AND blind", (comparison,)).fetchone()
            votes = json.loads(row["votes"]) if row else []
            if row and len(votes) == place < blind.MOST_PLACES and choice in VOTES:
                db.execute("UPDATE comparisons SET votes = ? WHERE id = ?", (json.dumps([*votes, choice]), comparison))

    def reveal(self, comparison: str) -> None:
        """Ends the blind round; places without a vote stay without one."""
        with self._journal.transaction() as db:
            db.execute("UPDATE comparisons SET blind = 0 WHERE id = ?", (comparison,))

    def cancel(self, comparison: str) -> None:
        """Cancels the arms that have not ended. Raises UserError as `Jobs.cancel` does."""
        found = self.find(comparison)
        for arm in found.arms if found else ():
            self._jobs.cancel(arm.job)

    def remove(self, comparison: str) -> None:
        """Deletes the comparison and its jobs, if all of them have ended."""
        found = self.find(comparison)
        if found is None or not found.finished:
            return
        for arm in found.arms:
            self._journal.remove(arm.job)

    def _is_just_begun(self, comparison: str, name: str, arms: Sequence[tuple[str, Precision]]) -> bool:
        with self._journal.transaction() as db:
            row = db.execute(
                "SELECT 1 FROM comparisons WHERE id = ? AND name = ? AND created > ?",
                (comparison, name, time.time() - _DOUBLE_CLICK_S),
            ).fetchone()
        found = self.find(comparison) if row else None
        return found is not None and [(arm.model, arm.precision) for arm in found.arms] == list(arms)


def _cuts(cards: Sequence[ModelCard]) -> tuple[float, float] | None:
    """The cuts that all models take; None for one model, whose own cuts are the same at every precision."""
    if len({card.key for card in cards}) == 1:
        return None
    return min(card.max_chunk_s for card in cards), min(card.max_gap_s for card in cards)


def language_only(card: ModelCard, options: Options) -> Options:
    """Options of another model for `card`: the language if it knows it, and the cuts."""
    known = "language" in card.capabilities and options.language in card.languages
    return Options(language=options.language if known else None, cuts=options.cuts)

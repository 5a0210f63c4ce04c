"""Lines that a person corrected or confirmed, each with what every model at every precision had said there."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app.compare.difference import align
from asr_app.compare.units import units_of
from asr_app.corrections.redo import stretch_of
from asr_app.corrections.store import BY_A_PERSON, Corrections
from asr_app.datatypes import Segment
from asr_app.journal import Journal
from asr_app.precision import Precision
from asr_app.rows import UNREADABLE

_MOST_ALIGNED = 64  # pairs of transcripts whose alignment is remembered

Arm = tuple[str, Precision]  # a model's key, and its precision


@dataclass(frozen=True)
class Reference:
    """A line of a job with the text that a person gave or confirmed.

    `stretch` is the line in `recording`, with a little around it, in seconds. `said` are the texts of the line's own job,
    of other jobs on the same recording, and of redos. `language` is empty if unknown.
    """

    job: str
    line: int
    name: str
    recording: Path
    stretch: tuple[float, float]
    text: str
    language: str
    confirmed: bool
    model: str
    precision: Precision
    said: Mapping[Arm, str]


class References:
    """Reads the references of a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._corrections = journal, Corrections(journal)
        self._texts = functools.lru_cache(maxsize=_MOST_ALIGNED)(self._aligned)

    def all(self) -> list[Reference]:
        """The references of all jobs. If lines of several jobs share a stretch, that of the job changed last counts."""
        with self._journal.transaction() as db:
            rows = db.execute(
                "SELECT jobs.* FROM jobs JOIN (SELECT job, MAX(n) AS last FROM changes GROUP BY job) ON job = id "
                "ORDER BY last DESC"
            ).fetchall()
        found: list[Reference] = []
        taken: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for row in rows:
            with contextlib.suppress(*UNREADABLE):  # a damaged job; the page says so where it is shown
                before = list(taken[row["digest"]]) if row["digest"] else []
                for reference in self._of_job(row):
                    if not any(_is_the_same(reference.stretch, other) for other in before):
                        taken[row["digest"]].append(reference.stretch)
                        found.append(reference)
        return found

    def _of_job(self, row: sqlite3.Row) -> list[Reference]:
        job, options = row["id"], json.loads(row["options"])
        segments = self._journal.segments(job)
        lines = self._corrections.applied(job, segments)
        kinds = {i: line.change.kind for i, line in enumerate(lines) if line.change}
        chosen = [i for i, kind in kinds.items() if kind in BY_A_PERSON]
        own = row["model"], Precision(row["precision"])
        said: dict[int, dict[Arm, str]] = {i: {own: segments[i].text} for i in chosen}
        with self._journal.transaction() as db:
            others = _same_recording(db, row, bool(options.get("translate"))) if chosen else []
            redone = db.execute(
                "SELECT line, model, precision, text FROM redos WHERE parent = ? AND text IS NOT NULL ORDER BY rowid DESC",
                (job,),
            ).fetchall()
        for arm, other in others:
            texts = self._texts(job, len(segments), other)
            for i in chosen:
                said[i].setdefault(arm, texts[i])
        for redo in redone:
            if redo["line"] in said:
                said[redo["line"]].setdefault((redo["model"], Precision(redo["precision"])), redo["text"])
        return [
            Reference(
                job, i, row["name"], self._journal.recordings / row["recording"], stretch_of(lines, i), lines[i].text,
                lines[i].language or options.get("language") or "", kinds[i] == "confirmed", *own, said[i],
            )
            for i in chosen
        ]  # fmt: skip

    def _aligned(self, job: str, count: int, other: str) -> tuple[str, ...]:
        """The other job's text of each of the first `count` lines of `job`. A finished line does not change."""
        return tuple(texts_by_line(self._journal.segments(job)[:count], self._journal.segments(other)))


def texts_by_line(lines: Sequence[Segment], other: Sequence[Segment]) -> list[str]:
    """The text of `other`, divided among `lines` of another transcript of the same recording.

    A unit that both have belongs to the line that has it. The others belong to the line of their time, but never before
    or after a unit that both have.
    """
    if not lines:
        return []
    mine, theirs = units_of(lines), units_of(other)
    line_of: list[int | None] = [None] * len(theirs)
    for step in align(mine, theirs):
        if step.kind == "equal":
            for own, their in zip(range(*step.first), range(*step.other), strict=True):
                line_of[their] = mine[own].cue
    latest = [len(lines) - 1] * len(theirs)
    for i in reversed(range(len(theirs) - 1)):
        latest[i] = latest[i + 1] if (known := line_of[i + 1]) is None else known
    borders = [(a.end_s + b.start_s) / 2 for a, b in itertools.pairwise(lines)]
    texts, earliest = [""] * len(lines), 0
    for unit, line, last in zip(theirs, line_of, latest, strict=True):
        if line is None:
            line = min(max(bisect_right(borders, (unit.start_s + unit.end_s) / 2), earliest), last)
        texts[line] += unit.text
        earliest = line
    return [text.strip() for text in texts]


def _same_recording(db: sqlite3.Connection, row: sqlite3.Row, translated: bool) -> list[tuple[Arm, str]]:
    """Other jobs that are done on the same recording, the newest first: their arm and id."""
    if not row["digest"]:
        return []
    jobs = db.execute(
        "SELECT id, model, precision, options FROM jobs WHERE digest = ? AND id != ? AND state = 'done' "
        "AND id NOT IN (SELECT job FROM redos) ORDER BY created DESC",
        (row["digest"], row["id"]),
    ).fetchall()
    return [
        ((job["model"], Precision(job["precision"])), job["id"])
        for job in jobs
        if bool(json.loads(job["options"]).get("translate")) is translated
    ]


def _is_the_same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two stretches share more than half of the shorter one."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return shared > min(one[1] - one[0], other[1] - other[0]) / 2

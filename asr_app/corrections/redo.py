"""A line recognised again, by a job of its own, at another precision or by another model.

The old line stays until the job is done. Its text is then the line's next change, unless the line has changed meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass

from asr_app.compare.comparisons import language_only
from asr_app.corrections.store import BY_A_PERSON, Corrections, Overtaken, add
from asr_app.datatypes import ModelCard, Options, Segment
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Task
from asr_app.observer import Observer, Status
from asr_app.precision import Precision
from asr_app.rows import read_segments
from asr_app.text import join

_AROUND_S = 0.2  # at most: the times of a line may be short of its first and last sound


@dataclass(frozen=True)
class Redo:
    """A line that is being recognised again, or for which that failed."""

    line: int
    model: str
    precision: Precision
    status: Status


class Redos:
    """Lines that are recognised again, by jobs that are submitted to `jobs`."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._journal = jobs, jobs.journal
        self._corrections, self._observer = Corrections(jobs.journal), Observer(jobs.journal)

    def begin(
        self, job: str, line: int, seen: int, card: ModelCard, precision: Precision, client: str = ""
    ) -> None:  # fmt: skip
        """Queues a job for the line's stretch. A second one for the same line takes the place of the first.

        Raises Overtaken if change `seen` is not the line's last one, and UserError where a job is refused.
        """
        task = self._journal.task(job)
        if task is None or not task.recording.is_file():
            raise UserError("The recording is gone. Upload it again.", "录音文件已不存在，请重新上传。")
        segments = self._corrections.applied(job, self._journal.segments(job))
        if not 0 <= line < len(segments):
            raise UserError("That line is not there any more. Reload the page.", "该行已不存在，请刷新页面。")
        change = segments[line].change
        if (change.number if change else 0) != seen:
            raise Overtaken
        options = _options(task, card, segments[line].language)
        options = dataclasses.replace(options, stretch=stretch_of(segments, line))
        redo = self._jobs.submit(task.recording, task.name, card.key, precision, options, client=client)
        self.cancel(job, line)
        with self._journal.transaction() as db:
            db.execute(
                "INSERT INTO redos (job, parent, line, seen, model, precision) VALUES (?, ?, ?, ?, ?, ?)",
                (redo, job, line, seen, card.key, precision.value),
            )

    def settle(self, job: str) -> list[Redo]:
        """Makes the results of redone lines changes of theirs. Returns those that are under way or have failed."""
        with self._journal.transaction() as db:
            rows = db.execute("SELECT * FROM redos WHERE parent = ? AND text IS NULL ORDER BY rowid", (job,)).fetchall()
        open_ = []
        for row in rows:
            status = self._observer.status(row["job"])
            if status is None or status.state == "cancelled":
                self._forget(row["job"])
            elif status.state == "done":
                self._settle(job, row["job"], row["line"], row["seen"], row["model"], Precision(row["precision"]))
            else:
                open_.append(Redo(row["line"], row["model"], Precision(row["precision"]), status))
        return open_

    def cancel(self, job: str, line: int) -> None:
        """Cancels what is under way for the line, and forgets what has failed."""
        for redo in self.settle(job):
            if redo.line == line:
                self._jobs.cancel(redo.status.id)
                self._forget(redo.status.id)

    def _settle(self, job: str, redo: str, line: int, seen: int, model: str, precision: Precision) -> None:
        with self._journal.transaction() as db:
            segments = read_segments(db, redo)
            text, words = join(s.text for s in segments), [word for s in segments for word in s.words]
            # Kept for the figures, whatever becomes of the line.
            if not db.execute("UPDATE redos SET text = ? WHERE job = ? AND text IS NULL", (text, redo)).rowcount:
                return  # another request has settled it
            before = self._corrections.line(job, line)
            if not (before.text == text and before.change and before.change.kind in BY_A_PERSON):
                with contextlib.suppress(Overtaken):  # a person was faster, and is right
                    add(db, job, line, "redone", text, seen, words, model, precision)
        self._journal.remove(redo)

    def _forget(self, redo: str) -> None:
        """Deletes the redo. Its job goes with it if it has ended, else once it has stopped."""
        with self._journal.transaction() as db:
            db.execute("UPDATE redos SET parent = '' WHERE job = ? AND text IS NULL", (redo,))
        self._journal.remove(redo)


def stretch_of(segments: tuple[Segment, ...], line: int) -> tuple[float, float]:
    """Start and end in seconds of the line with a little around it, no further than half-way to its neighbours."""
    start_s, end_s = segments[line].start_s, segments[line].end_s
    before_s = (segments[line - 1].end_s + start_s) / 2 if line else 0.0
    after_s = (segments[line + 1].start_s + end_s) / 2 if line + 1 < len(segments) else end_s + _AROUND_S
    return (
        max(0.0, min(start_s, max(start_s - _AROUND_S, before_s))),
        max(end_s, min(end_s + _AROUND_S, after_s)),
    )


def _options(task: Task, card: ModelCard, language: str | None) -> Options:
    """The options of the line's job, as far as `card` has them. A line is too short to detect its language from."""
    options = task.options
    if card.key != task.model:
        script = options.script if "zh" in card.languages else None
        options = dataclasses.replace(language_only(card, options), script=script, translate=options.translate)
    spoken = options.language or language
    if "language" not in card.capabilities or spoken not in card.languages:
        spoken = None
    languages = () if spoken else options.languages
    return dataclasses.replace(
        options, cuts=None, language=spoken, languages=languages, speakers=False, speaker_count=None
    )

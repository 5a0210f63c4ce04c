"""Durable jobs: submit a recording, observe its text growing, cancel it; a reload or a kill -9 loses nothing.

Each thread takes queued jobs in order and writes every finished chunk to the journal; a job that was running when the
process died is taken up again at its next chunk. One engine has one thread.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from asr_app import catalog
from asr_app.audio import Limits
from asr_app.database import unusable
from asr_app.datatypes import Options
from asr_app.engines import Engines
from asr_app.errors import Cancelled, QueueFull, TooLarge, UserError
from asr_app.families.base import require
from asr_app.journal import REQUEST, Journal, Task, View
from asr_app.precision import Precision
from asr_app.rows import replace_segments
from asr_app.stopping import Stop, supervise
from asr_app.storage import UPLOAD_KEPT_S, fingerprint
from asr_app.turns import MOST_WAITING
from asr_app.work import Before, Event, Length, LocalWorker, Split, Stage, Worker

log = logging.getLogger(__name__)
_CLEAN_EVERY_S = 600.0
_DOUBLE_CLICK_S = 2.0


@dataclass
class Totals:
    """Sums over the jobs that have ended since the start. `ended` counts them by their state."""

    ended: Counter[str] = field(default_factory=Counter)
    audio_s: float = 0.0
    work_s: float = 0.0


class Jobs:
    """The journal, and the threads that work on its jobs. `start` runs them; `stop` ends them between chunks.

    `worker` does the work of each of the `threads`; by default it uses `engines`, in one.
    """

    def __init__(
        self, journal: Journal, engines: Engines, limits: Limits, worker: Worker | None = None, threads: int = 1
    ) -> None:
        self.journal, self.totals = journal, Totals()
        self.before_each: Callable[[], None] = lambda: None  # called before the work on each job
        self.cleaning: list[Callable[[], object]] = [journal.forget_old, lambda: journal.storage.sweep(UPLOAD_KEPT_S)]
        self._limits, self._worker = limits, worker or LocalWorker(engines, limits)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._work, name="jobs", daemon=True) for _ in range(threads)]
        self._lock = threading.Lock()  # guards `totals` and `_busy`
        self._busy: set[str] = set()  # jobs that a thread works on
        journal.recover()
        journal.forget_old(requests=True)  # nobody waits for those of an earlier process
        journal.storage.sweep(0)

    def submit(
        self, path: Path, name: str, model: str, precision: Precision, options: Options, before: str = "",
        client: str = "", *, is_request: bool = False,
    ) -> str:  # fmt: skip
        """Keeps the recording, queues the job and returns its id at once. Clients take turns in the queue.

        `before` is the client's last job, which is returned if a double click asks for the same once more. With
        `is_request` a request waits for the job and deletes it; the next start of the server does if this one dies.
        Raises UserError for a bad file, and for an option that the model lacks.
        """
        card = catalog.find(model)
        require(card, options)
        if not path.is_file():
            raise UserError("The recording is gone. Upload it again.", "录音文件已不存在，请重新上传。")
        try:
            return self._submit(path, name, card.key, precision, options, before, client, REQUEST if is_request else "")
        except sqlite3.OperationalError as error:
            raise unusable(error) from error

    def _submit(
        self, path: Path, name: str, model: str, precision: Precision, options: Options, before: str, client: str,
        prefix: str,
    ) -> str:  # fmt: skip
        if before and self.journal.is_just_added(before, name, model, precision, options, _DOUBLE_CLICK_S):
            return before
        size = path.stat().st_size
        if size > self._limits.max_bytes:
            limit = self._limits.max_bytes / 2**20
            raise TooLarge(
                f"The file has {size / 2**20:.0f} MB; at most {limit:.0f} MB are taken. Split it, or save it as mp3.",
                f"文件大小为 {size / 2**20:.0f} MB，上限为 {limit:.0f} MB。请拆分文件或另存为 mp3。",
            )
        if self.journal.waiting(client) >= MOST_WAITING:
            raise QueueFull(
                f"{MOST_WAITING} of your recordings are waiting already. Wait until one is done, or cancel one.",
                f"您已有 {MOST_WAITING} 个录音在排队。请等待其中一个完成，或取消一个。",
            )
        job = prefix + secrets.token_urlsafe(18)
        kept = self.journal.storage.keep(path, job)
        try:
            self.journal.add(job, name, kept, model, precision, options, client, fingerprint(kept))
        except sqlite3.OperationalError:
            kept.unlink(missing_ok=True)  # not the upload: the page will offer it once more
            raise
        self._wake.set()
        return job

    def observe(self, job: str) -> View | None:
        """The job as it stands; None for an id that the journal does not know (any more)."""
        return self.journal.view(job)

    def cancel(self, job: str) -> None:
        """Takes effect at once for a queued job, within two seconds for a running one. Raises UserError if it cannot be noted."""
        try:
            self.journal.ask_to_cancel(job)
        except sqlite3.OperationalError as error:
            raise unusable(error) from error

    def pause(self, job: str) -> None:
        """Like `cancel`, but `go_on` takes the job up again after its last chunk."""
        try:
            self.journal.ask_to_pause(job)
        except sqlite3.OperationalError as error:
            raise unusable(error) from error

    def go_on(self, job: str) -> None:
        """Queues a paused job again. Raises UserError if it cannot be noted."""
        try:
            self.journal.go_on(job)
        except sqlite3.OperationalError as error:
            raise unusable(error) from error
        self._wake.set()

    def start(self) -> None:
        """Starts taking jobs."""
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._clean, name="clean", daemon=True).start()

    def stop(self) -> None:
        """Ends the work within two seconds; its jobs are taken up again at the next start, after their last chunks."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=30)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                task = self.journal.take()
                self.journal.trouble = None
                if task is None:
                    self._wake.wait(1.0)
                    self._wake.clear()
                else:
                    with self._working_on(task.id):
                        self.before_each()
                        self._attempt(task)
            except sqlite3.OperationalError as error:  # a full disk must not end the worker, nor fill the log
                self.journal.trouble = unusable(error)
                log.error("%s", self.journal.trouble)
                self._stopping.wait(5.0)
                self._recover_if_possible()
            except Exception:
                log.exception("the journal cannot be used; trying again")
                self._stopping.wait(5.0)
                self._recover_if_possible()

    def _clean(self) -> None:
        """Deletes what is old. In a thread of its own: a job may take hours."""
        while not self._stopping.is_set():
            try:
                for clean in self.cleaning:
                    clean()
            except Exception:  # a locked journal must not end the cleaning
                log.exception("old recordings could not be deleted; trying again")
            self._stopping.wait(_CLEAN_EVERY_S)

    @contextlib.contextmanager
    def _working_on(self, job: str) -> Iterator[None]:
        with self._lock:
            self._busy.add(job)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(job)

    def _recover_if_possible(self) -> None:
        with self._lock:
            busy = tuple(self._busy)
        try:
            self.journal.recover(busy)
        except sqlite3.OperationalError:
            log.error("the journal still cannot be used")
        except Exception:
            log.exception("the journal still cannot be used")

    def _attempt(self, task: Task) -> None:
        stop = Stop()
        try:
            supervise(lambda: self._run(task, stop), stop, lambda: self._watch(task, stop))
            return
        except Cancelled:
            state = self.journal.stop_asked(task.id) or "queued"  # the server stops
        except UserError as error:
            self._end(task, "failed", error)
            return
        except sqlite3.OperationalError as error:
            log.error("a job could not be written down: %s", error)
            self._end(task, "failed", unusable(error))
            return
        except Exception as error:  # the worker outlives any job; the traceback goes to the log
            log.exception("job failed")
            what = type(error).__name__
            failure = UserError(
                f"Recognition failed ({what}). The server's log has the details; what was heard so far is kept.",
                f"识别失败（{what}）。详情见服务器日志；已识别的内容会保留。",
            )
            self._end(task, "failed", failure)
            return
        self._end(task, state)

    def _end(self, task: Task, state: str, error: UserError | None = None) -> None:
        if state not in ("queued", "paused"):
            with self._lock:
                self.totals.ended[state] += 1
        self.journal.end(task.id, state, error)

    def _raise_if_unwanted(self, task: Task) -> None:
        """Raises Cancelled where the job is to be cancelled or paused, or the server stops."""
        if self._stopping.is_set() or self.journal.stop_asked(task.id):
            raise Cancelled

    def _watch(self, task: Task, stop: Stop) -> None:
        """Like `_raise_if_unwanted`, but also raises UserError if the model hangs."""
        self._raise_if_unwanted(task)
        if stop.is_overdue():
            raise UserError(
                "The model did not answer for far longer than such a stretch of speech takes. The job was ended; the "
                "text so far is kept. Submit the recording again, or choose another model.",
                "模型长时间没有响应，远超处理这段语音所需的时间。任务已结束，已识别的文本会保留。请重新提交录音，或选择其他模型。",
            )

    def _run(self, task: Task, stop: Stop) -> None:
        """Works on the task until it is done. Raises Cancelled where `stop` asks, and writes nothing from then on."""

        def tell(event: Event) -> None:
            stop.check()
            if isinstance(event, Stage):
                self.journal.stage(task.id, event.name, event.done, event.total)
            elif isinstance(event, Length):
                self.journal.length(task.id, event.seconds)
            elif isinstance(event, Split):
                with self.journal.transaction() as db:
                    replace_segments(db, task.id, event.pieces)
            else:
                step = event.progress
                self.journal.write_chunk(
                    task.id, step.end_s, step.segments, step.carry, step.done_s, step.speech_s, event.eta_s,
                    step.times, step.doubts, event.latency_s,
                )  # fmt: skip
                self._raise_if_unwanted(task)

        before = Before(self.journal.segments(task.id), self.journal.doubts(task.id))
        transcript = self._worker.work(task, before, stop, tell)
        stop.check()
        self.journal.finish(task.id, transcript)
        with self._lock:
            self.totals.ended["done"] += 1
            self.totals.audio_s += transcript.audio_s
            self.totals.work_s += transcript.times.work_s

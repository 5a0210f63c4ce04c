"""Downloads and loads models in the background: the one the server starts with, and those that the page asks for.

If the model of the start is not available, the fallback replaces it until a later try succeeds.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import Cancelled, UserError
from asr_app.precision import Precision
from asr_app.stopping import Stop, supervise
from asr_app.terminal import DownloadProgress

log = logging.getLogger(__name__)
_PACE_AFTER_S = 2.0  # of downloading, before its end is estimated
_STOP_WITHIN_S = 5.0


@dataclass(frozen=True)
class Preparation:
    """Progress of a model: `stage` is "loading", "downloading" or "quantising".

    `done` and `total` are bytes while downloading (`total` 0 while unknown) and steps while quantising; `left_s` is
    the estimated time to the end of the download.
    """

    card: ModelCard
    precision: Precision
    stage: str = "loading"
    done: int = 0
    total: int = 0
    left_s: float | None = None


@dataclass(frozen=True)
class Failure:
    """Reason why a model could not be loaded, and its replacement if it was the model of the start."""

    card: ModelCard
    precision: Precision
    error: UserError
    instead: ModelCard | None = None


class Preparer:
    """Prepares one model at a time. The page reads `current`, `waiting`, `failure` and `home`.

    `home` is the key of the model that a new page offers: `wanted`, or `fallback` while `wanted` is not available.
    `on_ready` is called in the background thread with each loaded model except the fallback.
    """

    def __init__(
        self,
        engines: Engines,
        wanted: ModelCard,
        fallback: ModelCard,
        on_ready: Callable[[ModelCard, Precision], None] = lambda _card, _precision: None,
    ) -> None:
        self.home = wanted.key
        self.current: Preparation | None = None
        self.waiting: tuple[tuple[ModelCard, Precision], ...] = ()
        self.failure: Failure | None = None
        self._engines, self._wanted, self._fallback, self._on_ready = engines, wanted, fallback, on_ready
        self._lock = threading.Lock()  # guards `current` and `waiting` where both change
        self._stop = Stop()  # of the present preparation
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def stage(self) -> str:
        """The stage of the present preparation, or "no model"; empty once a model is loaded and none is prepared."""
        current, engines = self.current, self._engines
        is_there = engines.resident() or engines.resting  # one that rests is loaded by the next job
        return current.stage if current else "" if is_there else "no model"

    def begin(self, card: ModelCard, precision: Precision) -> None:
        """Prepares the model in the background, after earlier requests."""
        with self._lock:
            if self.current is None:
                self._next(card, precision)
                self._thread = threading.Thread(target=self._run, name="prepare", daemon=True)
                self._thread.start()
            elif card.key not in (self.current.card.key, *(c.key for c, _ in self.waiting)):
                self.waiting = (*self.waiting, (card, precision))

    def retry(self) -> None:
        """Prepares the failed model again."""
        if (failure := self.failure) is not None:
            self.begin(failure.card, failure.precision)

    def stop(self) -> None:
        """Ends the present download, loading or quantisation within two seconds."""
        self._stop.ask()

    def close(self) -> None:
        """Ends all work, and waits until incomplete files are removed."""
        self.waiting, self._closed = (), True
        self.stop()
        if self.current is not None and self._thread is not None:
            self._thread.join(_STOP_WITHIN_S)

    def _next(self, card: ModelCard, precision: Precision) -> None:
        self._stop = Stop()
        self.current = Preparation(card, precision)
        if self.failure is not None and self.failure.card.key == card.key:
            self.failure = None

    def _run(self) -> None:
        ready = []
        while (job := self.current) is not None:
            if self._make_ready(job.card, job.precision):
                ready.append(job)
            with self._lock:
                self.current = None
                if self.waiting:
                    (card, precision), *rest = self.waiting
                    self.waiting = tuple(rest)
                    self._next(card, precision)
        for job in ready:
            self._on_ready(job.card, job.precision)

    def _make_ready(self, card: ModelCard, precision: Precision) -> bool:
        """Whether the model is ready. If not, sets `failure`, and loads the fallback for the model of the start."""
        error = self._prepare(card, precision)
        is_wanted = card.key == self._wanted.key
        if error is None:
            if is_wanted:
                self.home = card.key
            return True
        log.error("%s could not be made ready: %s", card.id, error)
        instead = self._fallback if is_wanted and card.key != self._fallback.key else None
        self.failure = Failure(card, precision, error, instead)
        if instead is not None and not self._closed:
            self._fall_back(instead)
        return False

    def _fall_back(self, instead: ModelCard) -> None:
        log.warning("%s answers in its place", instead.id)
        self.home = instead.key
        self._stop = Stop()  # the one before was meant for the other model
        self.current = Preparation(instead, Precision.FP32)
        if error := self._prepare(instead, Precision.FP32):
            log.error("%s could not be made ready either: %s", instead.id, error)
            self.failure = Failure(instead, Precision.FP32, error)

    def _prepare(self, card: ModelCard, precision: Precision) -> UserError | None:
        """Downloads and loads the model. Returns the error, or None."""
        progress = DownloadProgress(card.id)
        pace = _Pace()

        stop = self._stop

        def downloading(done: int, total: int) -> None:
            stop.check()
            progress(done, total)
            if done >= total > 0:
                self._show("loading")
            else:
                self._show("downloading", done, total, pace.left_s(done, total))

        def making(done: int, total: int) -> None:
            stop.check()
            progress.close()
            self._show("quantising", done, total)

        def load() -> None:
            with self._engines.use(card, precision, downloading, making, stop) as loaded:
                loaded.fresh = False  # no job waited for it

        try:
            supervise(load, stop, stop.check)
        except UserError as error:
            return error
        except Cancelled:
            return UserError("Its download was stopped.", "下载已停止。")
        except Exception as error:  # the server must outlive it; the traceback goes to the log
            log.exception("loading %s failed", card.id)
            what = type(error).__name__
            return UserError(
                f"Loading {card.id} failed ({what}); the server's log has the details. Choose another model.",
                f"加载 {card.id} 失败（{what}），详情见服务器日志。请选择其他模型。",
            )
        finally:
            progress.close()
        return None

    def _show(self, stage: str, done: int = 0, total: int = 0, left_s: float | None = None) -> None:
        assert self.current is not None
        self.current = dataclasses.replace(self.current, stage=stage, done=done, total=total, left_s=left_s)


class _Pace:
    """Estimates the end of a download from its speed since the first report. Bytes of an earlier try do not count."""

    def __init__(self) -> None:
        self._began, self._before, self._total = 0.0, 0, -1

    def left_s(self, done: int, total: int) -> float | None:
        if total != self._total:  # another file
            self._began, self._before, self._total = time.monotonic(), done, total
        spent = time.monotonic() - self._began
        arrived = done - self._before
        return (total - done) * spent / arrived if spent > _PACE_AFTER_S and arrived > 0 and total else None

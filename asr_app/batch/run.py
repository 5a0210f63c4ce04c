"""Passes over the recordings: what is new or changed is recognised and written, the rest is left alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from asr_app.audio import stated_seconds
from asr_app.batch.forecast import Forecast, Prediction
from asr_app.batch.recognisers import Recogniser
from asr_app.batch.sources import Found, Source
from asr_app.batch.store import DiskFull, Stamp, Store, stamp
from asr_app.datatypes import Transcript
from asr_app.errors import UserError
from asr_app.terminal import progress_bar

_LOOK_EVERY_S = 2.0
_STABLE_S = 5.0  # a watched file that has not changed for so long is whole
_HEADERS_AT_ONCE = 4


@dataclass
class Totals:
    """Counts of a run. `work_s` are seconds of wall clock of its passes, model loading included."""

    done: int = 0
    skipped: int = 0
    audio_s: float = 0.0
    work_s: float = 0.0
    predictions: list[Prediction] = field(default_factory=list)

    def as_dict(self, failed: int) -> dict[str, Any]:
        """The figures for summary.json."""
        return {
            "done": self.done,
            "skipped": self.skipped,
            "failed": failed,
            "audio_s": round(self.audio_s, 3),
            "elapsed_s": round(self.work_s, 3),
            "predictions": [
                {
                    "at": round(p.share, 4),
                    "predicted_left_s": round(p.predicted_s, 3),
                    "actual_left_s": round(p.actual_s, 3),
                    "error": round(p.error, 4),
                }
                for p in self.predictions
            ],
        }


class Run:
    """A run that writes into `store`. `totals` counts what it did, whenever it ends.

    `find` looks for recordings, `say` shows a line to the user, `language` is theirs.
    """

    def __init__(
        self, find: Callable[[], Found], recogniser: Recogniser, store: Store, say: Callable[[str], None], language: str
    ) -> None:
        self._find, self._recogniser, self._store = find, recogniser, store
        self._say, self._language = say, language
        self.totals = Totals()
        self._failed: dict[str, Stamp | None] = {}  # by name: the recording as it was when it failed

    def once(self) -> None:
        """One pass over everything. Raises DiskFull, and UserError if the model cannot be loaded."""
        found = self._find()
        self._refuse(found)
        self._pass(found.sources)

    def watch(self) -> None:
        """Passes over whatever is new, whole and has not failed as it is. Returns never; Ctrl-C raises KeyboardInterrupt."""
        seen: dict[str, tuple[Stamp, float]] = {}
        first = True
        while True:
            found = self._find()
            if first:
                self._refuse(found)
            ready = [s for s in found.sources if self._failed.get(s.name, []) != stamp(s.path) and _is_whole(s, seen)]
            self._pass(ready, first=first)
            first = False
            time.sleep(_LOOK_EVERY_S)

    def _refuse(self, found: Found) -> None:
        for name, error in found.refused:
            self._fail(name, name, error)

    def _fail(self, name: str, path: str, error: UserError) -> None:
        self._store.fail(name, path, error)
        self._say(f"error: {name}: {error.text(self._language)}")

    def _pass(self, sources: Sequence[Source], *, first: bool = True) -> None:
        todo = [source for source in sources if not self._store.is_done(source)]
        if first:
            self.totals.skipped += len(sources) - len(todo)
        if not todo:
            return
        # What killed a process goes last, so that it cannot keep the others from being done.
        todo.sort(key=self._store.is_interrupted)
        lengths = self._lengths(todo)
        began = time.monotonic()
        self._recogniser.prepare()  # loading is no part of the measured rate
        forecast = Forecast(list(lengths.values()))
        bar = progress_bar("", len(todo), "file")
        bar.bar_format = "{percentage:3.0f}%|{bar:20}| {desc}"
        try:
            self._show(bar, forecast)
            for source, outcome in self._recogniser.outcomes(self._begun(todo, forecast, lengths)):
                self._take(source, outcome)
                forecast.add(lengths[source.name])
                bar.update()
                self._show(bar, forecast)
            if first:
                self.totals.predictions = forecast.scored()
        finally:
            bar.close()
            self.totals.work_s += time.monotonic() - began

    def _begun(self, todo: Sequence[Source], forecast: Forecast, lengths: dict[str, float | None]) -> Iterator[Source]:
        """The sources that can be worked on, each noted as begun when it is taken."""
        for source in todo:
            try:
                self._store.begin(source)
            except DiskFull:
                raise
            except UserError as error:
                self._failed[source.name] = stamp(source.path)
                self._fail(source.name, str(source.path), error)
                forecast.add(lengths[source.name])
                continue
            yield source

    def _take(self, source: Source, outcome: Transcript | UserError) -> None:
        if isinstance(outcome, Transcript):
            try:
                self._store.finish(source, outcome)
            except DiskFull:
                raise
            except UserError as error:
                outcome = error
            else:
                self.totals.done += 1
                self.totals.audio_s += outcome.audio_s
                self._failed.pop(source.name, None)
                return
        self._failed[source.name] = stamp(source.path)
        self._fail(source.name, str(source.path), outcome)

    def _lengths(self, todo: Sequence[Source]) -> dict[str, float | None]:
        with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool, progress_bar("reading headers", len(todo), "file") as bar:
            lengths = {}
            for source, length in zip(todo, pool.map(stated_seconds, [s.path for s in todo]), strict=True):
                lengths[source.name] = length
                bar.update()
        return lengths

    def _show(self, bar: tqdm, forecast: Forecast) -> None:
        left = "measuring" if forecast.left_s is None else f"{clock(forecast.left_s)} left"
        done, whole = forecast.done_s / 3600, forecast.audio_s / 3600
        bar.set_description_str(f"{bar.n}/{bar.total} files, {done:.2f}/{whole:.2f} h of audio, {left}", refresh=False)
        if sys.stderr.isatty():
            bar.refresh()


def clock(seconds: float) -> str:
    """`0:01:15`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _is_whole(source: Source, seen: dict[str, tuple[Stamp, float]]) -> bool:
    """Whether the file has stopped growing. `seen` holds its last stamp and when it was first seen like that."""
    now = stamp(source.path)
    if now is None:
        return False
    before = seen.get(source.name)
    if before is None:  # one that is older than that is whole at once
        seen[source.name] = now, time.monotonic() - max(0.0, time.time() - now[1] / 1e9)
    elif before[0] != now:
        seen[source.name] = now, time.monotonic()
    return time.monotonic() - seen[source.name][1] >= _STABLE_S

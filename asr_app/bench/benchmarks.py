"""Benchmarks as folders under ASR_HOME: what was given, what was asked, how it stands, what was measured.

benchmarks/ID/benchmark.json   this module's record of it
              dataset/         the recordings and references, unless the server's owner offers them
              clips/           finished clips of each arm, by which an interrupted run goes on
              results.json     the results so far
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_app import catalog
from asr_app.bench.incoming import gather, put_examples, table_of
from asr_app.bench.records import USERS, Asked, Benchmark, Found, read
from asr_app.datasets import read_dataset
from asr_app.errors import UserError
from asr_app.examples import understood_by
from asr_app.journal import KEEP_DAYS
from asr_app.precision import Precision
from asr_app.report.files import read_results, write_whole
from asr_app.storage import UPLOAD_KEPT_S, Storage

log = logging.getLogger(__name__)
RESULTS = "results.json"
MOST_ROUNDS = 20
MOST_WAITING = 3  # benchmarks of one client
_RECORD, _DATASET = "benchmark.json", "dataset"
_EXAMPLES = "example"
_ID = re.compile(r"[\w-]{24}", re.ASCII)
_DOUBLE_CLICK_S = 2.0
_MOST_DEATHS = 2  # of the server, without a step between them


class Benchmarks:
    """The benchmarks in `storage`. `offered` are the folders or manifests of the server's owner, by name.

    All changes go through this object: one server uses the folder.
    """

    def __init__(self, storage: Storage, offered: Mapping[str, Path]) -> None:
        self.offered = offered
        self.busy = ""  # the id of the one whose process runs
        self._storage, self._home = storage, storage.benchmarks
        self._lock = threading.RLock()  # guards `_known` and the records
        self._known: dict[str, Benchmark] = {}
        for folder in self._home.iterdir():
            if _ID.fullmatch(folder.name) and (benchmark := read(folder / _RECORD)):
                self._known[folder.name] = benchmark
        self._recover()

    # -- from the page -------------------------------------------------------------------------------------------------

    def draft(self, paths: Sequence[Path], client: str = "") -> Benchmark:
        """A draft of the uploads. Raises UserError for files that are no dataset, and without room for them."""
        id_, folder = self._new()
        with _all_or_nothing(folder):
            unused = gather(paths, folder / _DATASET, self._storage)
            table = table_of(folder / _DATASET)
            found = Found.of(read_dataset(table), unused)
            name = table.name if table.is_file() else paths[0].name + (f" + {len(paths) - 1}" if paths[1:] else "")
            place = table.relative_to(folder).as_posix()
            return self._put(Benchmark(id_, time.time(), client, "files", name, found, place))

    def draft_examples(self, client: str = "") -> Benchmark:
        """A draft of the clips of example/. Raises UserError without room for them."""
        id_, folder = self._new()
        with _all_or_nothing(folder):
            put_examples(folder / _DATASET, self._storage)
            found = Found.of(read_dataset(folder / _DATASET))
            return self._put(Benchmark(id_, time.time(), client, _EXAMPLES, _EXAMPLES, found, _DATASET))

    def draft_offered(self, name: str, client: str = "") -> Benchmark:
        """A draft of the data that are offered by this name. Raises UserError if there are none, or no recordings."""
        found = Found.of(read_dataset(self._offer(name)))
        id_, folder = self._new()
        with _all_or_nothing(folder):
            return self._put(Benchmark(id_, time.time(), client, "offered", name, found))

    def begin(self, draft: str, asked: Asked, before: str = "") -> str:
        """Queues a benchmark of the draft's data and returns its id; the draft stays.

        `before` is the client's last benchmark, which is returned if a double click asks for the same once more. Raises
        UserError for a draft that is gone, and for settings that cannot be.
        """
        given = self.find(draft)
        if given is None:
            raise UserError(
                "The recordings are gone. Give them again: they are kept for an hour before the start.",
                "录音已不在。请重新提供：开始之前只保留一小时。",
            )
        last = self.find(before)
        if last and last.asked == asked and last.found == given.found and time.time() - last.created < _DOUBLE_CLICK_S:
            return before
        _require_valid(asked, given)
        only = _understood(asked.models) if given.source == _EXAMPLES else ()
        waiting = [b for b in self.all() if b.client == given.client and b.state in ("queued", "running")]
        if len(waiting) >= MOST_WAITING:
            raise UserError(
                f"{MOST_WAITING} of your benchmarks have not ended. Wait until one is done, or stop one.",
                f"您有 {MOST_WAITING} 个评测尚未结束。请等待其中一个完成，或停止一个。",
            )
        id_, folder = self._new()
        with _all_or_nothing(folder):
            if (self._home / draft / _DATASET).is_dir():
                self._storage.require_room(0)
                shutil.copytree(self._home / draft / _DATASET, folder / _DATASET, copy_function=_link)
            made = dataclasses.replace(
                given, id=id_, created=time.time(), state="queued", asked=asked, only=only
            )  # fmt: skip
            return self._put(made).id

    def find(self, benchmark: str) -> Benchmark | None:
        """The benchmark as it stands; None for an unknown id."""
        with self._lock:
            return self._known.get(benchmark)

    def all(self) -> list[Benchmark]:
        """All benchmarks, drafts among them, the oldest first."""
        with self._lock:
            return sorted(self._known.values(), key=lambda benchmark: benchmark.created)

    def ahead(self, benchmark: Benchmark) -> int:
        """The number of benchmarks that run or wait before this one."""
        return sum(
            other.state in ("queued", "running") and other.created < benchmark.created for other in self.all()
        )  # fmt: skip

    def cancel(self, benchmark: str) -> None:
        """Ends a benchmark; what is done stays. Its process ends within a second."""
        self._change(benchmark, ("queued", "running"), state="cancelled")

    def go_on(self, benchmark: str) -> None:
        """Queues a benchmark again that was cancelled or failed. It goes on where it was."""
        self._change(benchmark, ("cancelled", "failed"), state="queued", error=None, deaths=0)

    def remove(self, benchmark: str) -> None:
        """Deletes a benchmark that has ended, or a draft. Does nothing to any other."""
        with self._lock:
            found = self._known.get(benchmark)
            if found and benchmark != self.busy and (found.finished or found.state == "draft"):
                del self._known[benchmark]
                shutil.rmtree(self._home / benchmark, ignore_errors=True)

    def results(self, benchmark: str) -> dict[str, Any] | None:
        """The results so far; None without any. Raises UserError if they cannot be read."""
        file = self._home / benchmark / RESULTS
        return read_results(file) if self.find(benchmark) and file.is_file() else None

    def stamp(self, benchmark: str) -> int:
        """A number that is another one when the results are."""
        with contextlib.suppress(OSError):
            return (self._home / benchmark / RESULTS).stat().st_mtime_ns
        return 0

    # -- from the runner -----------------------------------------------------------------------------------------------

    def take(self) -> Benchmark | None:
        """The oldest benchmark that waits, now running; None if none waits."""
        with self._lock:
            waiting = next((benchmark for benchmark in self.all() if benchmark.state == "queued"), None)
            return waiting and self._put(dataclasses.replace(waiting, state="running"))

    def end(self, benchmark: str, state: str, error: UserError | None = None) -> None:
        """Done, failed, or queued again; nothing for one that does not run any more."""
        self._change(benchmark, ("running",), state=state, error=error and (error.en, error.zh))

    def give_way(self, benchmark: str) -> None:
        """Queues the running benchmark again, since a transcription goes first."""
        if found := self.find(benchmark):
            self._change(benchmark, ("running",), state="queued", breaks=found.breaks + 1)

    def progressed(self, benchmark: str) -> None:
        """Forgets earlier deaths of the server: the benchmark gets on."""
        if (found := self.find(benchmark)) and found.deaths:
            self._change(benchmark, ("running",), deaths=0)

    def folder(self, benchmark: Benchmark) -> Path:
        """The benchmark's own folder."""
        return self._home / benchmark.id

    def data(self, benchmark: Benchmark) -> Path:
        """The path for `read_dataset`. Raises UserError if the owner does not offer the data any more."""
        return (
            self._offer(benchmark.name)
            if benchmark.source == "offered"
            else self._home / benchmark.id / benchmark.table
        )

    def forget_old(self) -> None:
        """Deletes benchmarks older than KEEP_DAYS, drafts older than an hour, and folders whose record is missing so long.

        A record that cannot be read may be of another version: its folder is kept as long as any.
        """
        now = time.time()
        for benchmark in self.all():
            kept_s = UPLOAD_KEPT_S if benchmark.state == "draft" else KEEP_DAYS * 86400
            if now - benchmark.created > kept_s and benchmark.state != "running":
                self._change(benchmark.id, ("queued",), state="cancelled")
                self.remove(benchmark.id)
        with self._lock:
            for folder in self._home.iterdir():
                kept_s = KEEP_DAYS * 86400 if (folder / _RECORD).exists() else UPLOAD_KEPT_S
                if folder.name not in self._known and now - folder.stat().st_ctime > kept_s:
                    shutil.rmtree(folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """After the process died: what ran is queued again, unless the server died too often at it. Drafts go."""
        for benchmark in self.all():
            if benchmark.state == "draft":
                self.remove(benchmark.id)
            elif benchmark.state == "running" and benchmark.deaths >= _MOST_DEATHS:
                self.end(benchmark.id, "failed", UserError(
                    f"The server stopped {_MOST_DEATHS + 1} times during this benchmark. What is done is kept. Choose fewer "
                    "or smaller models.",
                    f"此评测期间服务器停止了 {_MOST_DEATHS + 1} 次。已完成的部分会保留。请减少模型或选择更小的模型。",
                ))  # fmt: skip
            else:
                self._change(benchmark.id, ("running",), state="queued", deaths=benchmark.deaths + 1)

    def _offer(self, name: str) -> Path:
        if name not in self.offered:
            raise UserError(
                f"{name[:80]!r} is not offered here (any more). Choose other recordings.",
                f"此处不（再）提供 {name[:80]!r}。请选择其他录音。",
            )
        return self.offered[name]

    def _new(self) -> tuple[str, Path]:
        """A new id, a secret of its browser, and its folder, which this user alone can read."""
        id_ = secrets.token_urlsafe(18)
        folder = self._home / id_
        folder.mkdir(mode=0o700)
        return id_, folder

    def _put(self, benchmark: Benchmark) -> Benchmark:
        with self._lock:
            self._write(benchmark)
            self._known[benchmark.id] = benchmark
            return benchmark

    def _change(self, benchmark: str, states: Sequence[str], **fields: Any) -> None:
        """Changes the benchmark if it is in one of the `states`; on a full disk, until this process ends."""
        with self._lock:
            found = self._known.get(benchmark)
            if found and found.state in states:
                self._known[benchmark] = dataclasses.replace(found, **fields)
                try:
                    self._write(self._known[benchmark])
                except OSError as error:
                    log.error("the state of a benchmark could not be written: %s", error)

    def _write(self, benchmark: Benchmark) -> None:
        text = json.dumps(dataclasses.asdict(benchmark), ensure_ascii=False, indent=1)
        write_whole(self._home / benchmark.id / _RECORD, text)


@contextlib.contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """Deletes the folder if the block raises. Raises UserError where the disk refuses."""
    try:
        yield
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"The recordings could not be stored ({error.strerror}). Free some space on the server's disk and retry.",
            f"无法保存录音（{error.strerror}）。请清理服务器磁盘后重试。",
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copyfile(source, target)


def _require_valid(asked: Asked, draft: Benchmark) -> None:
    """Raises UserError for settings that cannot be, and for a language that no recording has."""
    for name in asked.models:
        catalog.find(name)
    for precision in asked.precisions:
        Precision.parse(precision)
    if not asked.models or not asked.precisions:
        raise UserError("Choose at least one model and one precision.", "请至少选择一个模型和一种精度。")
    if set(asked.languages) - set(draft.found.languages):
        raise UserError("Choose among the languages of these recordings.", "请在这些录音的语言中选择。")
    if not 1 <= asked.rounds <= MOST_ROUNDS:
        raise UserError(f"Rounds are 1 to {MOST_ROUNDS}.", f"轮数为 1 至 {MOST_ROUNDS}。")
    if not set(asked.users) <= set(USERS):
        raise UserError(f"Users are {USERS}.", f"用户数只能是 {USERS}。")


def _understood(models: Sequence[str]) -> tuple[str, ...]:
    """The clips of example/ that all of the models understand. Raises UserError if there are none."""
    names = set.intersection(*(set(understood_by(catalog.find(model))) for model in models))
    if not names:
        raise UserError(
            "No example is understood by all of these models: the demo models know a small vocabulary. Choose either "
            "demo models or others.",
            "没有这些模型都能识别的示例：演示模型只有小词汇量。请只选演示模型，或只选其他模型。",
        )
    return tuple(sorted(names))

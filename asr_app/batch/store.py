"""The output folder of `batch`: results, done-marks, failures and summary.

    DIR/ROOT/.../talk.wav.txt          a result
    DIR/.batch/marks/ROOT/.../talk.wav.json   its done-mark: everything that the result depends on
    DIR/failures.jsonl, DIR/summary.json

Each file is written to DIR/.batch/part and renamed, the mark last. A process that is killed leaves a whole result or
none, and a mark only beside a whole result.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from asr_app.batch.sources import Source
from asr_app.datatypes import Transcript
from asr_app.errors import UserError
from asr_app.formats import known

HOME = ".batch"
RESERVED = (HOME, "failures.jsonl", "summary.json")  # names in the output folder that no root may have
_NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

Stamp = list[int]  # size in bytes, mtime in ns


class DiskFull(UserError):
    """The output folder takes no more files: the run cannot go on."""


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Path]:
    """Makes the output folder and holds its lock. Raises UserError if it cannot be used, or another run uses it."""
    try:
        (folder / HOME).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / HOME / "lock")
        lock.acquire(timeout=0)
    except OSError as error:
        if isinstance(error, Timeout):
            raise UserError(
                f"Another batch writes to {folder}. Wait until it has ended, or choose another --output.",
                f"另一个 batch 正在写入 {folder}。请等待其结束，或换一个 --output。",
            ) from None
        raise UserError(
            f"{folder} cannot be used as a folder ({error.strerror}). Choose another --output.",
            f"{folder} 不能作为输出目录（{error.strerror}）。请换一个 --output。",
        ) from error
    try:
        yield folder
    finally:
        lock.release()


class Store:
    """Writes results of one run into the open folder `folder`, in each of `formats`.

    `about` is all that a result depends on beside its recording: model, weights, precision, options, version. Raises
    UserError for an unknown format.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], formats: Sequence[str], overwrite: bool = False) -> None:
        self._folder, self._formats, self._overwrite = folder, tuple(formats), overwrite
        self._about = json.loads(json.dumps(about))  # as it is read back: lists for tuples
        self._kinds = {name: known(name) for name in formats}
        self._begun: dict[str, tuple[Stamp, dict[str, Stamp]]] = {}
        self._failures = folder / "failures.jsonl"
        self._failed: dict[str, dict[str, str]] = {}
        self._failures.unlink(missing_ok=True)  # what failed before is tried again

    def is_done(self, source: Source) -> bool:
        """Whether the results are there, made of this very recording by the same model with the same options."""
        mark = self._mark(source)
        return (
            mark.get("state") == "done"
            and mark.get("recording") == stamp(source.path)
            and mark.get("about") == self._about
            and all(name in mark.get("results", {}) and self._result(source, name).exists() for name in self._formats)
        )

    def is_interrupted(self, source: Source) -> bool:
        """Whether a run ended while it worked on this recording."""
        return self._mark(source).get("state") == "begun"

    def length(self, source: Source) -> float | None:
        """Seconds of the recording as measured when it was done before; None if it was not, or has changed."""
        mark = self._mark(source)
        return mark.get("audio_s") if mark.get("recording") == stamp(source.path) else None

    def begin(self, source: Source) -> None:
        """Notes that the work on the recording begins.

        Raises UserError if the recording is gone, or if a result was changed by hand or is not of a batch.
        """
        now = stamp(source.path)
        if now is None:
            raise UserError(f"{source.name} does not exist any more.", f"{source.name} 已不存在。")
        mark = self._mark(source)
        results: dict[str, Stamp] = mark.get("results", {})
        if mark.get("state") != "begun" and not self._overwrite:
            for name in self._formats:
                if (there := stamp(self._result(source, name))) is not None and there != results.get(name):
                    raise UserError(
                        f"{self._result(source, name).name} was changed by hand, or is not of a batch. It was left as it is. Use "
                        "--overwrite to replace it.",
                        f"{self._result(source, name).name} 已被手动修改，或不是由 batch 生成，未作更改。如需替换，请使用 --overwrite。",
                    )
        self._begun[source.name] = now, results
        self._write(self._mark_file(source), {"state": "begun", "results": results})

    def finish(self, source: Source, transcript: Transcript) -> None:
        """Writes the results of a recording that was begun, and then its done-mark."""
        recording, results = self._begun.pop(source.name)
        for name, kind in self._kinds.items():
            self._write(self._result(source, name), kind.encode(transcript))
            written = stamp(self._result(source, name))
            assert written is not None
            results = results | {name: written}
        self._write(self._mark_file(source), {
            "state": "done", "path": str(source.path), "recording": recording, "about": self._about, "results": results,
            "audio_s": round(transcript.audio_s, 3), "work_s": round(transcript.times.work_s, 3),
            "device": transcript.device,
        })  # fmt: skip
        if self._failed.pop(source.name, None):
            self._write(self._failures, b"".join(map(_line, self._failed.values())))

    def fail(self, name: str, path: str, error: UserError) -> None:
        """Adds a line to failures.jsonl."""
        row = {"name": name, "path": path, "reason": error.en, "reason_zh": error.zh}
        self._failed[name] = row
        with _writing(self._failures), self._failures.open("ab") as file:
            file.write(_line(row))

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json."""
        self._write(self._folder / "summary.json", summary)

    @property
    def failed(self) -> int:
        """Number of recordings and entries that failed in this run, and were not done since."""
        return len(self._failed)

    def _result(self, source: Source, format: str) -> Path:
        return self._folder / f"{source.name}.{self._kinds[format].suffix}"

    def _mark_file(self, source: Source) -> Path:
        return self._folder / HOME / "marks" / f"{source.name}.json"

    def _mark(self, source: Source) -> dict[str, Any]:
        """The mark; empty if there is none, or it is not one of ours."""
        with contextlib.suppress(OSError, ValueError):
            mark = json.loads(self._mark_file(source).read_bytes())
            if isinstance(mark, dict):
                return mark
        return {}

    def _write(self, target: Path, content: str | bytes | Mapping[str, Any]) -> None:
        """Writes all of a file or nothing. Raises DiskFull, or UserError if only this file cannot be written."""
        if isinstance(content, Mapping):
            content = json.dumps(content, indent=1) + "\n"
        part = self._folder / HOME / "part"
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave a mark without its result
            part.replace(target)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turns an OSError into DiskFull, or into UserError if only this file cannot be written."""
    try:
        yield
    except OSError as error:
        kind = DiskFull if error.errno in _NO_DISK else UserError
        raise kind(
            f"{target.name} cannot be written ({error.strerror}). Free some space or choose another --output, then run "
            "the same command again: what is done is not done again.",
            f"无法写入 {target.name}（{error.strerror}）。请清理磁盘或换一个 --output，然后重新运行同一命令：已完成的不会重做。",
        ) from error


def stamp(path: Path) -> Stamp | None:
    """Size and mtime of the file; None if it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _line(row: Mapping[str, str]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode(errors="backslashreplace")

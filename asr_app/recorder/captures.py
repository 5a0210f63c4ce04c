"""Microphone recordings while they are made: numbered pieces of samples, on the disk before they are acknowledged.

A recording's id is made by its browser and is the browser's secret, like the id of a job.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from asr_app.audio import Limits
from asr_app.database import unusable
from asr_app.errors import UserError
from asr_app.journal import KEEP_DAYS, Journal

RATES = (8_000, 48_000)  # Hz, the lowest and the highest
MOST_PIECE_S = 2.0  # the page sends a quarter of a second
_ID = re.compile(r"[A-Za-z0-9_-]{24}")
_SAMPLE_BYTES = 2
_HEADER_BYTES = 44
_MOST_WAV_BYTES = 2**32 - 1 - _HEADER_BYTES  # of samples: the header counts in 32 bits
_MOST_AHEAD = 64  # pieces that may wait for an earlier one
_MOST_OPEN = 10  # recordings of one client
_ROOM_EVERY_S = 5.0  # between two looks at the room on the disk: they read all folders

Reason = Literal["malformed", "unknown", "ahead", "finished", "too_long", "too_many", "full"]


class Refused(UserError):
    """A piece or a recording that is not taken. `reason` is for the page's script, the texts are for people."""

    def __init__(self, reason: Reason, en: str, zh: str) -> None:
        super().__init__(en, zh)
        self.reason = reason


@dataclass(frozen=True)
class Capture:
    """A recording as it stands: `pieces` pieces from the first one on are on the disk, `samples` samples at `rate` Hz.

    `state` is "open", "discarded" or "done"; `job` is the job that it became.
    """

    id: str
    file: str
    rate: int
    pieces: int
    samples: int
    state: str
    job: str


class Captures:
    """The recordings of a journal. Every method may be called from any thread.

    The row in the journal says how many samples of the file count. The file is written and synced first, so that a
    kill between the two loses nothing: the piece is not acknowledged, and is written again at the same place.
    """

    def __init__(self, journal: Journal, limits: Limits) -> None:
        self._journal, self._limits = journal, limits
        self._folder = journal.storage.captures
        self._lock = threading.Lock()
        self._room_until = 0.0  # of the monotonic clock

    def find(self, capture: str) -> Capture | None:
        """The recording; None for an id that the journal does not know."""
        with self._journal.transaction() as db:
            row = db.execute(
                "SELECT id, file, rate, pieces, samples, state, job FROM captures WHERE id = ?", (capture,)
            ).fetchone()
        return row and Capture(*row)

    def add(self, capture: str, first: int, rate: int, bodies: Sequence[bytes], client: str = "") -> Capture:
        """Puts pieces in their places, and returns the recording as it stands.

        `bodies` are the little-endian 16-bit samples of the pieces from number `first` on, counted from 0. Piece 0
        begins the recording. A piece that is there already is ignored; one that comes early waits for those before it.
        Raises Refused.
        """
        most = MOST_PIECE_S * rate * _SAMPLE_BYTES
        if first < 0 or not bodies or any(not 0 < len(b) <= most or len(b) % _SAMPLE_BYTES for b in bodies):
            raise _malformed()
        with self._lock, _told():
            found = self.find(capture) or self._begin(capture, first, rate, client)
            new = {n: body for n, body in enumerate(bodies, first) if n >= found.pieces}
            self._check(found, first, rate, sum(map(len, new.values())))
            if found.pieces in new:
                return self._append(found, new)
            with self._journal.transaction() as db:
                early = [(capture, number, body) for number, body in new.items()]
                db.executemany("INSERT OR IGNORE INTO early_pieces VALUES (?, ?, ?)", early)
            return found

    def samples(self, capture: Capture, start: int) -> np.ndarray:
        """The int16 samples from number `start` on, shape `(capture.samples - start,)`."""
        count = capture.samples - start
        with (self._folder / capture.file).open("rb") as file:
            file.seek(_HEADER_BYTES + start * _SAMPLE_BYTES)
            return np.frombuffer(file.read(count * _SAMPLE_BYTES), "<i2")

    def hand_over(self, capture: str, pieces: int, submit: Callable[[Path], str]) -> str:
        """Ends the recording of `pieces` pieces; `submit` makes a job of its WAV file. Returns the job's id.

        The same recording again gives the same job. Raises Refused, and what `submit` raises: then it stays open.
        """
        with self._lock, _told():
            found = self._require(capture)
            if found.state == "done":
                return found.job
            if found.state == "discarded":
                raise _finished()
            if found.pieces != pieces:
                raise Refused(
                    "ahead",
                    f"{found.pieces} of {pieces} pieces of the recording have arrived. Keep the page open until the rest is sent.",
                    f"录音共 {pieces} 段，已收到 {found.pieces} 段。请保持页面打开，直到其余部分发送完毕。",
                )
            path = self._folder / found.file
            with path.open("r+b") as file:
                file.truncate(_HEADER_BYTES + found.samples * _SAMPLE_BYTES)
                file.write(_header(found.rate, found.samples))
                _sync(file.fileno())
            job = submit(path)
            self._end(capture, "done", job)
            path.unlink(missing_ok=True)  # the job has its own name for it
            return job

    def discard(self, capture: str) -> None:
        """Deletes the samples of an open recording. Later pieces are refused as of a finished one."""
        with self._lock, _told():
            found = self.find(capture)
            if found is not None and found.state == "open":
                self._end(capture, "discarded")
                (self._folder / found.file).unlink(missing_ok=True)

    def forget_old(self) -> None:
        """Deletes recordings without a new piece for KEEP_DAYS, and files of that age without a recording."""
        before = time.time() - KEEP_DAYS * 86_400
        with self._lock:
            with self._journal.transaction() as db:
                db.execute("DELETE FROM captures WHERE touched < ?", (before,))
                db.execute("DELETE FROM early_pieces WHERE capture NOT IN (SELECT id FROM captures)")
                known = {row["file"] for row in db.execute("SELECT file FROM captures")}
            for path in self._folder.iterdir():
                if path.name not in known and path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)

    def _begin(self, capture: str, number: int, rate: int, client: str) -> Capture:
        if not _ID.fullmatch(capture) or not RATES[0] <= rate <= RATES[1]:
            raise _malformed()
        if number != 0:
            raise _unknown()
        file = f"{secrets.token_hex(16)}.wav"  # nothing of a browser's goes into a file's name
        now = time.time()
        with self._journal.transaction() as db:
            count = "SELECT COUNT(*) FROM captures WHERE client = ? AND state = 'open'"
            if db.execute(count, (client,)).fetchone()[0] >= _MOST_OPEN:
                raise Refused(
                    "too_many",
                    f"{_MOST_OPEN} of your recordings are open already. Transcribe or discard one.",
                    f"您已有 {_MOST_OPEN} 个未结束的录音。请转写或丢弃其中一个。",
                )
            db.execute(
                "INSERT INTO captures (id, created, touched, client, file, rate) VALUES (?, ?, ?, ?, ?, ?)",
                (capture, now, now, client, file, rate),
            )
        return self._require(capture)

    def _check(self, found: Capture, number: int, rate: int, size: int) -> None:
        """Raises Refused for pieces from `number` on, `size` new bytes, that cannot be taken now."""
        if found.state != "open":
            raise _finished()
        if rate != found.rate:
            raise _malformed()
        if number > found.pieces + _MOST_AHEAD:
            raise Refused(
                "ahead",
                f"Piece {number} came, piece {found.pieces} is missing. The page sends it again.",
                f"收到第 {number} 段，但缺少第 {found.pieces} 段。页面会重新发送。",
            )
        most = min(self._limits.max_seconds * rate, self._limits.max_bytes / _SAMPLE_BYTES - _HEADER_BYTES,
                   _MOST_WAV_BYTES / _SAMPLE_BYTES)  # fmt: skip
        if found.samples + size / _SAMPLE_BYTES > most:
            raise Refused(
                "too_long",
                f"The recording is {most / rate / 60:.0f} minutes long, the most that is taken. Transcribe it, then record on.",
                f"录音已达上限 {most / rate / 60:.0f} 分钟。请先转写，再继续录音。",
            )
        if time.monotonic() > self._room_until:
            try:
                self._journal.storage.require_room(size)
            except UserError as error:
                raise Refused("full", error.en, error.zh) from error
            self._room_until = time.monotonic() + _ROOM_EVERY_S

    def _append(self, found: Capture, new: Mapping[int, bytes]) -> Capture:
        """Writes the new pieces and those that waited for them, then counts them."""
        with self._journal.transaction() as db:
            early = db.execute("SELECT n, samples FROM early_pieces WHERE capture = ?", (found.id,)).fetchall()
        waiting = {row["n"]: row["samples"] for row in early} | dict(new)
        pieces = found.pieces
        while pieces in waiting:
            pieces += 1
        written = b"".join(waiting[n] for n in range(found.pieces, pieces))
        file = os.open(self._folder / found.file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if found.samples == 0:
                _write(file, _header(found.rate, 0), 0)
            _write(file, written, _HEADER_BYTES + found.samples * _SAMPLE_BYTES)
            _sync(file)
        finally:
            os.close(file)
        samples = found.samples + len(written) // _SAMPLE_BYTES
        with self._journal.transaction() as db:
            db.execute(
                "UPDATE captures SET pieces = ?, samples = ?, touched = ? WHERE id = ?",
                (pieces, samples, time.time(), found.id),
            )
            if early:
                db.execute("DELETE FROM early_pieces WHERE capture = ? AND n < ?", (found.id, pieces))
        return replace(found, pieces=pieces, samples=samples)

    def _require(self, capture: str) -> Capture:
        found = self.find(capture)
        if found is None:
            raise _unknown()
        return found

    def _end(self, capture: str, state: str, job: str = "") -> None:
        with self._journal.transaction() as db:
            db.execute("UPDATE captures SET state = ?, job = ? WHERE id = ?", (state, job, capture))
            db.execute("DELETE FROM early_pieces WHERE capture = ?", (capture,))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turns an unusable journal or disk into Refused."""
    try:
        yield
    except sqlite3.OperationalError as error:
        told = unusable(error)
        raise Refused("full", told.en, told.zh) from error
    except OSError as error:
        raise Refused(
            "full",
            f"The recording could not be stored ({error.strerror}). Free some space on the server's disk.",
            f"无法保存录音（{error.strerror}）。请清理服务器磁盘。",
        ) from error


def _write(file: int, data: bytes, at: int) -> None:
    """`os.pwrite` until all of `data` is written."""
    while data:
        count = os.pwrite(file, data, at)
        data, at = data[count:], at + count


def _sync(file: int) -> None:
    """Brings what was written to the disk."""
    os.fsync(file)


def _header(rate: int, samples: int) -> bytes:
    """The header of a WAV file of 16-bit mono samples."""
    size = samples * _SAMPLE_BYTES
    form = (1, 1, rate, rate * _SAMPLE_BYTES, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, *form, b"data", size)


def _malformed() -> Refused:
    return Refused(
        "malformed", "This is no piece of a recording. Reload the page.", "这不是有效的录音片段。请刷新页面。"
    )


def _unknown() -> Refused:
    return Refused(
        "unknown",
        "The server does not know this recording any more. Recordings are kept for seven days.",
        "服务器已没有这段录音。录音保留七天。",
    )


def _finished() -> Refused:
    return Refused("finished", "This recording has ended. Begin a new one.", "此录音已结束。请开始新的录音。")

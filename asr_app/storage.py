"""The files of recordings under ASR_HOME: uploads, microphone recordings under way, the recordings of jobs and of
benchmarks, how much they may take, when they go."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from asr_app.errors import NoRoom

UPLOAD_KEPT_S = 3600.0  # without a job
_FINGERPRINT_PIECE = 1 << 20  # bytes
_RESERVE = 256 << 20  # bytes of the disk that recordings leave free: the journal grows while jobs run


class Storage:
    """The folders `recordings`, `uploads`, `captures` and `benchmarks` in `home`, which together take at most `max_bytes`.

    An upload becomes a recording by a hard link. Its second name stays as long as its job: a page may use it again.
    """

    def __init__(self, home: Path, max_bytes: int = sys.maxsize) -> None:
        self.recordings, self.uploads, self._max_bytes = home / "recordings", home / "uploads", max_bytes
        self.benchmarks, self.captures = home / "benchmarks", home / "captures"
        for folder in (self.recordings, self.uploads, self.captures, self.benchmarks):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()  # guards `_arriving`
        self._arriving = 0

    def keep(self, path: Path, job: str) -> Path:
        """The recording of `job`, made from `path`. Raises NoRoom where there is no room for it."""
        # Only the suffix of the user's file name reaches the disk, and only if it is a plain one.
        suffix = path.suffix.lower() if path.suffix[1:].isalnum() and path.suffix.isascii() else ""
        kept = self.recordings / f"{job}{suffix}"
        try:
            if any(path.is_relative_to(own) for own in (self.uploads, self.captures, self.recordings)):
                self.require_room(0)
                with contextlib.suppress(OSError):  # not every file system has links
                    os.link(path, kept)
                    return kept
            self.require_room(path.stat().st_size)
            shutil.copyfile(path, kept)
        except OSError as error:
            kept.unlink(missing_ok=True)
            raise NoRoom(
                f"The recording could not be stored ({error.strerror}). Free some space on the server's disk and retry.",
                f"无法保存录音（{error.strerror}）。请清理服务器磁盘后重试。",
            ) from error
        return kept

    def require_room(self, size: int) -> None:
        """Raises NoRoom where `size` bytes more would go over the limit, or fill the disk."""
        taken = sum(stat.st_size for stat in {s.st_ino: s for _, s in self._files()}.values())
        if taken + size > self._max_bytes:
            have, most = f"{taken / 1e9:.3g}", f"{self._max_bytes / 1e9:.3g}"
            raise NoRoom(
                f"There is no room for this recording: {have} of {most} GB are taken. Delete jobs or benchmarks that you need no more, or "
                "start the server with a larger --max-disk-gb. Recordings are deleted after seven days.",
                f"没有空间保存此录音：已占用 {have} GB，上限 {most} GB。请删除不再需要的任务或评测，或用更大的 --max-disk-gb 启动服务。"
                "录音会在七天后删除。",
            )
        free = shutil.disk_usage(self.recordings).free
        if size + _RESERVE > free:
            raise NoRoom(
                f"The server's disk is full: {free / 1e6:.0f} MB are free. Free some space on it, then try again.",
                f"服务器磁盘已满：仅剩 {free / 1e6:.0f} MB。请清理磁盘后重试。",
            )

    def remove(self, name: str) -> None:
        """Deletes the recording, and the upload that it is a link to unless another recording is one as well."""
        recording = self.recordings / name
        with contextlib.suppress(FileNotFoundError):
            node = recording.stat()
            recording.unlink()
            if node.st_nlink > 1 and all(s.st_ino != node.st_ino for _, s in self._files(self.recordings)):
                for path, stat in self._files(self.uploads):
                    if stat.st_ino == node.st_ino:
                        path.unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> None:
        """Deletes uploads without a job that have not changed for so long, and the folders that are empty then."""
        for path, stat in self._files(self.uploads):
            if stat.st_nlink == 1 and time.time() - stat.st_ctime >= older_than_s:
                path.unlink(missing_ok=True)
        with self._lock:
            for folder in self.uploads.iterdir() if not self._arriving else ():  # Gradio may be about to use one
                if folder.is_dir():
                    with contextlib.suppress(OSError):  # it holds an upload
                        folder.rmdir()

    def forget_strays(self, known: set[str], older_than_s: float) -> None:
        """Deletes recordings of that age whose names are not `known`: of a journal that was set aside, or of a crash."""
        for path, stat in self._files(self.recordings):
            if path.name not in known and time.time() - stat.st_ctime >= older_than_s:
                self.remove(path.name)

    @contextlib.contextmanager
    def arrival(self) -> Iterator[None]:
        """Brackets an upload. At the end of the last one, whatever has broken off is deleted.

        Gradio writes an upload into the folder itself, and moves it into a folder of its own once it is whole.
        """
        with self._lock:
            self._arriving += 1
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= 1
                if not self._arriving:
                    for path in self.uploads.iterdir():
                        if path.is_file():
                            path.unlink(missing_ok=True)

    def _files(self, *folders: Path) -> Iterator[tuple[Path, os.stat_result]]:
        for folder in folders or (self.recordings, self.uploads, self.captures, self.benchmarks):
            for parent, _, names in os.walk(folder):
                for path in (Path(parent, name) for name in names):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        yield path, path.stat()


def fingerprint(path: Path) -> str:
    """A digest by which copies of a recording are known: of its size, and of 1 MB at its start, middle and end."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in (0, size // 2, max(0, size - _FINGERPRINT_PIECE)):
            file.seek(start)
            digest.update(file.read(_FINGERPRINT_PIECE))
    return digest.hexdigest()

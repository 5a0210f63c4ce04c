"""One published file from an address to this disk: whole, as its checksum says, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import requests

_BLOCK = 1 << 20
_TIMEOUT_S = 30.0


class Damaged(ValueError):
    """What arrived is not what was published."""


def kept(url: str) -> Path:
    """Where openai-whisper keeps the file of `url`, so that what a person already has is found."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "whisper" / url.rsplit("/", 1)[-1]


def verified(path: Path, sha256: str) -> bool:
    """Whether the file is the published one. Read once; a mark beside it, newer than the file, spares it the next time.

    openai-whisper writes a download straight to its place, so that a file may be half of one.
    """
    if not path.is_file():
        return False
    mark = _mark(path, sha256)
    if mark.exists() and mark.stat().st_mtime >= path.stat().st_mtime:
        return True
    if _sha256(path) != sha256:
        return False
    with contextlib.suppress(OSError):  # a cache that only others may write to is as good
        mark.touch()
    return True


def _mark(path: Path, sha256: str) -> Path:
    return path.with_name(f".{path.name}.{sha256[:12]}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, sha256: str, target: Path, on_progress: Callable[[int, int], None] | None) -> None:
    """Downloads to `target`, going on where an earlier try stopped. Raises OSError, or Damaged if the sum differs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
        # 416: nothing is left to send, since the try before this one ended after the last byte.
        if answer.status_code != 416:
            _append(answer, part, done, on_progress)
    if _sha256(part) != sha256:
        part.unlink()
        raise Damaged(url)
    part.replace(target)
    _mark(target, sha256).touch()


def _append(answer: requests.Response, part: Path, done: int, on_progress: Callable[[int, int], None] | None) -> None:
    answer.raise_for_status()
    if answer.status_code != 206:  # the server sends the whole of it
        done = 0
    total = done + int(answer.headers.get("Content-Length") or 0)
    with part.open("ab" if done else "wb") as file:
        for block in answer.iter_content(_BLOCK):
            file.write(block)
            done += len(block)
            if on_progress is not None:
                on_progress(done, total)
    if total and done < total:
        raise OSError(f"{done} of {total} bytes arrived")

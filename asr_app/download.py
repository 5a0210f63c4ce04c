"""One published file from an address to this disk: whole, as its checksum says, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import requests

from asr_app import folders, notes

_BLOCK = 1 << 16  # bytes between two reports: 1 s of a line of 0.5 Mbit/s
_TIMEOUT_S = 30.0

# Called with bytes so far and bytes in all (0 while unknown); may raise Cancelled.
OnProgress = Callable[[int, int], None]


class Damaged(ValueError):
    """A downloaded file differs from the published one."""


class NotFetched(Exception):
    """A source failed. `en` and `zh` give the reason, as part of a sentence. The next source is tried."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.en, self.zh = en, zh


def checksums() -> Path:
    """Folder of the cached checksums, so that verified files are read only once."""
    return folders.cache() / "checksums"


def kept(url: str) -> Path:
    """Path of `url` in openai-whisper's own cache, so that a file that is already there is used."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "whisper" / url.rsplit("/", 1)[-1]


def verified(path: Path, sha256: str) -> bool:
    """Whether the file is the published one. Its checksum is cached while size and mtime stay the same.

    openai-whisper writes a download straight to the final path, so the file may be incomplete.
    """
    return path.is_file() and notes.sha256(path, checksums()) == sha256


def fetch(url: str, sha256: str, target: Path, on_progress: OnProgress | None) -> None:
    """Downloads to `target`, resuming an earlier try. Raises OSError, or Damaged if the checksum differs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
        # 416: nothing is left to send, since the previous try ended after the last byte.
        if answer.status_code != 416:
            _append(answer, part, done, on_progress)
    if not verified(part, sha256):
        part.unlink()
        raise Damaged(url)
    part.replace(target)
    notes.keep_sha256(target, checksums(), sha256)


def _append(answer: requests.Response, part: Path, done: int, on_progress: OnProgress | None) -> None:
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

"""Repositories of ModelScope and Hugging Face, in the hubs' own caches. Nothing here runs remote code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from asr_app import download
from asr_app.datatypes import Repository
from asr_app.download import Damaged, OnProgress

_MARK = ".asr-complete"  # in a downloaded folder: the whole of it arrived. The hubs hand out half of one, too.
_ESSENTIAL = ("config.yaml", "model.pt")  # of a folder of FunASR's


def endpoint(hub: str) -> str:
    """The hub's address, which a mirror may take the place of."""
    if hub == "modelscope":
        return os.environ.get("MODELSCOPE_ENDPOINT") or "https://www.modelscope.cn"
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def cached(source: Repository) -> Path | None:
    """The folder in the hub's own cache, if every file that is needed lies in it; not verified."""
    with contextlib.suppress(Exception):  # each hub has its own errors for "not here", all of them mean just that
        folder = Path(_snapshot(source, local_files_only=True))
        if all((folder / name).is_file() and (folder / name).stat().st_size for name in source.files or _ESSENTIAL):
            return folder
    return None


def verified(source: Repository) -> Path | None:
    """The cached folder, if it is known without a network to be whole and as published."""
    folder = cached(source)
    if folder is None or not (source.files or (folder / _MARK).exists()):
        return None
    if source.hub == "modelscope":  # whose client verified what it fetched, before the folder was marked
        return folder if (folder / _MARK).exists() else None
    files = _needed(folder, source)
    known = {path: checksum for path in files if (checksum := _blob_checksum(path))}
    return folder if len(known) == len(files) and all(_intact(*item) for item in known.items()) else None


def fetch(source: Repository, on_progress: OnProgress | None) -> Path:
    """The repository's files, downloaded or completed. Raises Damaged, or whatever the hub's client raises."""
    options: dict[str, Any] = {}
    if on_progress is not None:
        options = _progress_options(source.hub, on_progress)
    folder = Path(_snapshot(source, **options))
    if source.hub == "huggingface":  # ModelScope's client verifies what it fetches and what it finds in its cache
        if _without_damaged(folder, source):
            folder = Path(_snapshot(source, **options))
        if damaged := _without_damaged(folder, source):
            raise Damaged(damaged[0])
    with contextlib.suppress(OSError):  # a cache that only others may write to is as good
        (folder / _MARK).touch()
    return folder


def _snapshot(source: Repository, **options: Any) -> str:
    if source.files:
        options["allow_patterns"] = list(source.files)
    if source.hub == "modelscope":
        from modelscope.hub.snapshot_download import snapshot_download

        return str(snapshot_download(source.name, revision=source.revision, **options))
    from huggingface_hub import constants
    from huggingface_hub import snapshot_download as hf_snapshot_download

    # Its progress comes from a thread that prints what a callback raises and goes on: it could not be cancelled.
    constants.HF_HUB_DISABLE_XET = True
    return str(hf_snapshot_download(source.name, revision=source.revision, **options))


def _needed(folder: Path, source: Repository) -> list[Path]:
    if source.files:
        return [folder / name for name in source.files]
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _MARK]


def _without_damaged(folder: Path, source: Repository) -> list[str]:
    """Removes the files that are not the published ones, which the hub's client would take for whole; their names."""
    damaged = []
    for path in _needed(folder, source):
        name = path.relative_to(folder).as_posix()
        if not _intact(path, _blob_checksum(path) or _listed_checksum(source, name)):
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            damaged.append(name)
    return damaged


def _intact(path: Path, checksum: str) -> bool:
    """Whether the file has the checksum: SHA-256, or git's SHA-1 where the hub publishes that, for small files."""
    return download.verified(path, checksum) if len(checksum) == 64 else _git_sha1(path) == checksum


def _blob_checksum(path: Path) -> str | None:
    """Hugging Face's cache links to blobs named by their ETag, which is the checksum. None where it cannot link."""
    return path.resolve().name if path.is_symlink() else None


def _listed_checksum(source: Repository, name: str) -> str:
    """The checksum that Hugging Face lists for a file. Raises LookupError where it lists none."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    for file in HfApi().get_paths_info(source.name, [name], revision=source.revision):
        if isinstance(file, RepoFile):
            return str(file.lfs.sha256 if file.lfs else file.blob_id)
    raise LookupError(name)


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _progress_options(hub: str, on_progress: OnProgress) -> dict[str, Any]:
    """The hub's own way of being told of progress, several files at once added up."""
    if hub == "modelscope":
        return {"progress_callbacks": [_modelscope_callback(on_progress)]}
    return {"tqdm_class": _hugging_face_bar(on_progress)}


def _modelscope_callback(on_progress: OnProgress) -> type:
    from modelscope.hub.callback import ProgressCallback

    lock, done, total = threading.Lock(), 0, 0

    def grow(by_done: int, by_total: int) -> None:
        nonlocal done, total
        with lock:
            done, total = done + by_done, total + by_total
        on_progress(done, total)

    class Callback(ProgressCallback):
        def __init__(self, filename: str, file_size: int) -> None:
            super().__init__(filename, file_size)
            grow(0, file_size)

        def update(self, size: int) -> None:
            grow(size, 0)

    return Callback


def _hugging_face_bar(on_progress: OnProgress) -> type:
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        """Of the client's bars, the one that counts the bytes written: its total grows as files are begun.

        It draws nothing: a server's log is no place for bars.
        """

        monitor_interval = 0  # no thread that watches it

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts, self._done = kwargs.get("name") == "huggingface_hub.snapshot_download", 0
            self._adding = threading.Lock()
            super().__init__(*args, **kwargs | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counts:
                with self._adding:
                    self._done += int(n or 0)
                on_progress(self._done, int(self.total or 0))

    return Bar

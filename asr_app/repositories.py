"""Repositories of ModelScope and Hugging Face, in the hubs' own caches. Nothing here runs remote code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from asr_app import download
from asr_app.download import Damaged, OnProgress
from asr_app.sources import Repository

_MARK = ".asr-complete"  # marks a completely downloaded folder: the hubs' clients return incomplete ones too
_ESSENTIAL = ("config.yaml", "model.pt")  # files that a FunASR folder needs


def endpoint(hub: str) -> str:
    """The hub's address, or that of the mirror that the environment names."""
    if hub == "modelscope":
        return os.environ.get("MODELSCOPE_ENDPOINT") or "https://www.modelscope.cn"
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def cached(source: Repository) -> Path | None:
    """The folder in the hub's own cache, if it has every needed file. Not verified."""
    with contextlib.suppress(Exception):  # each hub's client has its own errors, all of which mean "not cached"
        folder = Path(_snapshot(source, local_files_only=True))
        if all((folder / name).is_file() and (folder / name).stat().st_size for name in source.files or _ESSENTIAL):
            return folder
    return None


def verified(source: Repository) -> Path | None:
    """The cached folder, if it can be verified without a network; else None."""
    folder = cached(source)
    if folder is None or not (source.files or (folder / _MARK).exists()):
        return None
    if source.hub == "modelscope":  # its client verified the files before the folder was marked
        return folder if (folder / _MARK).exists() else None
    files = _needed(folder, source)
    known = {path: checksum for path in files if (checksum := _blob_checksum(path))}
    return folder if len(known) == len(files) and all(_intact(*item) for item in known.items()) else None


def fetch(source: Repository, on_progress: OnProgress | None) -> Path:
    """Downloads or completes the repository. Raises Damaged, or the errors of the hub's client."""
    options: dict[str, Any] = {}
    if on_progress is not None:
        options = _progress_options(source.hub, on_progress)
    folder = Path(_snapshot(source, **options))
    if source.hub == "huggingface":  # ModelScope's client verifies downloaded and cached files itself
        if _without_damaged(folder, source):
            folder = Path(_snapshot(source, **options))
        if damaged := _without_damaged(folder, source):
            raise Damaged(damaged[0])
    with contextlib.suppress(OSError):  # a read-only cache works as well
        (folder / _MARK).touch()
    return folder


def _snapshot(source: Repository, **options: Any) -> str:
    if source.files:
        options["allow_patterns"] = list(source.files)
    if source.hub == "modelscope":
        from modelscope_hub.compat.snapshot_download import snapshot_download

        return str(snapshot_download(source.name, revision=source.revision, **options))
    from huggingface_hub import constants
    from huggingface_hub import snapshot_download as hf_snapshot_download

    # Xet calls back in a thread that prints exceptions and goes on, so a download could not be cancelled.
    constants.HF_HUB_DISABLE_XET = True
    return str(hf_snapshot_download(source.name, revision=source.revision, **options))


def _needed(folder: Path, source: Repository) -> list[Path]:
    if source.files:
        return [folder / name for name in source.files]
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _MARK]


def _without_damaged(folder: Path, source: Repository) -> list[str]:
    """Removes the files that differ from the published ones, which the client would keep. Returns their names."""
    damaged = []
    for path in _needed(folder, source):
        name = path.relative_to(folder).as_posix()
        if not _intact(path, _blob_checksum(path) or _listed_checksum(source, name)):
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            damaged.append(name)
    return damaged


def _intact(path: Path, checksum: str) -> bool:
    """Whether the file has the checksum: SHA-256, or git's SHA-1, which the hub publishes for small files."""
    return download.verified(path, checksum) if len(checksum) == 64 else _git_sha1(path) == checksum


def _blob_checksum(path: Path) -> str | None:
    """Checksum by the name of the blob that Hugging Face's cache links to. None if the cache has no links."""
    return path.resolve().name if path.is_symlink() else None


def _listed_checksum(source: Repository, name: str) -> str:
    """The checksum that Hugging Face lists for a file. Raises LookupError if it lists none."""
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
    """Options of the hub's client for progress, summed over files that download at once."""
    if hub == "modelscope":
        return {"progress_callbacks": [_modelscope_callback(on_progress)]}
    return {"tqdm_class": _hugging_face_bar(on_progress)}


def _modelscope_callback(on_progress: OnProgress) -> type:
    from modelscope_hub import ProgressCallback

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
        """Reports the client's bar of written bytes. Its total grows as files are started.

        Draws nothing, since bars would fill a server's log.
        """

        monitor_interval = 0  # no monitor thread

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

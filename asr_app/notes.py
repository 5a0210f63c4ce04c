"""Small JSON cache entries. Safe to delete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any


def sha256(path: Path, home: Path | None) -> str:
    """SHA-256 of a file. A note in the folder `home` caches it while size and mtime stay the same."""
    note, now = Note(home, str(path.resolve())), _stamp(path)
    cached = note.read()
    if isinstance(cached, dict) and cached.get("file") == now and isinstance(cached.get("sha256"), str):
        return str(cached["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note.write({"file": now, "sha256": digest})
    return digest


def keep_sha256(path: Path, home: Path | None, digest: str) -> None:
    """Caches the checksum of a file, computed while the file was written."""
    Note(home, str(path.resolve())).write({"file": _stamp(path), "sha256": digest})


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


class Note:
    """A JSON file in the folder `home`, named by a hash of its key `about`. With `home` None nothing is stored."""

    def __init__(self, home: Path | None, about: object) -> None:
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
        self._file = None if home is None else home / f"{name}.json"

    def read(self) -> Any:
        """The stored value; None if there is none, or it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._file.read_text(encoding="utf-8")) if self._file else None
        return None

    def write(self, value: object) -> None:
        """Stores `value`, whole or not at all. A full disk is ignored: the next start computes it again."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # A unique temporary name: two processes that start together write the same note.
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, suffix=".part", delete=False) as part:
                part_file = Path(part.name)
                try:
                    json.dump(value, part)
                    part.close()
                    part_file.replace(self._file)
                finally:
                    part_file.unlink(missing_ok=True)

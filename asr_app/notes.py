"""What was found out once and is kept in the cache, so that a later start is spared it. Any of it may be lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any


def sha256(path: Path, home: Path | None) -> str:
    """SHA-256 of a file, read once: a note in the folder `home` holds it while size and mtime stay the same."""
    note, now = Note(home, str(path.resolve())), _stamp(path)
    found = note.read()
    if isinstance(found, dict) and found.get("file") == now and isinstance(found.get("sha256"), str):
        return str(found["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note.write({"file": now, "sha256": digest})
    return digest


def keep_sha256(path: Path, home: Path | None, digest: str) -> None:
    """Keeps the checksum of a file that was computed as the file was written."""
    Note(home, str(path.resolve())).write({"file": _stamp(path), "sha256": digest})


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


class Note:
    """A JSON file in the folder `home`, called by a hash of what it is `about`; where `home` is None nothing is kept."""

    def __init__(self, home: Path | None, about: object) -> None:
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
        self._file = None if home is None else home / f"{name}.json"

    def read(self) -> Any:
        """What was written; None where nothing was, or where it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._file.read_text(encoding="utf-8")) if self._file else None
        return None

    def write(self, told: object) -> None:
        """Keeps `told`, whole or not at all: on a full disk the next start finds it out again."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # A name of its own: two processes that start together write the same note.
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, suffix=".part", delete=False) as part:
                part_file = Path(part.name)
                try:
                    json.dump(told, part)
                    part.close()
                    part_file.replace(self._file)
                finally:
                    part_file.unlink(missing_ok=True)

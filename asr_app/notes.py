"""What was found out once and is kept in the cache, so that a later start is spared it. Any of it may be lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any


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

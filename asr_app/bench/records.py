"""The record of a benchmark: the data that were found, the settings, the state. A JSON file in its folder."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_app.datasets import Dataset
from asr_app.journal import FINAL
from asr_app.report.results import left_out_entry

log = logging.getLogger(__name__)
USERS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Found:
    """A dataset as it was read. `languages` has the number of recordings of each language, under "" without one.

    `left_out` is as in results.json. `unused` counts files that are neither recordings nor tables.
    """

    layout: str
    languages: Mapping[str, int]
    left_out: Mapping[str, Any]
    unused: int = 0

    @property
    def clips(self) -> int:
        return sum(self.languages.values())

    @classmethod
    def of(cls, dataset: Dataset, unused: int = 0) -> Found:
        counts = Counter(recording.language for recording in dataset.recordings)
        return cls(dataset.layout, dict(counts.most_common()), left_out_entry(dataset.left_out), unused)


@dataclass(frozen=True)
class Asked:
    """The settings of a benchmark. Without `languages` all are used, without a `limit` all recordings of each."""

    models: tuple[str, ...]
    precisions: tuple[str, ...]
    languages: tuple[str, ...] = ()
    limit: int | None = None
    rounds: int = 3
    users: tuple[int, ...] = USERS


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as it stands. `state`: draft (only the data are here), queued, running, done, failed or cancelled.

    `source` is "files", "example" or "offered"; `name` is that of the data, of offered ones the name in the offer. `table`
    is the path that `read_dataset` gets, in the benchmark's own folder. `only` are the recordings that the chosen models
    understand, empty for all. `breaks` counts the transcriptions that went first.
    """

    id: str
    created: float
    client: str
    source: str
    name: str
    found: Found
    table: str = ""
    state: str = "draft"
    asked: Asked | None = None
    only: tuple[str, ...] = ()
    error: tuple[str, str] | None = None
    breaks: int = 0
    deaths: int = field(default=0, repr=False)

    @property
    def finished(self) -> bool:
        return self.state in FINAL

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Benchmark:
        """Inverse of `dataclasses.asdict`, through JSON. Raises TypeError or KeyError for anything else."""
        asked = fields["asked"] and {k: tuple(v) if isinstance(v, list) else v for k, v in fields["asked"].items()}
        lists = {"only": tuple(fields["only"]), "error": fields["error"] and tuple(fields["error"])}
        return cls(**{**fields, **lists, "found": Found(**fields["found"]), "asked": asked and Asked(**asked)})


def read(file: Path) -> Benchmark | None:
    """The record in the file; None, with a line of log, for one that cannot be read."""
    try:
        return Benchmark.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("a benchmark cannot be read (%s): %s", type(error).__name__, error)
        return None

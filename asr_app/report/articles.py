"""The tables of the four articles that this app grew from: their models, rows and precisions, and their figures.

The articles are no part of the project. A figure that the project does not know is left out here and shown as "not
given".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from asr_app.precision import Precision

CLIP_S = 10.0  # length of the clip whose latency an article gives


class Figure(enum.Enum):
    """A row of an article's table. Times are in seconds, sizes in MB, errors are shares of units."""

    LATENCY = "latency"
    TEN_SECONDS = "ten_seconds"
    COLD_START = "cold_start"
    MEMORY = "memory"
    WEIGHTS = "weights"
    DISK = "disk"
    REQUESTS = "requests"
    ERROR = "error"

    @property
    def more_is_better(self) -> bool:
        return self is Figure.REQUESTS


@dataclass(frozen=True)
class Article:
    """An article's table. `model` is the id of its model's card.

    `rows` is empty for a table of errors by language. `given` has the figures by row, a language's code for a table by
    language, and by precision. `machine` is where the article measured.
    """

    family: str
    model: str
    rows: tuple[Figure, ...] = ()
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.INT8)
    given: Mapping[Figure | str, Mapping[Precision, float]] = field(default_factory=dict)
    machine: str = ""


_SIZE = (Figure.WEIGHTS, Figure.DISK)  # the articles say "size"
ARTICLES = (
    Article("paraformer", "paraformer-large", (Figure.LATENCY, Figure.MEMORY, *_SIZE, Figure.ERROR)),
    Article("sensevoice", "sensevoice-small", (*_SIZE, Figure.COLD_START, Figure.TEN_SECONDS)),
    Article("whisper", "whisper-large-v3", (Figure.MEMORY, Figure.REQUESTS)),
    Article("fun-asr-nano", "fun-asr-mlt-nano", (), (Precision.FP32, Precision.FP16, Precision.INT8)),
)

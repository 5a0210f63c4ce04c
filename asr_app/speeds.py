"""Compares the speed of two precisions on recordings that this machine has transcribed at both."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from statistics import median
from typing import Any

from asr_app.journal import Journal
from asr_app.precision import Precision
from asr_app.rows import UNREADABLE


@dataclass(frozen=True)
class Speeds:
    """Two precisions on the same recordings: medians over `recordings` of them.

    `ratio` says how many times as fast the second one is; `rtfs` and `weight_bytes` are of the first and the second.
    """

    ratio: float
    rtfs: tuple[float, float]
    weight_bytes: tuple[int, int]
    recordings: int


def compare(journal: Journal, model: str, device: str, first: Precision, second: Precision) -> Speeds | None:
    """The two precisions on recordings done at both, on `device`; None while there is no such recording.

    Only what was asked alike is compared: a translation takes another time than a transcript. The latest of each
    counts; recordings under 2 s are left out, since they measure the overheads.
    """
    with journal.transaction() as db:
        rows = db.execute(
            "SELECT name, precision, options, result FROM jobs WHERE model = ? AND state = 'done' ORDER BY created",
            (model,),
        ).fetchall()
    recordings: dict[tuple[str, float, str], dict[str, Any]] = {}
    for row in rows:
        with contextlib.suppress(*UNREADABLE):
            result = json.loads(row["result"])
            if result["device"] == device and result["duration_s"] >= 2:
                same = (row["name"], result["duration_s"], row["options"])
                recordings.setdefault(same, {})[row["precision"]] = result
    pairs = [(x[first.value], x[second.value]) for x in recordings.values() if first.value in x and second.value in x]
    if not pairs:
        return None
    rtfs = tuple(median(p[i]["rtf"] for p in pairs) for i in (0, 1))
    sizes = tuple(pairs[-1][i]["memory"]["weights"] for i in (0, 1))
    ratio = median(a["rtf"] / b["rtf"] for a, b in pairs)
    return Speeds(ratio, (rtfs[0], rtfs[1]), (sizes[0], sizes[1]), len(pairs))

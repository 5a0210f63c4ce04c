"""clips.csv: a row for each text, beside its reference."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

_COLUMNS = (
    "file", "language", "audio_s", "model", "precision", "reference", "text", "errors", "units", "nats", "tokens",
)  # fmt: skip


def clips_csv(results: Mapping[str, Any]) -> str:
    """The texts of all models and arms of results.json as CSV, with a mark by which Excel sees that it is UTF-8."""
    clips = results["data"]["clips"]
    rows = [
        (
            clip["file"], clip["language"], clip["seconds"], model["model"], arm["arm"], clip["reference"], text["text"],
            text["errors"], text["of"], text["nats"], text["tokens"],
        )
        for model in results["models"]
        for arm in model["arms"]
        for text in arm["texts"]
        for clip in [clips[text["clip"]]]
    ]  # fmt: skip
    file = io.StringIO()
    csv.writer(file).writerows([_COLUMNS, *rows])
    return "\ufeff" + file.getvalue()

"""Finished clips on disk: one JSON-lines file an arm, appended clip by clip, so that an interrupted run goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_app.evaluate.arms import ArmText
from asr_app.evaluate.process import Started


class Store:
    """Results of the arm with this `key`, in the folder `home`. With `fresh`, those of earlier runs are removed.

    `started` is the cost of loading at the last start, `peak_mb` the most memory of any request.
    """

    def __init__(self, home: Path, key: str, name: str, *, fresh: bool = False) -> None:
        self._file = home / f"{key}.jsonl"
        self.started: Started | None = None
        self.peak_mb = 0.0
        self._results: dict[str, tuple[ArmText, float]] = {}
        if fresh:
            self._file.unlink(missing_ok=True)
        if self._file.is_file():
            self._read()
        else:
            home.mkdir(parents=True, exist_ok=True)
            self._append({"arm": name})

    def __contains__(self, clip: str) -> bool:
        return clip in self._results

    def __getitem__(self, clip: str) -> tuple[ArmText, float]:
        """The clip's result, and its share of the CPU seconds."""
        return self._results[clip]

    def start(self, started: Started) -> None:
        """Stores the cost of loading."""
        self.started = started
        self._append({"started": dataclasses.asdict(started)})

    def add(self, clips: Sequence[str], texts: Sequence[ArmText], cpu_s: float, rss_mb: float) -> None:
        """Stores the results of one request. Its CPU seconds are split by the clips' seconds of wall clock."""
        whole = sum(text.seconds for text in texts) or 1.0
        self.peak_mb = max(self.peak_mb, rss_mb)
        for clip, text in zip(clips, texts, strict=True):
            share = cpu_s * text.seconds / whole
            self._results[clip] = text, share
            self._append({"clip": clip, "cpu_s": round(share, 4), "rss_mb": rss_mb, "heard": dataclasses.asdict(text)})

    def _append(self, row: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _read(self) -> None:
        text = self._file.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # a killed process left half a line, which would spoil the next one too
            text = text[: text.rfind("\n") + 1]
            self._file.write_text(text, encoding="utf-8")
        for line in text.splitlines():
            row = json.loads(line)
            if "started" in row:
                self.started = Started(**row["started"])
            elif "clip" in row:
                self._results[row["clip"]] = ArmText(**row["heard"]), row["cpu_s"]
                self.peak_mb = max(self.peak_mb, row["rss_mb"])

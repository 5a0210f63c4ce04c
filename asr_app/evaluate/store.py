"""Finished clips on disk: one JSON-lines file an arm, appended clip by clip, so that an interrupted run goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_app.evaluate.arms import Heard
from asr_app.evaluate.process import Started


class Store:
    """The results of the arm whose `key` it is, in the folder `home`. With `fresh`, those of earlier runs are removed.

    `started` is what loading cost at the last start, `peak_mb` the most memory of any request.
    """

    def __init__(self, home: Path, key: str, name: str, *, fresh: bool = False) -> None:
        self._file = home / f"{key}.jsonl"
        self.started: Started | None = None
        self.peak_mb = 0.0
        self._found: dict[str, tuple[Heard, float]] = {}
        if fresh:
            self._file.unlink(missing_ok=True)
        if self._file.is_file():
            self._read()
        else:
            home.mkdir(parents=True, exist_ok=True)
            self._append({"arm": name})

    def __contains__(self, clip: str) -> bool:
        return clip in self._found

    def __getitem__(self, clip: str) -> tuple[Heard, float]:
        """The clip's result, and its share of the CPU seconds."""
        return self._found[clip]

    def start(self, started: Started) -> None:
        """Keeps what loading cost."""
        self.started = started
        self._append({"started": dataclasses.asdict(started)})

    def add(self, clips: Sequence[str], heard: Sequence[Heard], cpu_s: float, rss_mb: float) -> None:
        """Keeps the results of one request, whose CPU seconds its clips share by their seconds of wall clock."""
        whole = sum(one.seconds for one in heard) or 1.0
        self.peak_mb = max(self.peak_mb, rss_mb)
        for clip, one in zip(clips, heard, strict=True):
            share = cpu_s * one.seconds / whole
            self._found[clip] = one, share
            self._append({"clip": clip, "cpu_s": round(share, 4), "rss_mb": rss_mb, "heard": dataclasses.asdict(one)})

    def _append(self, told: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told, ensure_ascii=False) + "\n")

    def _read(self) -> None:
        text = self._file.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # killed in the middle of a line, which would spoil the next one too
            text = text[: text.rfind("\n") + 1]
            self._file.write_text(text, encoding="utf-8")
        for line in text.splitlines():
            told = json.loads(line)
            if "started" in told:
                self.started = Started(**told["started"])
            elif "clip" in told:
                self._found[told["clip"]] = Heard(**told["heard"]), told["cpu_s"]
                self.peak_mb = max(self.peak_mb, told["rss_mb"])

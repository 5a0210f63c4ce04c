"""Transcribes the clips at both precisions, and keeps each finished one as a line of JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr_app import pipeline
from asr_app.audio import Limits
from asr_app.datatypes import ModelCard, Transcript
from asr_app.evaluate.run import clip_of
from asr_app.families.base import as_spoken
from asr_app.loading import Loaded
from asr_app.recordings import Recording
from benchmarks.doubt.signs import Signs, recorded


@dataclass(frozen=True)
class Heard:
    """A clip at one precision: its words with their signs, and the CPU seconds from the file to the text."""

    words: tuple[str, ...]
    signs: tuple[Signs, ...]
    cpu_s: float


class Rows:
    """The finished clips of one precision, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Heard] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                signs = tuple(Signs(*values) for values in row["signs"])
                self._rows[row["clip"]] = Heard(tuple(row["words"]), signs, row["cpu_s"])

    def __contains__(self, clip: str) -> bool:
        return clip in self._rows

    def __getitem__(self, clip: str) -> Heard:
        return self._rows[clip]

    def add(self, clip: str, heard: Heard) -> None:
        """Keeps a clip."""
        self._rows[clip] = heard
        row: dict[str, Any] = {
            "clip": clip, "words": heard.words, "cpu_s": round(heard.cpu_s, 4),
            "signs": [dataclasses.astuple(signs) for signs in heard.signs],
        }  # fmt: skip
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def collect(recordings: Sequence[Recording], card: ModelCard, loaded: Loaded, rows: Rows) -> None:
    """Transcribes the recordings that `rows` lacks, each alone, in one pass: no chunk is redone at FP32."""
    missing = [recording for recording in recordings if str(recording.path) not in rows]
    name = loaded.precision.requested.value
    with recorded():
        for recording in tqdm(missing, desc=name, unit="clip", mininterval=10.0):
            options = as_spoken(card, clip_of(recording, card, detect=False).language)
            began = time.process_time()
            transcript = pipeline.transcribe(recording.path, loaded, options, Limits())
            spent = time.process_time() - began
            words = list(_signed(transcript))
            texts, signs = tuple(text for text, _ in words), tuple(sign for _, sign in words)
            rows.add(str(recording.path), Heard(texts, signs, spent))


def _signed(transcript: Transcript) -> Iterator[tuple[str, Signs]]:
    for segment in transcript.segments:
        for word in segment.words:
            assert isinstance(word.confidence, Signs)  # inside `recorded`
            yield word.text, word.confidence

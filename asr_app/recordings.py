"""Recordings with reference texts: the error of a text, and their decoded samples. datasets/ reads them from folders.

A recording is identified by its samples, not by its file. So a result stays valid as long as an arm would get the same
numbers, whatever changes in the decoder.
"""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import audio
from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, understood_by
from asr_app.notes import Note
from asr_app.pipeline import read
from asr_app.scoring import Score, normalise, score, score_in, units_in


@dataclass(frozen=True)
class Recording:
    """A recording and its reference. `texts` are the acceptable texts: as spoken and perhaps with digits.

    `language` is the code of the reference table (`zh-TW`), empty without one. `by_value` compares the numbers of a
    known language by their value, where `units_in` can.
    """

    path: Path
    texts: tuple[str, ...]
    language: str = ""
    by_value: bool = False

    def score(self, text: str) -> Score:
        """Errors of `text` against the nearest of the references, in the units of the language if it is known."""
        reference = nearest(self.texts, text, self.language)
        if not self.language:
            return score([(reference, text)])
        return score_in(reference, text, self.language, self.by_value)

    def compared(self, text: str) -> tuple[str, str]:
        """The reference and `text` in the units that `score` compares, separated by spaces."""
        reference = nearest(self.texts, text, self.language)
        units = [
            units_in(t, self.language, self.by_value) if self.language else normalise(t) for t in (reference, text)
        ]
        return " ".join(units[0]), " ".join(units[1])


def examples(card: ModelCard) -> list[Recording]:
    """The clips of example/ that the model of `card` should understand, with their texts."""
    return [
        Recording(EXAMPLES / name, (entry["text"], entry["written"]), entry["language"])
        for name, entry in understood_by(card).items()
    ]


def reference_of(recording: Path, reference: Path | None) -> Recording | None:
    """The reference of `recording`, from the file `reference` (a text or a refs.tsv) or from one beside the recording.

    Returns None if there is none. Raises UserError if a given `reference` lacks it.
    """
    tables = [recording.parent / "refs.tsv", recording.with_suffix(".txt")] if reference is None else [reference]
    for table in tables:
        if not table.is_file():
            continue
        if table.suffix != ".tsv":
            return Recording(recording, (table.read_text(encoding="utf-8").strip(),))
        for row in _rows(table):
            if len(row) == 3 and row[0] == recording.name:
                return Recording(recording, (row[2],), row[1])
    if reference is not None:
        raise UserError(
            f"{reference.name} is not there or has no line for {recording.name}. Give a text file, or a refs.tsv with "
            "file, language and text in each line.",
            f"{reference.name} 不存在，或其中没有 {recording.name}。请提供文本文件，或每行含文件名、语言、文本的 refs.tsv。",
        )
    return None


def spread(recordings: Sequence[Recording], limit: int) -> list[Recording]:
    """At most `limit` recordings of each language, evenly spread over all of them."""
    by_language: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_language[recording.language].append(recording)
    return [
        some[i * len(some) // min(limit, len(some))]
        for some in by_language.values()
        for i in range(min(limit, len(some)))
    ]


def nearest(texts: Sequence[str], hypothesis: str, language: str = "") -> str:
    """The one of `texts` against which `hypothesis` has the fewest errors."""
    if len(texts) == 1:
        return texts[0]
    if language:
        return min(texts, key=lambda text: score_in(text, hypothesis, language).rate)
    return min(texts, key=lambda text: score([(text, hypothesis)]).rate)


@dataclass(frozen=True)
class Sound:
    """Seconds of a recording, and the SHA-256 of its float32 samples at 16 kHz."""

    seconds: float
    digest: str


def sound_of(path: Path, notes: Path) -> Sound:
    """Decodes the recording, or reads its note in the folder `notes`. Raises UserError that names a damaged file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note = Note(notes, [digest, _decoder()])
    stored = note.read()
    if isinstance(stored, dict) and stored.keys() == {"seconds", "digest"}:
        return Sound(**stored)
    try:
        decoded = read(path, path.name, audio.Limits())[0]
    except UserError as error:
        raise UserError(f"{path.name}: {error.en}", f"{path.name}：{error.zh}") from error
    sound = Sound(decoded.seconds, hashlib.sha256(decoded.samples.tobytes()).hexdigest())
    note.write({"seconds": sound.seconds, "digest": sound.digest})
    return sound


@functools.cache
def _decoder() -> str:
    """A hash of the decoder's code."""
    files = sorted(Path(audio.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _rows(table: Path) -> list[list[str]]:
    return [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]

"""Real speech from a folder, cut into chunks as in the app, and its statistics: scripts and noise."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_app import audio as audio_module
from asr_app import vad
from asr_app.audio import Limits
from asr_app.datasets import references
from asr_app.datasets.manifests import SUFFIXES
from asr_app.datatypes import SAMPLE_RATE, Audio, Chunk, ModelCard
from asr_app.errors import UserError

_NO_SOUND = {".txt", ".tsv", ".csv", ".json", ".md"}
_QUIET_S = 0.3  # less than this outside of speech is too short to measure the noise
_CLEAN_DB, _NOISY_DB = 20.0, 10.0


@dataclass(frozen=True)
class Recording:
    """A recording's chunks of speech. `texts` are its acceptable references, empty if unknown.

    `snr_db` is the level of speech above that of the rest; None if there is no rest.
    """

    name: str
    chunks: tuple[Chunk, ...]
    texts: tuple[str, ...]
    snr_db: float | None

    @property
    def speech_s(self) -> float:
        return sum(c.end_s - c.start_s for c in self.chunks)


def read(folder: Path, card: ModelCard) -> list[Recording]:
    """The recordings of a folder or manifest that contain speech, with their references if any (in the layouts of
    `verify`).

    Raises UserError if it is neither, a recording cannot be read, or no recording contains speech.
    """
    if not folder.is_dir() and not (folder.is_file() and folder.suffix.lower() in SUFFIXES):
        raise UserError(
            f"{folder.name} is no folder. Give one with recordings of speech.",
            f"{folder.name} 不是目录。请提供一个包含语音录音的目录。",
        )
    try:
        clips = [(reference.path, reference.texts) for reference in references(folder)]
    except UserError:  # none has a reference
        if folder.is_file():
            raise
        clips = [(path, ()) for path in sorted(folder.iterdir()) if path.is_file() and path.suffix not in _NO_SOUND]
    recordings = []
    for path, texts in clips:
        try:
            audio = audio_module.decode(path, name=path.name, limits=Limits())
        except UserError as error:
            raise UserError(f"{path.name}: {error.en}", f"{path.name}：{error.zh}") from error
        chunks = vad.pack(audio, vad.speech_spans(audio), card.max_chunk_s, card.max_gap_s)
        if chunks:
            recordings.append(Recording(path.name, tuple(chunks), texts, _snr_db(audio, chunks)))
    if not recordings:
        raise UserError(
            f"{folder.name}: there is no speech in it. Give recordings of people speaking, in the languages and the "
            "noise that the model is to work in.",
            f"{folder.name}：其中没有语音。请提供与实际使用的语言和噪声环境一致的语音录音。",
        )
    return recordings


def _snr_db(audio: Audio, chunks: Sequence[Chunk]) -> float | None:
    speech = np.zeros(len(audio.samples), bool)
    for chunk in chunks:
        start = round(chunk.start_s * SAMPLE_RATE)
        speech[start : start + len(chunk.samples)] = True
    around = audio.samples[~speech]
    if len(around) < _QUIET_S * SAMPLE_RATE:
        return None
    inside, outside = (float(np.mean(np.square(s, dtype=np.float64))) for s in (audio.samples[speech], around))
    return float(10 * np.log10(max(inside, 1e-12) / max(outside, 1e-12)))


def balance(recordings: Sequence[Recording], texts: Iterable[str]) -> dict[str, Any]:
    """Statistics of the speech: shares of letters by script, and of recordings by signal-to-noise ratio.

    `texts` are the words of each recording.
    """
    scripts: Counter[str] = Counter()
    for text in texts:
        letters = (c for c in text if c.isalpha())
        scripts.update(unicodedata.name(c, "OTHER").split()[0].split("-")[0].capitalize() for c in letters)
    noise = Counter(_noise(r.snr_db) for r in recordings)
    return {
        "recordings": len(recordings),
        "speech_s": round(sum(r.speech_s for r in recordings), 1),
        "scripts": {name: round(n / scripts.total(), 3) for name, n in scripts.most_common()},
        "noise": {name: round(n / len(recordings), 3) for name, n in noise.most_common()},
    }


def _noise(snr_db: float | None) -> str:
    if snr_db is None:
        return "not known"
    return "clean" if snr_db >= _CLEAN_DB else "noisy" if snr_db < _NOISY_DB else "some noise"

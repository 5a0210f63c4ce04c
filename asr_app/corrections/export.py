"""Corrected and confirmed lines as recordings with references: FLAC clips, and a manifest that `bench` reads."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from asr_app import audio as audio_module
from asr_app.audio import Limits
from asr_app.corrections.references import Reference
from asr_app.corrections.store import model_name
from asr_app.datatypes import SAMPLE_RATE
from asr_app.errors import UserError

MANIFEST = "corrections.jsonl"
_CLIPS = "clips"


@dataclass
class Exported:
    """The manifest, the number of its clips, and the lines left out by their reason."""

    manifest: Path
    clips: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def export(references: Sequence[Reference], folder: Path) -> Exported:
    """Writes a clip for each reference, and the manifest, into `folder`.

    Lines without words and those whose recording is gone or cannot be decoded are left out. Raises UserError if no line
    has words, or the folder has anything in it already, and OSError if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder.name} is there already. Give a folder that is not, or is empty.",
            f"{folder.name} 已存在。请指定一个不存在的或空的目录。",
        )
    if not any(reference.text.strip() for reference in references):
        raise UserError(
            "No line is corrected or confirmed yet. Correct lines of a transcript in the page, or mark them as right.",
            "还没有已更正或已确认的行。请在页面的转写结果中更正文字，或标记为正确。",
        )
    (folder / _CLIPS).mkdir(parents=True)
    by_recording: defaultdict[Path, list[Reference]] = defaultdict(list)
    for reference in references:
        by_recording[reference.recording].append(reference)
    done = Exported(folder / MANIFEST)
    with done.manifest.open("w", encoding="utf-8") as manifest:
        for recording, lines in by_recording.items():
            worded = [reference for reference in lines if reference.text.strip()]
            done.left_out["nothing is said in it"] += len(lines) - len(worded)
            try:
                samples = audio_module.decode(recording, name=lines[0].name, limits=Limits()).samples
            except (UserError, FileNotFoundError):
                done.left_out["its recording cannot be read"] += len(worded)
                continue
            for reference in sorted(worded, key=lambda line: line.stretch):
                done.clips += 1
                name = f"{_CLIPS}/{done.clips:05d}.flac"
                start, end = (round(at_s * SAMPLE_RATE) for at_s in reference.stretch)
                clip = np.clip(samples[start:end], -1.0, 1.0)
                soundfile.write(folder / name, clip, SAMPLE_RATE, subtype="PCM_16")
                entry = _entry(reference, name, len(clip) / SAMPLE_RATE)
                manifest.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return done


def _entry(reference: Reference, clip: str, seconds: float) -> dict[str, object]:
    own = reference.said[reference.model, reference.precision]
    return {
        "audio_filepath": clip,
        "text": reference.text,
        "duration": round(seconds, 3),
        **({"lang": reference.language} if reference.language else {}),
        "kind": "confirmed" if reference.confirmed else "corrected",
        "model_said": own,
        "model": model_name(reference.model),
        "precision": reference.precision.value,
        "recording": reference.name,
        "start": round(reference.stretch[0], 3),
        "end": round(reference.stretch[1], 3),
    }

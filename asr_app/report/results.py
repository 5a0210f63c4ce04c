"""results.json: everything that was measured, texts included, as one JSON value.

Each text stands beside its reference in the units that were compared, so that jiwer alone gives the same error.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr_app.datasets import Dataset, LeftOut
from asr_app.evaluate.figures import ArmFigures
from asr_app.evaluate.rounds import Measured
from asr_app.evaluate.versions import versions
from asr_app.precision import Precision
from asr_app.precision.evidence import processor
from asr_app.recordings import Recording, Sound
from asr_app.report.arguments import NUMBERS
from asr_app.scoring import CHARACTERS

FORMAT = 1
_MOST_NAMES = 500  # of the entries left out, each reason's; the counts are of all
NORMALISER = (
    "en: Whisper's English normaliser; " + ", ".join(CHARACTERS) + ": NFKC, lower case, no punctuation, characters, "
    "Chinese in simplified ones; others: Whisper's basic normaliser; unknown: NFKC, lower case, no punctuation, "
    "characters of scripts without spaces; {numbers}; micro-averaged by jiwer"
)


@dataclass(frozen=True)
class SpeedPart:
    """Timings of the arms on `clips` (indices), `rounds` times; `alternated`: the arms took turns."""

    measured: Mapping[str, Measured]
    clips: Sequence[int]
    rounds: int
    alternated: bool


def recipe(threads: int, device: str, audio: str, numbers: str = "as-written") -> dict[str, Any]:
    """All that figures depend on, beside the models' weights. `numbers` is a key of NUMBERS."""
    return {
        "audio": audio, "versions": versions(), "processor": processor(), "threads": threads, "device": device,
        "normaliser": NORMALISER.format(numbers=NUMBERS[numbers]),
    }  # fmt: skip


def audio_digest(sounds: Sequence[Sound]) -> str:
    """A hash of the samples of all recordings, in any order."""
    return hashlib.sha256(json.dumps(sorted(sound.digest for sound in sounds)).encode()).hexdigest()[:32]


def data_entry(
    dataset: Dataset, recordings: Sequence[Recording], sounds: Sequence[Sound], left_out: Sequence[LeftOut]
) -> dict[str, Any]:  # fmt: skip
    """The recordings and what is left out of them."""
    return {
        "layout": dataset.layout, "audio_s": round(sum(sound.seconds for sound in sounds), 2),
        "clips": [
            {
                "file": dataset.name_of(recording), "language": recording.language, "reference": recording.texts[0],
                "seconds": round(sound.seconds, 3), "sha256": sound.digest,
            }
            for recording, sound in zip(recordings, sounds, strict=True)
        ],
        "left_out": left_out_entry(left_out),
    }  # fmt: skip


def left_out_entry(left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """The entries that are left out, by the key of their reason; of many the first ones by name, all in the count."""
    reasons: dict[str, list[LeftOut]] = {}
    for entry in left_out:
        reasons.setdefault(entry.reason.key, []).append(entry)
    return {
        reason: {
            "count": len(entries),
            "entries": [
                {"name": e.name, "table": e.table, "line": e.line, "detail": e.detail} for e in entries[:_MOST_NAMES]
            ],
        }
        for reason, entries in reasons.items()
    }


def model_entry(
    model: str, weights: str, arms: Sequence[ArmFigures], recordings: Sequence[Recording], sounds: Sequence[Sound],
    speed: SpeedPart, disk: Mapping[str, int],
) -> dict[str, Any]:  # fmt: skip
    """One model's arms: texts, figures and speed."""
    made = [_arm(arm, recordings, sounds, speed, disk.get(arm.name, 0)) for arm in arms]
    full = next((arm for arm in made if arm["arm"] == Precision.FP32.value), None)
    for arm in made:
        arm["no_worse"] = None if full is None or arm is full else _no_worse(arm, full)
        arm["speedup"] = None if full is None or arm is full else _speedup(arm, full)
    return {"model": model, "weights": weights, "problem": "", "alternated": speed.alternated, "arms": made}


def _arm(
    arm: ArmFigures, recordings: Sequence[Recording], sounds: Sequence[Sound], speed: SpeedPart, disk: int
) -> dict[str, Any]:  # fmt: skip
    texts = []
    for i, (text, cpu_s) in sorted(arm.result.texts.items()):
        reference, hypothesis = recordings[i].compared(text.text)
        score = recordings[i].score(text.text)
        texts.append({
            "clip": i, "text": text.text, "reference_units": reference, "units": hypothesis, "errors": score.errors,
            "of": score.units, "nats": text.nats, "tokens": text.tokens, "seconds": round(text.seconds, 4),
            "cpu_s": round(cpu_s, 4), "doubts": list(text.doubts),
        })  # fmt: skip
    measured = speed.measured.get(arm.name)
    return arm.as_dict() | {
        "disk_mb": round(disk / 1e6, 1), "texts": texts,
        "speed": None if measured is None else _speed(measured, speed, sounds),
    }  # fmt: skip


def _speed(measured: Measured, part: SpeedPart, sounds: Sequence[Sound]) -> dict[str, Any]:
    """Figures of the speed part, one clip at a time. Latency is from the file to the text."""
    if measured.problem or not measured.seconds:
        return {"problem": measured.problem or "it gave no text"}
    count, seconds = len(part.clips), measured.seconds
    audio_s = sum(sounds[i].seconds for i in part.clips) * part.rounds
    rtf = sum(seconds) / audio_s
    return {
        "problem": "", "rounds": part.rounds,
        "latency_s": {
            "mean": round(statistics.fmean(seconds), 4), "p50": round(float(np.percentile(seconds, 50)), 4),
            "p95": round(float(np.percentile(seconds, 95)), 4),
        },
        "rtf": round(rtf, 5), "rtfx": round(1 / rtf, 2), "cpu_s": round(statistics.fmean(measured.cpu_s), 4),
        "cold_start_s": round(statistics.median(measured.starts) + measured.first_s, 2),
        "load_s": round(statistics.median(measured.loads), 2), "import_s": round(measured.import_s, 2),
        "first_s": round(measured.first_s, 3), "weights_mb": measured.weights_mb and round(measured.weights_mb, 1),
        "peak_mb": round(measured.rss_mb, 1), "device_mb": round(measured.device_mb, 1),
        "stages_s": {name: round(value, 4) for name, value in measured.mean_stages.items()},
        "by_clip": [
            {"clip": i, "audio_s": round(sounds[i].seconds, 3), "seconds": [round(s, 4) for s in seconds[k::count]]}
            for k, i in enumerate(part.clips)
        ],
        "users": [load.as_dict() for load in measured.users if load.waits],
    }  # fmt: skip


def _no_worse(arm: Mapping[str, Any], full: Mapping[str, Any]) -> float | None:
    """Share of the clips in which the arm makes no more errors than FP32."""
    errors = {text["clip"]: text["errors"] for text in full["texts"]}
    both = [text for text in arm["texts"] if text["clip"] in errors]
    return round(sum(t["errors"] <= errors[t["clip"]] for t in both) / len(both), 4) if both else None


def _speedup(arm: Mapping[str, Any], full: Mapping[str, Any]) -> float | None:
    """Times as fast as FP32 on the clips of the speed part."""
    if not all(entry["speed"] and not entry["speed"]["problem"] for entry in (arm, full)):
        return None
    return round(float(full["speed"]["rtf"] / arm["speed"]["rtf"]), 3)

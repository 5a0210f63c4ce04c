"""A small results.json, made by the code that makes real ones, for tests of the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_app.datasets import Dataset, LeftOut, Reason
from asr_app.evaluate.arms import ArmText
from asr_app.evaluate.figures import figures
from asr_app.evaluate.plan import EvaluationArm
from asr_app.evaluate.rounds import Concurrency, Measured
from asr_app.evaluate.run import ArmResult
from asr_app.recordings import Recording, Sound
from asr_app.report.results import FORMAT, SpeedPart, audio_digest, data_entry, model_entry, recipe

HOSTILE = "<script>alert(1)</script>|`x`.wav"
_ENGLISH = "The cat's colour sat down, Mr. Smith."
_CHINESE = "今天天氣很好。"


def arm_result(name: str, texts: Sequence[str], nats: float | None = None, problem: str = "") -> ArmResult:
    made = {i: (ArmText(text, 0.5, nats=nats, tokens=None if nats is None else 4), 0.4) for i, text in enumerate(texts)}
    return ArmResult(EvaluationArm(name, lambda: None, weights="w" * 8), made, problem=problem)  # type: ignore[arg-type]


def measured(seconds: float, count: int) -> Measured:
    times = [seconds * (1 + k) for k in range(count)]
    return Measured(
        "", 1.0, [2.0], 99.0, 120.0, 0.7, times, [0.3] * count, 300.0, [{"decode": 0.1, "asr": seconds}] * count,
        ["x"] * count, [3.0], users=[Concurrency(1, [seconds], [seconds]), Concurrency(2, [seconds, 2 * seconds], [2 * seconds])],
    )  # fmt: skip


def results(root: Path, *, int8_error: bool = True) -> dict[str, Any]:
    """FP32 and INT8 on 20 English and 20 Chinese clips, FP16 that died half-way, and a model that could not be run."""
    recordings = [Recording(root / f"e{i}.wav", (_ENGLISH,), "en") for i in range(20)]
    recordings += [Recording(root / f"z{i}.wav", (_CHINESE,), "zh-TW") for i in range(20)]
    sounds = [Sound(2.0 + i, f"digest {i}") for i in range(40)]
    english, chinese = "the cat's color sat town mister smith", "今天天气好"
    low = [english] * 20 + ["今天天气" if i % 4 == 0 and int8_error else chinese for i in range(20)]
    made = figures(
        [
            arm_result("fp32", [english] * 20 + [chinese] * 20, 4.0),
            arm_result("int8", low, 4.1),
            arm_result("fp16", [english] * 7, problem="Killed"),
        ],
        recordings, [sound.seconds for sound in sounds],
    )  # fmt: skip
    speed = SpeedPart({"fp32": measured(0.4, 6), "int8": measured(0.2, 6)}, [0, 20, 39], 2, True)
    left = [LeftOut(HOSTILE, Reason.NO_AUDIO, "refs.tsv", 7), LeftOut("alone.wav", Reason.NO_REFERENCE)]
    fields: dict[str, Any] = {
        "format": FORMAT, "made": "2026-01-02T03:04:05+00:00",
        "request": {
            "models": ["base", "gone"], "data": str(root), "threads": 2, "precisions": [], "limit": None, "rounds": 2,
            "users": [1, 2], "device": "cpu", "hub": "auto", "detect_language": False, "only": [], "languages": [], "numbers": "as-written",
        },
        "recipe": recipe(2, "cpu", audio_digest(sounds)),
        "data": data_entry(Dataset(root, "refs.tsv", tuple(recordings)), recordings, sounds, left),
        "models": [
            model_entry("base", "w" * 8, made, recordings, sounds, speed, {"fp32": 144_000_000, "int8": 100_000_000}),
            {"model": "gone", "weights": "", "problem": "its files are not here", "arms": []},
        ],
    }  # fmt: skip
    loaded: dict[str, Any] = json.loads(json.dumps(fields))
    return loaded

"""What a bench prints: a table to read and one line of JSON to keep."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from asr_app.bench.run import Measured
from asr_app.precision import Precision
from asr_app.precision.evidence import processor

_LIBRARIES = (
    "torch", "onnxruntime", "funasr", "openai-whisper", "funasr-onnx", "sherpa-onnx", "faster-whisper", "ctranslate2",
)  # fmt: skip
HEAD = f"{'arm':<22} {'RTF':>8} {'x FP32':>7} {'CPU s':>7} {'load':>8} {'weights':>10} {'memory':>9}"


def line(name: str, measured: Measured, audio_s: float, full: Measured | None) -> str:
    """An arm's row; `x FP32` is how many times faster it is than this app at FP32."""
    if measured.problem:
        return f"{name:<22} {measured.problem}"
    row = measured.as_dict(audio_s)
    times = ""
    if full is not None and full.seconds:
        times = f"{full.as_dict(audio_s)['rtf'] / row['rtf']:.2f}"
    weights = "" if row["weights_mb"] is None else f"{row['weights_mb']:.0f} MB"
    return (
        f"{name:<22} {row['rtf']:>8.4f} {times:>7} {row['cpu_s']:>7.1f} {row['load_s']:>6.1f} s {weights:>10} "
        f"{row['rss_mb']:>6.0f} MB"
    )


def result(
    arch: str, random_weights: bool, audio_s: float, threads: int, found: Mapping[str, Measured]
) -> dict[str, Any]:
    """All that was measured, with what it was measured on."""
    return {
        "arch": arch,
        "weights": "random: speed and memory only, no accuracy" if random_weights else "real",
        "audio_s": round(audio_s, 1),
        "threads": threads,
        "machine": processor(),
        "versions": versions(),
        "arms": {name: measured.as_dict(audio_s) for name, measured in found.items()},
    }


def full(found: Mapping[str, Measured]) -> Measured | None:
    """This app at FP32, if it is among the arms."""
    return found.get(Precision.FP32.value)


def versions() -> dict[str, str]:
    """Of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

"""Versions of the libraries that figures depend on."""

from __future__ import annotations

import importlib.metadata
import platform

_LIBRARIES = (
    "torch", "onnxruntime", "funasr", "openai-whisper", "funasr-onnx", "sherpa-onnx", "faster-whisper", "ctranslate2",
    "pywhispercpp", "transcribe-cpp",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found

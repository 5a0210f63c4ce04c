"""Versions of the libraries that figures depend on."""

from __future__ import annotations

import importlib.metadata
import platform

_LIBRARIES = (
    "torch", "onnxruntime", "funasr", "openai-whisper", "funasr-onnx", "sherpa-onnx", "faster-whisper", "ctranslate2",
    "pywhispercpp", "transcribe-cpp", "jiwer", "opencc", "numpy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of the installed libraries, by name."""
    installed = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed

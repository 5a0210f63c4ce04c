"""Imports FunASR with the models of these families alone.

`import funasr` imports every package it has, those that fail more than once, and with them scikit-learn for the
clustering of speakers: four times as long as all that is needed here. Its walk is given the few modules instead.
"""

from __future__ import annotations

import contextlib
import pkgutil
import sys
import threading
from collections.abc import Iterator
from typing import Any

_MODELS = (
    "paraformer.model", "paraformer.decoder", "paraformer.cif_predictor", "bicif_paraformer.model",
    "bicif_paraformer.cif_predictor", "seaco_paraformer.model", "sanm.encoder", "specaug.specaug",
    "ct_transformer.model", "fsmn_vad_streaming.model", "fsmn_vad_streaming.encoder", "sense_voice.model",
    "fun_asr_nano.model", "llm_asr.adaptor",
)  # fmt: skip
_MODULES = (
    "funasr.auto.auto_model", "funasr.frontends.wav_frontend", "funasr.tokenizer.char_tokenizer",
    "funasr.tokenizer.sentencepiece_tokenizer", "funasr.tokenizer.hf_tokenizer",
    *(f"funasr.models.{name}" for name in _MODELS),
)  # fmt: skip
_CLUSTERING = "funasr.models.campplus.cluster_backend"  # FunASR does without where it cannot be imported
_lock = threading.Lock()


def auto_model() -> Any:
    """The class `funasr.AutoModel`."""
    with _lock:
        if "funasr" not in sys.modules:
            with _few_modules():
                import funasr  # noqa: F401
        from funasr import AutoModel
    return AutoModel


def import_all() -> None:
    """The rest of FunASR, for a folder that names a class of it which these families seldom have."""
    with _lock:
        import funasr

        funasr.import_submodules("funasr")


@contextlib.contextmanager
def _few_modules() -> Iterator[None]:
    walk = pkgutil.walk_packages

    def few(path: Any = None, prefix: str = "", onerror: Any = None) -> Iterator[Any]:
        return iter((None, name, False) for name in _MODULES) if prefix == "funasr." else walk(path, prefix, onerror)

    pkgutil.walk_packages = few
    sys.modules[_CLUSTERING] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        pkgutil.walk_packages = walk
        del sys.modules[_CLUSTERING]

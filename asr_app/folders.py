"""The two folders that the app writes to."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache() -> Path:
    """Variants, checksums and models that the app fetched itself: ASR_CACHE, or the platform's cache folder.

    Everything in it can be made or fetched again.
    """
    return Path(os.environ.get("ASR_CACHE") or platformdirs.user_cache_dir("asr_app"))


def home() -> Path:
    """The journal and the kept recordings: ASR_HOME, or the platform's data folder."""
    return Path(os.environ.get("ASR_HOME") or platformdirs.user_data_dir("asr_app"))

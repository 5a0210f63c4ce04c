"""The two folders that the app writes to."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from asr_app.errors import UserError


def cache() -> Path:
    """Folder of variants, checksums and downloaded models: ASR_CACHE, or the platform's cache folder.

    Everything in it can be made or downloaded again. Raises UserError if there is no such folder.
    """
    return _known("ASR_CACHE", os.environ.get("ASR_CACHE") or platformdirs.user_cache_dir("asr_app"))


def home() -> Path:
    """Folder of journal and recordings: ASR_HOME, or the platform's data folder. Raises UserError like `cache`."""
    return _known("ASR_HOME", os.environ.get("ASR_HOME") or platformdirs.user_data_dir("asr_app"))


def _known(variable: str, folder: str) -> Path:
    """The folder. Raises UserError if neither the environment nor the password file has a home for this user."""
    path = Path(folder)
    if path.parts[:1] == ("~",):
        raise UserError(
            f"This user has no home folder. Set {variable} to a folder that can be written.",
            f"当前用户没有主目录。请把 {variable} 设为可写的目录。",
        )
    return path

"""Words and limits for the scripts of the page: assets/upload.js shows uploads, which the server sees only once they end."""

from __future__ import annotations

import json
from html import escape

from asr_app.ui.texts import TEXTS

_KEYS = ("of", "left", "uploading", "copied", "drop")


def frame(max_upload_mb: int) -> str:
    """The element that page.js reads: words in both languages, and the most bytes of one upload."""
    keys = [key for key in TEXTS if key in _KEYS or key.startswith("upload_")]
    words = {language: {key: TEXTS[key][language] for key in keys} for language in ("en", "zh")}
    data = json.dumps({**words, "mostBytes": max_upload_mb * 2**20}, ensure_ascii=False)
    return f'<div id="words" hidden data-words="{escape(data)}"></div>'

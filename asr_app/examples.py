"""The clips of example/, which the page offers and the self-check recognises, with their reference texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asr_app.datatypes import ModelCard

EXAMPLES = Path(__file__).resolve().parent.parent / "example"
TABLE = EXAMPLES / "expected.json"


def expected() -> dict[str, dict[str, Any]]:
    """Entries by clip: `text` as spoken, `written` with numbers in digits, `language`, `models` that understand it.

    `models` holds "demo" and "real": the demo models know only espeak-ng's Mandarin, which is noise to real models.
    """
    entries: dict[str, dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return entries


def understood_by(card: ModelCard) -> dict[str, dict[str, Any]]:
    """The entries of `expected` that the model of `card` should understand."""
    kind = "demo" if card.note == "demo" else "real"
    return {
        name: entry
        for name, entry in expected().items()
        if kind in entry["models"] and entry["language"] in card.languages
    }

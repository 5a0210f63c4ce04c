"""The clips of example/: what the page offers, the self-check hears, and everyone can compare with what was said."""

from __future__ import annotations

import json
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "example"
TABLE = EXAMPLES / "expected.json"


def expected() -> dict[str, dict[str, str]]:
    """By clip its `text` as spoken, `written` with numbers in digits, and `language`."""
    found: dict[str, dict[str, str]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found

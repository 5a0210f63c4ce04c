"""The linter over cues that were made in a test."""

from __future__ import annotations

from collections.abc import Sequence

from asr_app.subtitles import Cue, lint


def shown(cues: Sequence[Cue]) -> list[lint.Shown]:
    return [lint.Shown(i, c.start_ms, c.end_ms, tuple(c.text.split("\n"))) for i, c in enumerate(cues, 1)]


def faults(cues: Sequence[Cue], *, fast: bool = False) -> list[str]:
    """Lines of the linter about `cues`. Reading speed counts only with `fast`: some people speak faster than it."""
    return [b.text("en") for b in lint.check(shown(cues)) if fast or b.rule != "fast"]

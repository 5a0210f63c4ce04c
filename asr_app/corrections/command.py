"""`python -m asr_app corrections`: prints the figures, and writes the lines as recordings with references."""

from __future__ import annotations

import argparse

from asr_app import config
from asr_app.corrections.export import export
from asr_app.corrections.figures import Tally, tally
from asr_app.corrections.references import References
from asr_app.corrections.store import model_name
from asr_app.journal import Journal


def corrections(args: argparse.Namespace, _language: str) -> int:
    """Runs the command. Raises UserError if there is nothing to export, or the folder is in use."""
    references = References(Journal(config.home())).all()
    for line in table(tally(references)):
        print(line)
    if args.export:
        done = export(references, args.export)
        for reason, count in done.left_out.items():
            if count:
                print(f"left out: {count} × {reason}")
        print(f"{done.clips} clips: {done.manifest}")
    return 0


def table(counted: Tally) -> list[str]:
    """The lines of the table of figures."""
    lines = [
        f"{counted.corrected} corrected and {counted.confirmed} confirmed lines, from {counted.recordings} transcripts",
        f"{'model':<24} {'precision':<9} {'error':>8} {'right':>14} {'lines':>6}",
    ]
    for figure in counted.figures:
        right = f"{figure.right} of {figure.score.units}"
        lines.append(
            f"{model_name(figure.model):<24} {figure.precision.label:<9} {figure.score.rate:>8.2%} {right:>14} "
            f"{figure.lines:>6}"
        )
    if not counted.same_lines:
        lines.append("The rows stand on different lines: they cannot be held against each other.")
    return lines

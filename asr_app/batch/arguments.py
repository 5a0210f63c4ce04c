"""The arguments of `batch`, beside those of recognition."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_app.config import count
from asr_app.formats import FORMATS


def add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments to a command."""
    parser.add_argument(
        "inputs", nargs="*", type=Path, metavar="INPUT", help="recordings, and folders of them at any depth"
    )
    parser.add_argument(
        "--manifest", action="append", default=[], type=Path, metavar="FILE",
        help="a list of recordings: one path a line, or JSON lines with `audio`; may be repeated",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the folder of the results")
    parser.add_argument("--format", default="txt", help=f"one or more, with commas: {', '.join(FORMATS)}")
    parser.add_argument("--overwrite", action="store_true", help="replace results that were changed by hand, too")
    parser.add_argument(
        "--engine", default="local", choices=("local", "ray"), help="ray: workers on the machines of a Ray cluster"
    )
    parser.add_argument(
        "--workers", type=count, metavar="N", help="of --engine ray; default: as many as there is room for"
    )
    parser.add_argument("--watch", action="store_true", help="go on looking for new recordings until Ctrl-C")

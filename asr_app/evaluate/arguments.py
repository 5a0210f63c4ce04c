"""The arguments of an evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_app import config, hub


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments to a command."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: those on this disk")
    parser.add_argument("--precision", action="append", help="may be repeated; default all the model has")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER|MANIFEST", help="recordings with references, instead of the examples"
    )
    parser.add_argument("--windows", action="store_true", help="also FP32 and INT8 with short encoder windows")
    parser.add_argument("--arm", action="append", metavar="NAME", help="only that row of the table; may be repeated")
    parser.add_argument("--limit", type=config.count, metavar="N", help="recordings of each language, evenly spread")
    parser.add_argument("--detect-language", action="store_true", help="all arms detect the language; default: given")
    parser.add_argument("--fresh", action="store_true", help="forget the clips that earlier runs have finished")
    parser.add_argument("--output", metavar="FILE.json", help="every figure; default: as the last line")
    parser.add_argument("--threads", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--hub", default=hub.HUBS[0], choices=hub.HUBS)

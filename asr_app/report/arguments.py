"""The arguments of `bench` and `report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from asr_app import config, hub

# Ways to compare numbers, in the words of the recipe line.
NUMBERS = {"as-written": "numbers as they are", "by-value": "numbers of Chinese by their value, the others as they are"}


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `bench` to a command."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: those on this disk, without the demos")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER|MANIFEST",
        help="recordings with references: NAME.txt beside NAME.wav, refs.tsv, a manifest (.tsv, .jsonl), Kaldi, "
        "LibriSpeech, AISHELL, Common Voice",
    )  # fmt: skip
    parser.add_argument(
        "--precision", action="append", metavar="P", help="may be repeated; default all the model has"
    )  # fmt: skip
    parser.add_argument("--limit", type=config.count, metavar="N", help="recordings of each language, evenly spread")
    parser.add_argument(
        "--rounds", type=config.count, default=3, metavar="N", help="timed rounds after a warm-up; default 3"
    )  # fmt: skip
    parser.add_argument(
        "--users", type=_counts, default=(1, 2, 4, 8), metavar="N,N", help="requests at once; default 1,2,4,8"
    )  # fmt: skip
    parser.add_argument(
        "--numbers", choices=NUMBERS, default="as-written", help="of Chinese: by-value takes 二十五 and 25 for equal"
    )  # fmt: skip
    parser.add_argument("--detect-language", action="store_true", help="detect the language; default: given")
    parser.add_argument("--fresh", action="store_true", help="forget the clips that earlier runs have finished")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of the report; default ./asr-report-DATE")
    parser.add_argument("--threads", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--hub", default=hub.HUBS[0], choices=hub.HUBS)


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `report` to a command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--verify", type=Path, metavar="results.json", help="run it again and say what differs")
    what.add_argument(
        "--tables", type=Path, nargs="+", metavar="results.json",
        help="print the tables of the articles on the four systems, with the figures of these benchmarks beside theirs",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="FOLDER|MANIFEST", help="where the recordings of --verify are now")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({config.count(part) for part in text.split(",")}))

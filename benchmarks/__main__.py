"""`python -m benchmarks`: speed and error of a model beside other programs on the same weights; its signs of doubt."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from asr_app import config, hub
from asr_app.errors import UserError
from asr_app.evaluate.arguments import add_arguments
from asr_app.evaluate.command import verify
from asr_app.terminal import DownloadProgress
from benchmarks.command import speed
from benchmarks.doubt.command import doubt
from benchmarks.evaluation import peers_of
from benchmarks.live import live
from benchmarks.speakers.command import add_speaker_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 2 for a UserError, and 1 if an arm of `error` failed."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        args = _parser().parse_args(arguments)
        return int(args.run(args))
    except UserError as error:
        print(f"error: {error.en}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _error(args: argparse.Namespace) -> int:
    args.device = "cpu"  # peers run there
    return verify(args, DownloadProgress("download"), peers_of)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    error = commands.add_parser("error", help="as `python -m asr_app verify`, with the other programs beside it")
    add_arguments(error)
    error.set_defaults(run=_error)
    add_speaker_arguments(commands.add_parser("speakers", help="error of speakers on conversations put together"))
    timed = commands.add_parser("speed", help="measure speed, memory, size and cold start, on this machine")
    timed.add_argument("model", nargs="?", metavar="MODEL", help="a model on this disk; or --arch")
    timed.add_argument("--arch", help="a published model's dimensions, with --random-weights")
    timed.add_argument("--random-weights", action="store_true", help="speed and memory only, nothing is downloaded")
    timed.add_argument("--minutes", type=config.positive, default=3.0, help="of speech, made of the examples")
    timed.add_argument("--audio", type=Path, metavar="FILE", help="a recording instead of the examples")
    timed.add_argument("--reference", type=Path, metavar="FILE", help="its text, or a refs.tsv; default: beside it")
    timed.add_argument(
        "--clips", type=config.count, metavar="N", help="time to the text of N short clips, one after the other"
    )
    timed.add_argument("--seconds", type=config.positive, default=5.0, help="of each of the --clips; default 5")
    timed.add_argument("--data", type=Path, metavar="FOLDER", help="recordings with references, for --clips")
    timed.add_argument("--windows", action="store_true", help="also FP32 and INT8 with short encoder windows")
    timed.add_argument("--arm", action="append", metavar="NAME", help="only that row of the table; may be repeated")
    timed.add_argument("--precision", action="append", help="may be repeated; default: fp32 and int8")
    timed.add_argument("--peers", action="store_true", help="also what people use instead, on the same weights")
    timed.add_argument("--vad", type=Path, metavar="FOLDER", help="fsmn-vad, for a model that has none beside it")
    timed.add_argument("--threads", default=None)
    timed.add_argument("--rounds", type=config.count, default=3)
    timed.add_argument("--hub", default=hub.HUBS[0], choices=hub.HUBS)
    timed.set_defaults(run=speed)
    doubted = commands.add_parser("doubt", help="which sign of the decoder tells wrong words (Whisper)")
    doubted.add_argument("model", metavar="MODEL")
    doubted.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="recordings with references")
    doubted.add_argument("--language", default="", help="of references that name none")
    doubted.add_argument("--limit", type=config.count, metavar="N", help="recordings of each language")
    doubted.add_argument("--rows", type=Path, required=True, metavar="DIR", help="keeps finished clips: goes on there")
    doubted.add_argument("--threads", default="1")
    doubted.add_argument("--hub", default=hub.HUBS[0], choices=hub.HUBS)
    doubted.set_defaults(run=doubt)
    spoken = commands.add_parser("live", help="the delay of live captions, with recordings fed in real time")
    spoken.add_argument("model", metavar="MODEL")
    spoken.add_argument("--audio", type=Path, nargs="+", required=True, metavar="FILE")
    spoken.add_argument("--seconds", type=config.positive, default=120.0, help="of each recording; default 120")
    spoken.add_argument("--language", default="", help="default: detected")
    spoken.add_argument("--precision", default="", help="default: lite")
    spoken.add_argument("--beside", type=Path, metavar="FILE", help="a job that goes on meanwhile")
    spoken.add_argument("--threads", default=None)
    spoken.add_argument("--hub", default=hub.HUBS[0], choices=hub.HUBS)
    spoken.set_defaults(run=live)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m asr_app.demo`: train a demo model, evaluate one, or speak the clips of example/ anew."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from pathlib import Path

import platformdirs

from asr_app.errors import UserError
from asr_app.hub import BUNDLED


def main() -> int:
    """Runs one command; 2 where the user must change something."""
    logging.basicConfig(level=logging.ERROR)
    parser = argparse.ArgumentParser("python -m asr_app.demo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="make a demo model; stopped, it goes on where it was")
    train.add_argument("what", choices=("paraformer", "punctuation", "sensevoice", "whisper", "fun-asr"))
    train.add_argument("--steps", type=int, help="default: what the published weights took")
    train.add_argument("--work", type=Path, default=Path(platformdirs.user_cache_dir("asr_app")) / "demo")
    train.set_defaults(run=_train)
    evaluate = commands.add_parser("evaluate", help="error on new sentences, unheard voices and real people's digits")
    evaluate.add_argument("model", nargs="?", default="demo-paraformer")
    evaluate.add_argument("--count", type=int, default=1000, help="utterances of each synthetic set")
    evaluate.add_argument("--precision", action="append", help="may be repeated; default all the card has")
    evaluate.add_argument("--data", type=Path, help="a folder with fsdd/ and aishell_s0150/ in it")
    evaluate.set_defaults(run=_evaluate)
    examples = commands.add_parser("examples", help="make example/ anew")
    examples.add_argument("--kokoro", type=Path, metavar="FOLDER", help="with the downloads for its Mandarin voices")
    examples.set_defaults(run=_examples)
    found = parser.parse_args()
    try:
        found.run(found)
    except UserError as error:
        print(f"error: {error.en}", file=sys.stderr)
        return 2
    return 0


def _train(found: argparse.Namespace) -> None:
    published, paraformer = BUNDLED / f"demo-{found.what}", BUNDLED / "demo-paraformer"
    trainer = importlib.import_module(f"asr_app.demo.{found.what.replace('-', '_')}")
    if found.what == "punctuation":
        print(f"{trainer.train(published, steps=found.steps):.2%} of the marks are right")
    elif found.what == "paraformer":
        trainer.train(published, found.work, steps=found.steps)
    else:  # these learn from demo-paraformer
        trainer.train(published, paraformer, found.work, steps=found.steps)


def _evaluate(found: argparse.Namespace) -> None:
    from asr_app.demo.evaluate import run

    run(found.model, found.count, found.precision, found.data)


def _examples(found: argparse.Namespace) -> None:
    from asr_app.demo import examples

    examples.make(found.kokoro)


if __name__ == "__main__":
    raise SystemExit(main())

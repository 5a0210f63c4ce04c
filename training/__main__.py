"""`python -m training`: train a demo model, speak sentences to evaluate one, or speak the clips of example/ anew."""

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
    """Runs one command. Returns 2 for a UserError."""
    logging.basicConfig(level=logging.ERROR)
    parser = argparse.ArgumentParser("python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="make a demo model; stopped, it goes on where it was")
    train.add_argument("what", choices=("paraformer", "punctuation", "sensevoice", "whisper", "fun-asr"))
    train.add_argument("--steps", type=int, help="default: what the published weights took")
    train.add_argument("--work", type=Path, default=Path(platformdirs.user_cache_dir("asr_app")) / "demo")
    train.set_defaults(run=_train)
    speech = commands.add_parser("speech", help="write new sentences and their texts, for `asr_app verify --data`")
    speech.add_argument("folder", type=Path)
    speech.add_argument("--count", type=int, default=1000, help="utterances")
    speech.add_argument("--unheard", action="store_true", help="in voices that no training used")
    speech.set_defaults(run=_speech)
    examples = commands.add_parser("examples", help="make example/ anew")
    examples.add_argument("--kokoro", type=Path, metavar="FOLDER", help="with the downloads for its Mandarin voices")
    examples.set_defaults(run=_examples)
    args = parser.parse_args()
    try:
        args.run(args)
    except UserError as error:
        print(f"error: {error.en}", file=sys.stderr)
        return 2
    return 0


def _train(args: argparse.Namespace) -> None:
    published, paraformer = BUNDLED / f"demo-{args.what}", BUNDLED / "demo-paraformer"
    trainer = importlib.import_module(f"training.{args.what.replace('-', '_')}")
    if args.what == "punctuation":
        print(f"{trainer.train(published, steps=args.steps):.2%} of the marks are right")
    elif args.what == "paraformer":
        trainer.train(published, args.work, steps=args.steps)
    else:  # these learn from demo-paraformer
        trainer.train(published, paraformer, args.work, steps=args.steps)


def _speech(args: argparse.Namespace) -> None:
    from training.corpus import write_evaluation_set

    write_evaluation_set(args.folder, args.count, held_out_voices=args.unheard)


def _examples(args: argparse.Namespace) -> None:
    from training import examples

    examples.make(args.kokoro)


if __name__ == "__main__":
    raise SystemExit(main())

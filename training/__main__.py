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
    found = parser.parse_args()
    try:
        found.run(found)
    except UserError as error:
        print(f"error: {error.en}", file=sys.stderr)
        return 2
    return 0


def _train(found: argparse.Namespace) -> None:
    published, paraformer = BUNDLED / f"demo-{found.what}", BUNDLED / "demo-paraformer"
    trainer = importlib.import_module(f"training.{found.what.replace('-', '_')}")
    if found.what == "punctuation":
        print(f"{trainer.train(published, steps=found.steps):.2%} of the marks are right")
    elif found.what == "paraformer":
        trainer.train(published, found.work, steps=found.steps)
    else:  # these learn from demo-paraformer
        trainer.train(published, paraformer, found.work, steps=found.steps)


def _speech(found: argparse.Namespace) -> None:
    from training.corpus import write_evaluation_set

    write_evaluation_set(found.folder, found.count, held_out_voices=found.unheard)


def _examples(found: argparse.Namespace) -> None:
    from training import examples

    examples.make(found.kokoro)


if __name__ == "__main__":
    raise SystemExit(main())

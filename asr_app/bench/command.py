"""`python -m asr_app bench`: what is asked for -> what is run -> what is printed."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from asr_app import catalog, config, pipeline, vad
from asr_app.audio import Limits
from asr_app.bench.arms import Task
from asr_app.bench.peers import PEERS
from asr_app.bench.run import measure, speech
from asr_app.bench.table import HEAD, full, line, result
from asr_app.engines import usable_cores
from asr_app.errors import UserError
from asr_app.loading import locate
from asr_app.precision import Precision, variants


def bench(found: argparse.Namespace) -> int:
    """Prints the table, and one line of JSON last. Raises UserError where what is asked for is not there."""
    threads = config.number("--threads", found.threads) if found.threads else usable_cores()
    if found.rounds < 1 or found.minutes <= 0:
        raise UserError("--rounds and --minutes must be more than 0.", "--rounds 和 --minutes 需大于 0。")
    cache = config.cache()
    model, name = _model(found, cache)
    card = catalog.find(str(model))
    asked = [Precision.parse(p) for p in found.precision or ("fp32", "int8")]
    arms = [p.value for p in asked if p in card.precisions]
    if found.peers:
        arms += [name for name, peer in PEERS.items() if card.family in peer.families]
    exporting = {PEERS[arm].exported for arm in arms if arm in PEERS and PEERS[arm].exported and PEERS[arm].here}
    exported = _exported(model, cache, exporting.pop()) if exporting else None
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as folder:
        audio = found.audio or Path(folder) / "speech.wav"
        if found.audio is None:
            speech(audio, found.minutes)
        sound = pipeline.read(audio, audio.name, Limits())[0]
        audio_s = sound.seconds
        # Only peers that take the model exported find no chunks themselves.
        pieces = vad.pack(sound, vad.speech_spans(sound), card.max_chunk_s, card.max_gap_s) if exported else []
        task = Task(
            model, audio.resolve(), threads, cache, found.hub, found.vad.resolve() if found.vad else None, exported,
            tuple((c.start_s, c.end_s) for c in pieces),
        )  # fmt: skip
        measured = measure(arms, task, found.rounds, _tell)
    if found.random_weights:
        print("Random weights: speed and memory only, never accuracy.")
    print(HEAD)
    for arm, figures in measured.items():
        print(line(arm, figures, audio_s, full(measured)))
    print(json.dumps(result(name, found.random_weights, audio_s, threads, measured), ensure_ascii=False))
    return 0


def _exported(model: Path, cache: Path, module: str) -> Path | None:
    """The model in its peers' formats, made once by `module`; None where that fails."""
    place = cache / "exported" / variants.fingerprint({"model": model})
    if not place.exists():
        _tell("peers", "exporting the model for them")
        place.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", module, str(model), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"the model could not be exported for its peers: {done.stderr.strip()[-500:]}", file=sys.stderr)
            return None
    return place


def _tell(arm: str, doing: str) -> None:
    """Says on stderr what is going on, on a terminal in one line."""
    begin, end = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{begin}{arm}: {doing}", end=end, file=sys.stderr, flush=True)


def _model(found: argparse.Namespace, cache: Path) -> tuple[Path, str]:
    """Where the model lies, built if it is to be random, and what it is called."""
    if bool(found.arch) == bool(found.model):
        raise UserError(
            "Name a model, or an --arch with --random-weights.", "请指定模型，或 --arch 加 --random-weights。"
        )
    if found.model:
        return locate(catalog.find(found.model), found.hub)["model"], found.model
    from asr_app.demo.published import MODELS

    if found.arch not in MODELS or not found.random_weights:
        choices = ", ".join(MODELS)
        raise UserError(
            f"--arch takes one of {choices}, with --random-weights; a model with its weights is named without --arch.",
            f"--arch 需为 {choices} 之一，并加 --random-weights；带权重的模型直接写模型名。",
        )
    place = cache / "random" / found.arch
    done = place / "path.txt"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with contextlib.redirect_stdout(sys.stderr):  # FunASR prints a line for each weight there is not
            built = MODELS[found.arch](place)
        done.write_text(str(built.relative_to(place)), encoding="utf-8")
    return (place / done.read_text(encoding="utf-8")).resolve(), found.arch

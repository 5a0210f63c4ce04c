"""`python -m asr_app batch`: reads the flags, runs, and says how it ended."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Iterator
from typing import Any

from asr_app import catalog, config, ray_cluster
from asr_app.audio import Limits
from asr_app.batch import ray_workers
from asr_app.batch.forecast import Prediction
from asr_app.batch.recognisers import Local, Recogniser
from asr_app.batch.run import Run, clock
from asr_app.batch.sources import Roots, find
from asr_app.batch.store import HOME, RESERVED, Store, opened
from asr_app.datatypes import ModelCard, Options
from asr_app.devices import pick_device, usable_cores
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.families.base import require
from asr_app.formats import known
from asr_app.hub import OnProgress
from asr_app.loading import locate
from asr_app.precision import Precision, variants
from asr_app.terminal import printable

# Part of every done-mark. It grows when the same model and options give another text or file: what is done with an
# earlier one is then done again.
_VERSION = 1


def batch(args: argparse.Namespace, options: Options, language: str, downloading: OnProgress) -> int:
    """Returns 0, 2 if a recording failed, or 130 if Ctrl-C ended it early. Raises UserError if nothing can be done."""
    if not (args.inputs or args.manifest):
        raise UserError(
            "Nothing to transcribe was named. Give recordings, folders or --manifest FILE.",
            "未指定要转写的内容。请提供录音、目录或 --manifest FILE。",
        )
    formats = [name.strip().lower() for name in args.format.split(",")]
    for name in formats:
        known(name)
    card = catalog.find(args.model)
    require(card, options)  # before anything is downloaded for it
    with (
        opened(args.output) as folder,
        _recognition(args, card, options, downloading) as (recogniser, engines, precision),
    ):
        about = about_of(card, engines, precision, options, downloading)
        store = Store(folder, about, formats, args.overwrite)
        roots = Roots(folder / HOME / "roots.json", RESERVED)
        search = functools.partial(find, args.inputs, args.manifest, roots, folder)
        run = Run(search, recogniser, store, lambda line: print(printable(line), file=sys.stderr), language)
        code = _carry_out(run, args.watch)
        summary = {"model": card.id, "precision": precision.value, **run.totals.as_dict(store.failed)}
        store.summarise(summary)
        for line in _lines(run, store):
            print(line)
        return code or (2 if store.failed else 0)


@contextlib.contextmanager
def _recognition(
    args: argparse.Namespace, card: ModelCard, options: Options, downloading: OnProgress
) -> Iterator[tuple[Recogniser, Engines, Precision]]:
    """The recogniser of --engine, the engines of this process and the precision. Raises UserError without Ray."""
    threads, hub_name = config.threads(args), config.hub_name(args)
    picked = Precision.parse(args.precision) if args.precision else None
    if args.engine == "local":
        engines = Engines(pick_device(args.device), threads or usable_cores(), hub_name, cache=config.cache())
        precision = engines.choose(card, config.lite(args), picked)
        yield Local(engines, card, precision, options, Limits(), downloading), engines, precision
        return
    with ray_cluster.joined() as resources:
        device = args.device if args.device != "auto" else "cuda:0" if resources["gpus"] else "cpu"
        workers, cpus, gpus = ray_cluster.shares(resources, device, args.workers, threads)
        # This process holds no engine, and may lack the workers' device: it only finds the files and the precision.
        engines = Engines(device, threads or cpus, hub_name, budget=1, cache=config.cache())
        precision = engines.choose(card, config.lite(args), picked)
        make = ray_workers.maker(card.key, precision, options, device, threads or cpus, hub_name)
        yield ray_workers.OnRay(make, workers, cpus, gpus), engines, precision


def about_of(
    card: ModelCard, engines: Engines, precision: Precision, options: Options, downloading: OnProgress
) -> dict[str, Any]:
    """All that a text depends on beside its recording. The weights go by their checksums, wherever they lie."""
    folders = locate(card, engines.hub_name, downloading)
    return {
        "version": _VERSION,
        "model": card.id,
        "weights": variants.weights(folders, config.cache()),
        "precision": precision.value,
        # Marks of earlier versions lack the options of speakers: without these their results are the same.
        "options": {k: v for k, v in dataclasses.asdict(options).items() if v or not k.startswith("speaker")},
    }


def _carry_out(run: Run, watch: bool) -> int:
    """Runs until all is done, or until Ctrl-C, which is the proper end of a watch."""
    try:
        if watch:
            run.watch()
        else:
            run.once()
    except KeyboardInterrupt:
        return 0 if watch else 130
    return 0


def _lines(run: Run, store: Store) -> list[str]:
    """The summary for the terminal, the figures as a line of JSON last."""
    totals = run.totals
    lines = [
        f"{totals.done} done ({totals.audio_s / 3600:.2f} h of audio in {clock(totals.work_s)}), {totals.skipped} were "
        f"done before, {store.failed} failed" + (": failures.jsonl" if store.failed else "")
    ]
    lines += map(_scored, totals.predictions)
    return [*lines, json.dumps(totals.as_dict(store.failed))]


def _scored(prediction: Prediction) -> str:
    return (
        f"after {prediction.share:.0%} of the audio: {clock(prediction.predicted_s)} predicted to be left, "
        f"{clock(prediction.actual_s)} were ({prediction.error:+.0%})"
    )

"""`python -m asr_app bench` and `report`: arguments in, files, a progress bar and an exit code out."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr_app import catalog, config, hub
from asr_app.devices import pick_device, usable_cores
from asr_app.errors import UserError
from asr_app.hub import OnProgress
from asr_app.report.article_tables import article_tables
from asr_app.report.bench import BenchRequest, Step, run
from asr_app.report.compare import compare
from asr_app.report.files import make_folder, read_results, write_report
from asr_app.report.markdown import sentence
from asr_app.terminal import progress_bar


def bench(args: argparse.Namespace, language: str, downloading: OnProgress) -> int:
    """Runs the benchmark and writes its report, whenever there is more of it. Returns 1 if a model or an arm failed, else 0.

    Raises UserError for wrong arguments, data without a usable recording, or a folder that cannot be written.
    """
    here = [card for card in catalog.CARDS.values() if hub.on_disk(card, args.hub)]
    models = tuple(args.models) or tuple(card.id for card in here if card.note != "demo") or (catalog.DEFAULT,)
    request = BenchRequest(
        models, args.data, config.threads(args) or usable_cores(), tuple(args.precision or ()), args.limit, args.rounds,
        args.users, pick_device(args.device), args.hub, args.detect_language, numbers=args.numbers,
    )  # fmt: skip
    output = args.output or Path(f"asr-report-{datetime.now():%Y-%m-%d}")
    make_folder(output)  # before hours of work
    cache = config.cache()
    with _Bars() as bars:
        for results in run(request, cache, cache / "evaluations", bars, downloading, fresh=args.fresh):
            write_report(results, output, language)
    for model in results["models"]:
        print(f"{model['model']}: {sentence(model, language)}")
    print(output / "report.html")
    return 1 if has_failed(results) else 0


def report(args: argparse.Namespace, language: str, downloading: OnProgress) -> int:
    """Runs a benchmark again, or prints the articles' tables beside benchmarks. Returns 1 where a text differs, else 0.

    Raises UserError for a file that is no results.json, and like `bench`.
    """
    if args.verify:
        return _verify(args.verify, args.data, downloading)
    if args.data:
        raise UserError("--data goes with --verify only.", "--data 只能与 --verify 一起使用。")
    files = [read_results(file) for file in args.tables]
    with _complete(*args.tables):
        print(article_tables(files, language), end="")
    return 0


def _verify(file: Path, data: Path | None, downloading: OnProgress) -> int:
    """Runs the benchmark of a results.json again and prints what differs. An interrupted run goes on."""
    before = read_results(file)
    with _complete(file):
        request = BenchRequest.from_dict(before["request"])
        files = tuple(clip["file"] for clip in before["data"]["clips"])
    request = dataclasses.replace(request, data=data or request.data, limit=None, only=files)
    cache = config.cache()
    home = cache / "verifications" / hashlib.sha256(file.read_bytes()).hexdigest()[:32]
    with _Bars() as bars:
        *_, now = run(request, cache, home, bars, downloading)
    found = compare(before, now)
    for line in found.lines:
        print(line)
    shutil.rmtree(home, ignore_errors=True)  # the next verification runs everything anew
    return 1 if found.texts else 0


@contextlib.contextmanager
def _complete(*files: Path) -> Iterator[None]:
    """Raises UserError where a part is missing from the results that were read from `files`."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        names = ", ".join(map(str, files))
        raise UserError(
            f"Parts of a results.json are missing ({error}): {names}. Run `bench` again.",
            f"缺少 results.json 的内容（{error}）：{names}。请重新运行 bench。",
        ) from error


def has_failed(results: Mapping[str, Any]) -> bool:
    """Whether a model or an arm has a problem."""
    return any(
        model["problem"] or any(arm["problem"] or (arm["speed"] or {}).get("problem") for arm in model["arms"])
        for model in results["models"]
    )


class _Bars:
    """A progress bar with the time left for each phase, on stderr."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._phase: tuple[str, int] = "", 0

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, step: Step) -> None:
        if self._bar is None or self._phase != (step.phase, step.total):
            self.__exit__()
            self._bar = progress_bar(step.phase, step.total, "step")
            self._phase = step.phase, step.total
        self._bar.set_postfix_str(step.doing, refresh=False)
        self._bar.update(step.done - self._bar.n)

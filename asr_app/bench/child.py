"""The process of one benchmark: prints its steps and its end as JSON lines, writes the results after each part.

It ends, and its arms with it, as soon as its stdin is closed: a server that is killed leaves nothing that runs.
Libraries print to stdout, so it is redirected to stderr here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from asr_app.errors import UserError
from asr_app.report.bench import BenchRequest, Step, run
from asr_app.report.files import as_json, read_results, write_whole


def kill_tree(pid: int) -> None:
    """Kills the process and all that it started; itself first, so that it starts nothing more, unless it is this one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        started = process.children(recursive=True)
        for one in [*started, process] if pid == os.getpid() else [process, *started]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def serve(request: BenchRequest, name: str, folder: Path, cache: Path) -> None:
    """Runs the benchmark of the data called `name` and writes `folder`/results.json, which does not tell their path."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.ERROR)

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers)

    def on_step(step: Step) -> None:
        answer(step=dataclasses.asdict(step))

    file = folder / "results.json"
    try:
        earlier = read_results(file) if file.is_file() else None
        for results in run(request, cache, folder / "clips", on_step, earlier=earlier):
            write_whole(file, as_json(results | {"request": results["request"] | {"data": name}}))
    except UserError as error:
        answer(error=[error.en, error.zh])


def _end_with_server() -> None:
    sys.stdin.read()  # until it is closed
    kill_tree(os.getpid())


if __name__ == "__main__":
    _, asked, data, folder, cache = sys.argv
    threading.Thread(target=_end_with_server, daemon=True).start()
    serve(BenchRequest.from_dict(json.loads(asked)), data, Path(folder), Path(cache))

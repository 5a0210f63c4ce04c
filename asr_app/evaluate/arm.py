"""One arm in a process of its own: loads, then answers each request on stdin, a list of clips, on stdout in JSON.

Libraries print to stdout, so it is redirected to stderr here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asr_app import catalog
from asr_app.errors import UserError
from asr_app.evaluate.arms import APP, Arm, Clip, Task
from asr_app.memory import PeakMemory, resident_bytes


def serve(make: Callable[[Task], Arm], libraries: Sequence[str], task: str) -> None:
    """Serves the arm that `make` loads for `task`, a Task in JSON.

    The arm's `libraries` are imported first: their memory and time are not the model's.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.ERROR)

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers)

    imported_s = _import(libraries)
    empty = resident_bytes()
    began = time.perf_counter()
    try:
        arm = make(Task.from_json(task))
    except ImportError as error:
        answer(missing=str(error.name or error))
        return
    except UserError as error:
        answer(problem=error.en)
        return
    answer(
        import_s=imported_s, load_s=time.perf_counter() - began, weights_mb=arm.weights_mb,
        loaded_mb=(resident_bytes() - empty) / 1e6, check=arm.problem,
    )  # fmt: skip
    for line in sys.stdin:
        clips = [Clip(**{**clip, "path": Path(clip["path"])}) for clip in json.loads(line)]
        began, cpu = time.perf_counter(), time.process_time()
        with PeakMemory(json.loads(task)["device"]) as memory:
            texts = arm.transcribe(clips)
        seconds = time.perf_counter() - began
        cpu_s, peak = time.process_time() - cpu, memory.as_dict(0)
        answer(
            seconds=seconds, cpu_s=cpu_s, rss_mb=(peak["peak_rss"] - empty) / 1e6,
            device_mb=peak.get("peak_device", 0) / 1e6,
            texts=[dataclasses.asdict(text) for text in texts],
        )  # fmt: skip


def _import(libraries: Sequence[str]) -> float:
    """Imports the libraries and returns the seconds it took."""
    began = time.perf_counter()
    for library in libraries:
        with contextlib.suppress(ImportError):  # the arm reports it
            importlib.import_module(library)
    if "whisper.transcribe" in libraries:  # numba imports most of itself when it is first asked for something
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()
    return time.perf_counter() - began


def _libraries(model: str) -> Sequence[str]:
    family = catalog.find(model).family
    first = "whisper.transcribe" if family == "whisper" else "funasr.auto.auto_model"
    return first, "onnxruntime", "silero_vad", "safetensors"


if __name__ == "__main__":
    _, name, task = sys.argv
    serve(APP[name], _libraries(json.loads(task)["model"]), task)

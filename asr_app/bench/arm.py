"""One arm in a process of its own: loads, then runs once for each line on stdin, and answers on stdout in JSON.

Libraries print what they like: their stdout is stderr here.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from asr_app import catalog
from asr_app.bench.arms import APP, Task
from asr_app.bench.peers import PEERS
from asr_app.memory import PeakMemory, resident_bytes


def _import_all(name: str, family: str) -> float:
    """Imports what the arm will import as it loads, which is neither the model's memory nor its time; the seconds."""
    began = time.perf_counter()
    own = (
        "whisper.transcribe" if family == "whisper" else "funasr.auto.auto_model",
        "onnxruntime",
        "silero_vad",
        "safetensors",
    )
    for library in own if name in APP else (PEERS[name].library,):
        with contextlib.suppress(ImportError):  # the arm says so
            importlib.import_module(library)
    if name in APP and family == "whisper":  # numba imports most of itself when it is first asked for something
        from numba.core.registry import cpu_target

        cpu_target.target_context.refresh()
    return time.perf_counter() - began


def main(name: str, given: str) -> None:
    """Serves the arm `name`; `given` is its task in JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.ERROR)

    def answer(**told: Any) -> None:
        print(json.dumps(told), file=answers)

    fields: dict[str, Any] = json.loads(given)
    fields |= {k: Path(fields[k]) for k in ("model", "audio", "cache", "vad", "exported") if fields[k]}
    task = Task(**fields)
    imported_s = _import_all(name, catalog.find(str(task.model)).family)
    empty = resident_bytes()
    began = time.perf_counter()
    try:
        arm = (APP[name] if name in APP else PEERS[name].make)(task)
    except ImportError as error:
        answer(missing=str(error.name or error))
        return
    answer(
        import_s=imported_s, load_s=time.perf_counter() - began, weights_mb=arm.weights_mb,
        loaded_mb=(resident_bytes() - empty) / 1e6,
    )  # fmt: skip
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        with PeakMemory("cpu") as memory:
            stages = arm.run()
        seconds = time.perf_counter() - began
        cpu_s, peak = time.process_time() - cpu, memory.as_dict(0)["peak_rss"]
        answer(seconds=seconds, cpu_s=cpu_s, rss_mb=(peak - empty) / 1e6, stages=stages)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Makes a variant in a process of its own, which can be ended at any moment and keeps no other thread waiting.

`make` starts `python -m asr_app.making`, which prints one JSON object a line: its progress, or why it failed.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.precision import Precision, variants
from asr_app.precision.apply import OnStep

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parent.parent
_TOLD_EVERY_S = 1.0


def make(
    folders: Mapping[str, Path],
    card: ModelCard,
    precision: Precision,
    device: str,
    threads: int,
    cache: Path,
    on_step: OnStep | None = None,
) -> None:
    """Runs `loading.make_variant` in a process of its own. `on_step` is called every second; its exceptions end the process."""
    asked = {
        "folders": {role: str(path) for role, path in folders.items()}, "model": card.key, "precision": precision.value,
        "device": device, "threads": threads, "cache": str(cache),
    }  # fmt: skip
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "asr_app.making", json.dumps(asked)], env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8",
        ) as process,
    ):  # fmt: skip
        try:
            answer = _followed(process, on_step)
        finally:
            process.kill()
            process.wait()
            variants.remove_unfinished(cache, process.pid)
        if process.returncode == 0:
            return
        errors.seek(0)
        raise _failure(card, precision, answer, process.returncode, errors.read())


def _followed(process: subprocess.Popen[str], on_step: OnStep | None) -> dict[str, Any]:
    """Waits for the end of the process; its last line. Raises what `on_step` raises."""
    answers: list[dict[str, Any]] = [{"step": [0, 1]}]
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, answers), name="child", daemon=True)
    reader.start()
    while reader.is_alive():
        reader.join(_TOLD_EVERY_S)
        if on_step and "step" in answers[-1]:
            on_step(*answers[-1]["step"])
    process.wait()
    return answers[-1]


def _read(lines: IO[str], answers: list[dict[str, Any]]) -> None:
    for line in lines:
        answers.append(json.loads(line))


def _failure(card: ModelCard, precision: Precision, answer: Mapping[str, Any], status: int, errors: str) -> Exception:
    if "user" in answer:
        return UserError(*answer["user"])
    if "disk" in answer:
        return OSError(*answer["disk"])
    log.error("making %s of %s ended with status %d:\n%s", precision.label, card.id, status, errors[-4000:])
    return UserError(
        f"{card.id} could not be made ready at {precision.label}: its process ended with status {status}, as when memory "
        "runs out. The server's log has the details. Choose a smaller model, or turn lite mode off.",
        f"无法准备 {card.id} 的 {precision.label} 版本：其进程以状态 {status} 结束，可能是内存不足。详情见服务器日志。"
        "请选择更小的模型，或关闭轻量模式。",
    )


def _end_with_parent() -> None:
    """Ends this process when the one that waits for it is gone, and the pipe from it with it."""
    sys.stdin.buffer.read()
    os._exit(1)


def _main() -> int:
    from asr_app import catalog, loading

    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=lines, flush=True)

    threading.Thread(target=_end_with_parent, daemon=True).start()
    asked = json.loads(sys.argv[1])
    folders = {role: Path(path) for role, path in asked["folders"].items()}
    card, precision = catalog.find(asked["model"]), Precision(asked["precision"])
    try:
        loading.make_variant(
            folders, card, precision, asked["device"], asked["threads"], Path(asked["cache"]),
            lambda *step: say(step=step),
        )  # fmt: skip
    except UserError as error:
        say(user=(error.en, error.zh))
        return 2
    except OSError as error:
        say(disk=(error.errno, error.strerror or str(error)))
        return 3
    return 0


if __name__ == "__main__":
    status = _main()
    sys.stderr.flush()
    os._exit(status)  # the thread that waits for the parent would hold the end of the interpreter

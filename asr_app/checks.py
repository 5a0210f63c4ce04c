"""What tells that a model has lost its way: numbers that are not finite, loops, no words where somebody speaks."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from asr_app import audio, vad
from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment
from asr_app.examples import EXAMPLES, expected, understood_by
from asr_app.families.base import Engine
from asr_app.notes import Note
from asr_app.precision.evidence import here
from asr_app.scoring import normalise, score

_LOOP = 6  # the same words this many times in a row are a decoder that has lost its way
_MOST_DIFFERENCE = 0.5  # of a clip's units between a lowered precision and FP32; real variants differ in 0 to 0.1


@dataclass(frozen=True)
class Check:
    """What the self-check of a model found; `reason` is empty when all is well."""

    text: str
    reason: str = ""

    @property
    def passed(self) -> bool:
        return not self.reason


class FiniteWatch:
    """Inside its block, knows of numbers that are not finite in what `parts` give, by the thread that asked them."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._parts, self._found = parts, threading.local()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> FiniteWatch:
        for name, part in self._parts.items():
            self._hooks.append(
                part.register_forward_hook(lambda _module, _given, out, name=name: self._look(name, out))
            )
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def taken(self) -> list[str]:
        """The parts that gave such numbers in this thread since it last asked."""
        found = sorted(getattr(self._found, "names", ()))
        self._found.names = set()
        return found

    def _look(self, name: str, output: object) -> None:
        if isinstance(output, Mapping):  # what transformers' models return
            output = list(output.values())
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                self._found.names = {*getattr(self._found, "names", ()), name}


def self_check(card: ModelCard, engine: Engine, full_text: str | None = None) -> Check:
    """Transcribes a clip of example/ that the model may be expected to understand, once, without second tries.

    Fails where a part's numbers are not finite. `full_text` is what FP32 wrote for the clip: a lowered precision must
    write something, and differ from it in no more than `_MOST_DIFFERENCE` of its units. FP32 itself (None) is not judged
    by its words: there is nothing above it to fall back on. It is the warm-up pass as well.
    """
    understood = understood_by(card)
    name = next(iter(understood), next(iter(expected())))
    samples = audio.decode(EXAMPLES / name).samples[: int(card.max_chunk_s * SAMPLE_RATE)]
    with FiniteWatch(engine.parts) as watch:
        segments = engine.transcribe([np.ascontiguousarray(samples)], Options(retries=False))[0]
        broken = watch.taken()
    text = "".join(s.text for s in segments)
    if broken:
        return Check(text, f"numbers that are not finite in {', '.join(broken)}")
    if not full_text:
        return Check(text)
    if not text.strip():
        return Check(text, f"no text for {name}, where FP32 has some")
    distance = score([(full_text, text)]).rate
    if distance > _MOST_DIFFERENCE:
        return Check(text, f"{distance:.0%} of the text for {name} differ from FP32's")
    return Check(text)


class SelfCheckCache:
    """Self-checks that were passed, kept in the folder `home`, so that a later start need not repeat them.

    Each holds for one processor, the versions of the libraries, this code, and what it is `about`, which must identify
    the model's bytes.
    """

    def __init__(self, home: Path | None, *about: str) -> None:
        self._note = Note(home and home / "checked", [about, here(), _code()])

    def found(self) -> Check | None:
        """What was kept; None where nothing was."""
        told = self._note.read()
        return Check(told["text"]) if isinstance(told, dict) and isinstance(told.get("text"), str) else None

    def keep(self, check: Check) -> None:
        """Keeps it if it was passed."""
        if check.passed:
            self._note.write({"text": check.text})


@functools.cache
def _code() -> str:
    """What is another where this code is."""
    stats = [(str(path), path.stat()) for path in sorted(Path(__file__).parent.rglob("*.py"))]
    return hashlib.sha256(json.dumps([(n, s.st_size, s.st_mtime_ns) for n, s in stats]).encode()).hexdigest()


def doubt(samples: np.ndarray, heard: Sequence[Segment], finite: bool) -> str:
    """Why what was `heard` in a chunk, `samples` `(n,)`, is not to be trusted: "not_finite", "loop", "empty", or "".

    "empty" is said only where a detector of speech that is not the model's own is sure of it.
    """
    if not finite:
        return "not_finite"
    text = "".join(s.text for s in heard)
    if repeats(text):
        return "loop"
    return "" if text.strip() or not vad.is_sure(samples) else "empty"


def repeats(text: str) -> bool:
    """Whether one to four units stand `_LOOP` times or more in a row."""
    units = normalise(text)
    for size in range(1, 5):
        run = 1
        for i in range(size, len(units) - size + 1, size):
            run = run + 1 if units[i : i + size] == units[i - size : i] else 1
            if run >= _LOOP:
                return True
    return False

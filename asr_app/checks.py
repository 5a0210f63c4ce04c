"""Signs of a failing model: numbers that are not finite, loops, no words although somebody speaks."""

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

_LOOP = 6  # repetitions of the same words in a row from which the decoder counts as looping
_MOST_DIFFERENCE = 0.5  # of a clip's units between a lowered precision and FP32; real variants differ in 0 to 0.1


@dataclass(frozen=True)
class Check:
    """Result of a model's self-check. `reason` is empty if it passed."""

    text: str
    reason: str = ""

    @property
    def passed(self) -> bool:
        return not self.reason


class FiniteWatch:
    """Inside its block, records for each thread which of `parts` output numbers that are not finite."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._parts, self._broken = parts, threading.local()
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
        """Names of the parts that output such numbers in this thread since the last call."""
        names = sorted(getattr(self._broken, "names", ()))
        self._broken.names = set()
        return names

    def _look(self, name: str, output: object) -> None:
        if isinstance(output, Mapping):  # the outputs of transformers' models
            output = list(output.values())
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                self._broken.names = {*getattr(self._broken, "names", ()), name}


def self_check(card: ModelCard, engine: Engine, full_text: str | None = None) -> Check:
    """Transcribes a clip of example/ that the model should understand, once, without second tries.

    Fails if a part outputs numbers that are not finite. `full_text` is FP32's text of the clip: a lowered precision
    must write something, and differ from it in at most `_MOST_DIFFERENCE` of its units. FP32 itself (None) is not
    judged by its words, since there is no higher precision to fall back on. The check also serves as the warm-up pass.
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
    """Passed self-checks, cached in the folder `home`, so that a later start need not repeat them.

    Each holds for one processor, the versions of the libraries, this code, and the key `about`, which must identify the
    model's bytes.
    """

    def __init__(self, home: Path | None, *about: str) -> None:
        self._note = Note(home and home / "checked", [about, here(), _code()])

    def stored(self) -> Check | None:
        """The stored check; None if there is none."""
        stored = self._note.read()
        return Check(stored["text"]) if isinstance(stored, dict) and isinstance(stored.get("text"), str) else None

    def keep(self, check: Check) -> None:
        """Stores the check if it passed."""
        if check.passed:
            self._note.write({"text": check.text})


@functools.cache
def _code() -> str:
    """Fingerprint of this package: changes when a source file does."""
    stats = [(str(path), path.stat()) for path in sorted(Path(__file__).parent.rglob("*.py"))]
    return hashlib.sha256(json.dumps([(n, s.st_size, s.st_mtime_ns) for n, s in stats]).encode()).hexdigest()


def doubt(samples: np.ndarray, segments: Sequence[Segment], finite: bool) -> str:
    """Reason to distrust the `segments` of a chunk, `samples` `(n,)`: "not_finite", "loop", "empty", or "".

    "empty" requires that silero-vad, which is independent of the model, is sure of speech.
    """
    if not finite:
        return "not_finite"
    text = "".join(s.text for s in segments)
    if repeats(text):
        return "loop"
    return "" if text.strip() or not vad.is_sure(samples) else "empty"


def repeats(text: str) -> bool:
    """Whether a run of one to four units occurs `_LOOP` times or more in a row."""
    units = normalise(text)
    for size in range(1, 5):
        run = 1
        for i in range(size, len(units) - size + 1, size):
            run = run + 1 if units[i : i + size] == units[i - size : i] else 1
            if run >= _LOOP:
                return True
    return False

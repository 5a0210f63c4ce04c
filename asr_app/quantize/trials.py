"""Measures candidates on a model: makes each in memory, recognises the calibration speech, and counts its loss."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from asr_app import catalog, pipeline
from asr_app.checks import Check
from asr_app.datatypes import Chunk, ModelCard, StageTimes
from asr_app.families.base import Engine, as_spoken
from asr_app.loading import Loaded
from asr_app.memory import give_back_memory
from asr_app.precision import Precision, Recipe, graph, graph_export, tuned
from asr_app.precision.apply import apply
from asr_app.precision.counting import report
from asr_app.precision.layers import replaces
from asr_app.precision.smoothing import smooth
from asr_app.precision.stack import Stack
from asr_app.quantize.calibration import Recording
from asr_app.quantize.search import Candidate, Trial
from asr_app.recordings import nearest
from asr_app.scoring import score

_RANKED_ON, _CALIBRATED_ON = 4, 64  # chunks: to see which layers suffer, and for ranges
_TOO_MANY = 1e-12

# Called with the step's name, its progress and its total.
Tell = Callable[[str, int, int], None]


class Trials:
    """A model and speech to try candidates of `recipe` on. The folder `work` holds the graphs and ranges they share.

    The model first runs at FP32: `texts` are its texts of each recording, `rtf` its speed, and `ranking` names the
    layers that the recipe replaces, those with the largest error in 8 bits first.
    """

    def __init__(
        self, card: ModelCard, folders: Mapping[str, Path], precision: Precision, recipe: Recipe, threads: int,
        recordings: Sequence[Recording], work: Path, tell: Tell,
    ) -> None:  # fmt: skip
        self._card, self._folders, self._threads = card, folders, threads
        self._precision, self._recipe, self._recordings, self._work, self._tell = (
            precision, recipe, recordings, work, tell
        )  # fmt: skip
        engine = self._fresh()
        smooth(engine.parts, recipe.smoothing)  # changes no text, but the layers' error in 8 bits
        chunks = [chunk for recording in recordings for chunk in recording.chunks]
        with _sensitivities(engine, recipe) as errors:
            for chunk in _spread(chunks, _RANKED_ON):
                engine.transcribe([chunk.samples], as_spoken(card))
        self.ranking = sorted(errors, key=lambda name: -errors[name])
        self.ranges = self._calibrated(engine, _spread(chunks, _CALIBRATED_ON)) if recipe.stacks else {}
        self.texts, self.rtf, self.weights_mb = self._recognised(engine, "FP32")
        self.with_references = all(r.texts for r in recordings)

    @property
    def arithmetics(self) -> list[str]:
        return ["dynamic", "static"] if self.ranges else [self._precision.value]

    def recipe(self, candidate: Candidate) -> Recipe:
        """The recipe of `candidate`."""
        return dataclasses.replace(
            self._recipe, keep_high=(*self._recipe.keep_high, *candidate.high),
            ranges=self.ranges if candidate.arithmetic == "static" else {},
        )  # fmt: skip

    def measure(self, candidate: Candidate) -> Trial:
        """Makes the candidate and counts its loss: errors against references if there are any, else against FP32."""
        name = f"{candidate.arithmetic}, {len(candidate.high)} layers high"
        engine = self._fresh()
        graphs = self._work / "candidate"
        graphs.mkdir()
        try:
            apply(
                engine.parts, self.recipe(candidate), "cpu", graphs, self._work,
                lambda done, total: self._tell(name, done, total),
            )  # fmt: skip
            texts, rtf, weights_mb = self._recognised(engine, name)
        finally:
            shutil.rmtree(graphs)
        del engine
        give_back_memory()
        return Trial(candidate, self._loss(texts), rtf, weights_mb)

    def _fresh(self) -> Engine:
        engine: Engine = catalog.FAMILIES[self._card.family].load(self._card, self._folders, "cpu", self._threads)
        return engine

    def _recognised(self, engine: Engine, name: str) -> tuple[list[str], float, float]:
        """The text of each recording, the RTF of recognition, and the weights' MB."""
        counted = report(engine.parts, self._precision)
        loaded = Loaded(self._card, engine, counted, "cpu", 0.0, 0.0, Check(""), self._threads)
        engine.transcribe([self._recordings[0].chunks[0].samples], as_spoken(self._card))  # the first call allocates
        texts, spent_s = [], 0.0
        for i, recording in enumerate(self._recordings):
            self._tell(name, i, len(self._recordings))
            steps = list(pipeline.recognise(recording.chunks, loaded, as_spoken(self._card), StageTimes()))
            texts.append(" ".join(s.text for step in steps for s in step.segments))
            spent_s += steps[-1].times.asr_s
        return texts, spent_s / sum(r.speech_s for r in self._recordings), counted.weight_bytes / 1e6

    def _loss(self, texts: Sequence[str]) -> float:
        if not self.with_references:
            return score(zip(self.texts, texts, strict=True)).rate
        rates = [
            score((nearest(r.texts, text), text) for r, text in zip(self._recordings, said, strict=True)).rate
            for said in (self.texts, texts)
        ]
        return rates[1] - rates[0]

    def _calibrated(self, engine: Engine, chunks: Sequence[Chunk]) -> dict[str, Path]:
        """Calibrates the recipe's stacks on `chunks`. Returns the file of ranges of each."""
        ranges: dict[str, Path] = {}
        for part, stacks in self._recipe.stacks.items():
            for stack in stacks:
                if part not in engine.parts or not graph.layers(engine.parts[part], stack):
                    continue
                name = f"{part}.{stack.name}"
                full, ranges[name] = self._work / f"{name}.full", tuned.ranges_file(self._work, name)
                self._tell(f"calibrating {name}", 0, 1)
                graph_export.export(engine.parts[part], stack, full)
                graph_export.calibrate(full, ranges[name], self._reaching(engine, part, stack, chunks))
        return ranges

    def _reaching(
        self, engine: Engine, part: str, stack: Stack, chunks: Sequence[Chunk]
    ) -> Iterator[dict[str, np.ndarray]]:
        """The inputs of the stack's first layer for each of `chunks`, by the names of its sequences."""
        first = next(iter(graph.layers(engine.parts[part], stack).values()))
        for i, chunk in enumerate(chunks):
            self._tell(f"calibrating {part}.{stack.name}", i, len(chunks))
            given: list[dict[str, np.ndarray]] = []
            hook = first.register_forward_pre_hook(
                lambda _module, arguments, given=given: given.append(stack.given(arguments))
            )
            engine.transcribe([chunk.samples], as_spoken(self._card))
            hook.remove()
            yield from given


def _spread(chunks: Sequence[Chunk], count: int) -> list[Chunk]:
    """At most `count` of `chunks`, from all of the list."""
    step = max(1.0, len(chunks) / count)
    return [chunks[int(i * step)] for i in range(min(count, len(chunks)))]


@contextlib.contextmanager
def _sensitivities(engine: Engine, recipe: Recipe) -> Iterator[dict[str, float]]:
    """Inside the block, measures the error in 8 bits of each layer that the recipe replaces, as a share of the energy
    of its output. Weights are scaled by output channel, activations by row."""
    error: dict[str, float] = {}
    energy: dict[str, float] = {}
    relative: dict[str, float] = {}
    hooks = []

    def look(name: str, linear: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> None:
        lost = nn.functional.linear(_rounded(x), _rounded(linear.weight), linear.bias) - y
        error[name] = error.get(name, 0.0) + float(lost.square().sum())
        energy[name] = energy.get(name, 0.0) + float(y.square().sum())
        relative[name] = error[name] / max(energy[name], _TOO_MANY)

    for part in recipe.parts:
        modules = engine.parts[part].named_modules() if part in engine.parts else ()
        for name, module in modules:
            # Only layers count: a table that is looked up is not multiplied.
            if isinstance(module, nn.Linear) and replaces(recipe, part, name, module):
                hooks.append(
                    module.register_forward_hook(
                        lambda module, given, out, name=f"{part}.{name}": look(name, module, given[0], out)
                    )
                )
    try:
        with torch.no_grad():
            yield relative
    finally:
        for hook in hooks:
            hook.remove()


def _rounded(x: torch.Tensor) -> torch.Tensor:
    """`x` `(..., n)` rounded to 8 bits, with a scale for each row."""
    scale = (x.detach().abs().amax(-1, keepdim=True) / 127).clamp(min=1e-12)
    return torch.round(x.detach() / scale) * scale

"""The interface of systems under measurement: clips in, texts out. Arms of peers are in benchmarks/."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from asr_app import catalog, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import SAMPLE_RATE, Audio, Chunk, ModelCard, Options, Segment, StageTimes
from asr_app.families.base import ReferenceLoss, as_spoken
from asr_app.loading import Loaded, load_from, locate
from asr_app.precision import Precision
from asr_app.text import join

T = TypeVar("T")
_BETWEEN_S = 60.0  # silence between the clips of one request, so that the pipeline never joins two of them


@dataclass(frozen=True)
class Task:
    """The model that an arm loads. `model` is a catalog id or a path, `weights` its folder or file.

    `vad` is a folder with fsmn-vad, for FunASR's own `AutoModel`. `exported` is the model in the peer's own format.
    """

    model: str
    weights: Path
    threads: int
    cache: Path
    hub: str
    device: str = "cpu"
    vad: Path | None = None
    exported: Path | None = None

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Inverse of `as_json`."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields | {k: Path(fields[k]) for k in ("weights", "cache", "vad", "exported") if fields[k]})

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str)


@dataclass(frozen=True)
class Clip:
    """A recording to transcribe. `language` is None if the arm must detect it.

    With a `reference` the arm also computes the loss of that text. `chunks` are start and end of each stretch of speech
    in seconds, for peers without a VAD; without any, the recording is one chunk.
    """

    path: Path
    language: str | None = None
    reference: str = ""
    chunks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class ArmText:
    """An arm's text for one clip. `seconds` is its share of the request's wall clock.

    `temperature` is the highest that Whisper's ladder ended at, None if the arm does not report it. `nats` is the sum
    of the cross-entropy over the `tokens` of the reference. `doubts` are the pipeline's reasons to distrust the text.
    """

    text: str
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None
    nats: float | None = None
    tokens: int | None = None
    doubts: tuple[str, ...] = ()


class Arm(Protocol):
    """A loaded system. `weights_mb` is None if it cannot be counted. `problem` is the reason of a failed self-check."""

    weights_mb: float | None
    problem: str

    def transcribe(self, clips: Sequence[Clip]) -> list[ArmText]:
        """One result a clip, in order. All clips of a request share one language."""
        ...


class PeerArm:
    """Base of the peers: decodes each clip as this app does and passes on the samples, one clip after another."""

    weights_mb: float | None = None
    problem = ""

    def transcribe(self, clips: Sequence[Clip]) -> list[ArmText]:
        """Like `Arm.transcribe`. Decoding counts as time, as it does for this app."""
        texts = []
        for clip in clips:
            began = time.perf_counter()
            audio, decode_s = pipeline.read(clip.path, clip.path.name, Limits())
            text, temperature = self.recognise(np.ascontiguousarray(audio.samples), clip)
            texts.append(ArmText(text.strip(), time.perf_counter() - began, {"decode": decode_s}, temperature))
        return texts

    def recognise(self, samples: np.ndarray, clip: Clip) -> tuple[str, float | None]:
        """Text of float32 `(n,)` at 16 kHz, and the highest temperature of its segments, if known."""
        raise NotImplementedError


def chunks_of(samples: np.ndarray, clip: Clip) -> list[np.ndarray]:
    """The samples of each of the clip's chunks."""
    spans = clip.chunks or ((0.0, len(samples) / SAMPLE_RATE),)
    return [samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)] for start, end in spans]


class App:
    """This app at a precision, through its own pipeline: decoding, VAD, recognition, punctuation.

    `short_windows` as in `Options`.
    """

    def __init__(self, task: Task, precision: Precision, short_windows: bool = False) -> None:
        self._short_windows = short_windows
        self.card: ModelCard = catalog.find(task.model)
        folders = locate(self.card, task.hub)
        self.loaded: Loaded = load_from(folders, self.card, precision, task.device, task.threads, task.cache)
        self.weights_mb: float | None = self.loaded.precision.weight_bytes / 1e6
        self.problem = self.loaded.check.reason

    def transcribe(self, clips: Sequence[Clip]) -> list[ArmText]:
        """Runs a single clip like an upload; the chunks of several clips share the engine's batches and workers.

        Stages `asr.encoder` and so on are the seconds of each part of the model, all threads and clips together.
        """
        options = self.options(clips)
        with _Clock(self.loaded.engine.parts) as clock:
            texts = [self._whole(clips[0], options)] if len(clips) == 1 else self._batch(clips, options)
        parts = {f"asr.{name}": seconds / len(clips) for name, seconds in clock.seconds.items() if seconds}
        texts = [dataclasses.replace(text, stages={**text.stages, **parts}) for text in texts]
        return self.with_loss(clips, texts)

    def options(self, clips: Sequence[Clip]) -> Options:
        """Options for words as in references, in the clips' common language."""
        return dataclasses.replace(as_spoken(self.card, clips[0].language), short_windows=self._short_windows)

    def _whole(self, clip: Clip, options: Options) -> ArmText:
        result = pipeline.transcribe(clip.path, self.loaded, options, Limits())
        times = result.times
        return ArmText(
            result.text, times.work_s, _stages(times), doubts=tuple(doubt.reason for doubt in result.doubts)
        )  # fmt: skip

    def _batch(self, clips: Sequence[Clip], options: Options) -> list[ArmText]:
        """Recognises all clips in one call of the pipeline: they lie on one time axis, far apart."""
        times: list[StageTimes] = []
        chunks: list[Chunk] = []
        owner: list[int] = []
        start_s = 0.0
        for i, clip in enumerate(clips):
            audio, decode_s = pipeline.read(clip.path, clip.path.name, Limits())
            own, vad_s = pipeline.cut(audio, self.loaded)
            times.append(StageTimes(decode_s=decode_s, vad_s=vad_s))
            chunks += [dataclasses.replace(chunk, start_s=start_s + chunk.start_s) for chunk in own]
            owner += [i] * len(own)
            start_s += audio.seconds + _BETWEEN_S
        segments: list[list[Segment]] = [[] for _ in clips]
        doubts: list[list[str]] = [[] for _ in clips]
        spent = StageTimes()
        for i, progress in zip(
            owner, pipeline.recognise(chunks, self.loaded, options, StageTimes()), strict=True
        ):  # fmt: skip
            segments[i] += progress.segments
            doubts[i] += [doubt.reason for doubt in progress.doubts]
            times[i] = dataclasses.replace(
                times[i], asr_s=times[i].asr_s + progress.times.asr_s - spent.asr_s,
                punctuation_s=times[i].punctuation_s + progress.times.punctuation_s - spent.punctuation_s,
            )  # fmt: skip
            spent = progress.times
        return [
            ArmText(join(s.text for s in own), clock.work_s, _stages(clock), doubts=tuple(reasons))
            for own, clock, reasons in zip(segments, times, doubts, strict=True)
        ]

    def with_loss(self, clips: Sequence[Clip], texts: list[ArmText]) -> list[ArmText]:
        """Adds the loss of each clip's reference, if the family can compute it. Its time is not in `seconds`."""
        engine = self.loaded.engine
        asked = [i for i, clip in enumerate(clips) if clip.reference]
        if not isinstance(engine, ReferenceLoss) or self._short_windows:  # the loss is of windows of 30 s
            return texts
        for some in _batches(asked, self.card.chunks_a_batch):
            losses = engine.reference_loss(
                [samples_of(clips[i]) for i in some],
                [clips[i].reference for i in some],
                [clips[i].language for i in some],
            )  # fmt: skip
            for i, (nats, tokens) in zip(some, losses, strict=True):
                texts[i] = dataclasses.replace(texts[i], nats=nats, tokens=tokens)
        return texts


class EngineAlone(App):
    """This app's engine on the whole clip, without VAD, cutting or checks: the same samples as a peer."""

    def transcribe(self, clips: Sequence[Clip]) -> list[ArmText]:
        """Raises RuntimeError for a clip that is longer than the family takes."""
        options = self.options(clips)
        texts: list[ArmText] = []
        torch.set_num_threads(self.loaded.threads)
        for some in _batches(clips, self.card.chunks_a_batch):
            began = time.perf_counter()
            samples = [samples_of(clip) for clip in some]
            if max(map(len, samples)) > self.card.max_chunk_s * SAMPLE_RATE:
                raise RuntimeError(f"a clip is longer than the {self.card.max_chunk_s:g} s that the engine takes")
            results = self.loaded.engine.transcribe(samples, options)
            pace = (time.perf_counter() - began) / max(1, sum(map(len, samples)))
            texts += [
                ArmText(join(s.text for s in segments), pace * len(x), {"asr": pace * len(x)})
                for segments, x in zip(results, samples, strict=True)
            ]
        return texts


class _Clock:
    """Inside its block, counts the seconds spent in each of `parts`, summed over threads."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self.seconds = dict.fromkeys(parts, 0.0)
        self._parts, self._adding, self._began = parts, threading.Lock(), threading.local()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> _Clock:
        for name, part in self._parts.items():
            self._hooks.append(part.register_forward_pre_hook(functools.partial(self._begin, name)))
            self._hooks.append(part.register_forward_hook(functools.partial(self._end, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, name: str, *_: object) -> None:
        setattr(self._began, name, time.perf_counter())

    def _end(self, name: str, *_: object) -> None:
        with self._adding:
            self.seconds[name] += time.perf_counter() - getattr(self._began, name)


def samples_of(clip: Clip) -> np.ndarray:
    """The clip's samples, float32 `(n,)` at 16 kHz."""
    audio: Audio = pipeline.read(clip.path, clip.path.name, Limits())[0]
    return np.ascontiguousarray(audio.samples)


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _stages(times: StageTimes) -> dict[str, float]:
    stages = {"decode": times.decode_s, "vad": times.vad_s, "asr": times.asr_s, "punctuation": times.punctuation_s}
    return {name: seconds for name, seconds in stages.items() if seconds}


FP32_NO_VAD = "fp32-no-vad"
FP32_SHORT, INT8_SHORT = "fp32-short", "int8-short"
SHORT_WINDOWS: Mapping[Precision, str] = {Precision.FP32: FP32_SHORT, Precision.INT8: INT8_SHORT}
APP: Mapping[str, Callable[[Task], Arm]] = {
    **{p.value: functools.partial(App, precision=p) for p in Precision},
    FP32_NO_VAD: functools.partial(EngineAlone, precision=Precision.FP32),
    FP32_SHORT: functools.partial(App, precision=Precision.FP32, short_windows=True),
    INT8_SHORT: functools.partial(App, precision=Precision.INT8, short_windows=True),
}

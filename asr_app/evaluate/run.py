"""The loop over (arm, clip)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from asr_app.datatypes import ModelCard
from asr_app.evaluate.arms import ArmText, Clip
from asr_app.evaluate.plan import EvaluationArm
from asr_app.evaluate.process import Answer, Started
from asr_app.evaluate.store import Store
from asr_app.recordings import Recording
from asr_app.scoring import base_language

_REQUEST = 25  # clips: enough for full batches, few enough that an interruption costs little
# Languages that are replaced by a near one for a model that does not know them.
_NEAREST = {"yue": "zh"}


class Process(Protocol):
    """The process of an arm, as the loop uses it."""

    def ready(self) -> Started: ...
    def ask(self, clips: Sequence[Clip]) -> Answer: ...
    def end(self) -> None: ...


@dataclass(frozen=True)
class ArmResult:
    """An arm's results. `texts` has the text and the CPU seconds of each finished recording, by its index.

    `problem` is the reason why some or all are missing or not to be trusted.
    """

    arm: EvaluationArm
    texts: dict[int, tuple[ArmText, float]]
    started: Started | None = None
    peak_mb: float = 0.0
    problem: str = ""


def clip_of(recording: Recording, card: ModelCard, detect: bool) -> Clip:
    """The clip for all arms. Without `detect` it names the language, if the model knows that or one near it."""
    language = base_language(recording.language)
    language = language if language in card.languages else _NEAREST.get(language, "")
    known = not detect and language in card.languages
    return Clip(recording.path, language if known else None, recording.texts[0])


def evaluate(
    arms: Sequence[EvaluationArm],
    clips: Sequence[Clip],
    digests: Sequence[str],
    home: Path,
    fresh: bool,
    done: Callable[[EvaluationArm, int], None],
) -> Iterator[ArmResult]:
    """Yields each arm's results. Those stored in the folder `home` are reused. `done` is called with finished clips.

    `digests` are the hashes of each clip's samples. An arm that fails keeps the clips that it finished before, and the
    other arms go on.
    """
    names = [_identity(*pair) for pair in zip(clips, digests, strict=True)]
    for arm in arms:
        if arm.problem:
            done(arm, len(clips))
            yield ArmResult(arm, {}, problem=arm.problem)
            continue
        store = Store(home, arm.key, arm.name, fresh=fresh)
        missing = [i for i, name in enumerate(names) if name not in store]
        done(arm, len(clips) - len(missing))
        problem = ""
        if missing:
            process: Process | None = None
            try:
                process = arm.start()
                store.start(process.ready())
                # A peer recognises one clip after the other anyway, so an interruption then costs only one.
                for request in _requests(missing, clips, _REQUEST if arm.own else 1):
                    answer = process.ask([clips[i] for i in request])
                    store.add([names[i] for i in request], answer.texts, answer.cpu_s, answer.rss_mb)
                    done(arm, len(request))
            except RuntimeError as error:  # the other arms are still wanted
                problem = str(error)
            finally:
                if process is not None:
                    process.end()
        texts = {i: store[name] for i, name in enumerate(names) if name in store}
        checked = store.started.check if store.started else ""
        yield ArmResult(arm, texts, store.started, store.peak_mb, problem or checked)


def _requests(missing: Sequence[int], clips: Sequence[Clip], size: int) -> Iterator[list[int]]:
    """The missing clips in requests of at most `size`. All clips of a request have one language."""
    for _, same in groupby(missing, key=lambda i: clips[i].language):
        group = list(same)
        for first in range(0, len(group), size):
            yield group[first : first + size]


def _identity(clip: Clip, digest: str) -> str:
    """Key of a result: a hash of the recording's samples, the language asked for and the reference for the loss."""
    return hashlib.sha256(json.dumps([digest, clip.language, clip.reference]).encode()).hexdigest()[:32]

"""From texts to figures: error by language and in all, what differs from FP32 with its interval, the reference's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_app.evaluate.arms import FP32_NO_VAD
from asr_app.evaluate.run import ArmResult
from asr_app.precision import Precision
from asr_app.recordings import Recording
from asr_app.scoring import HAN, Score, base_language, paired_bootstrap

ALL = "all"
_SET_MARKS = dict.fromkeys(map(ord, "。，？"))
_OPENAI = "peer:openai-whisper"


@dataclass(frozen=True)
class Difference:
    """By how much a rate is above FP32's on the same clips, with its 95 % interval."""

    delta: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """One arm on the clips of one language, or on all. `error` counts; `loss` is in nats a token of the reference.

    The differences are from FP32, on the clips that both have; None for FP32 itself and where there is none.
    """

    clips: int
    error: Score
    difference: Difference | None
    loss: float | None
    tokens: int
    loss_difference: Difference | None
    fp32_loss: float | None

    def as_dict(self) -> dict[str, Any]:
        """For the JSON: rates as shares, not per cent."""
        found: dict[str, Any] = {
            "clips": self.clips, "units": self.error.units, "errors": self.error.errors,
            "substitutions": self.error.substitutions, "deletions": self.error.deletions,
            "insertions": self.error.insertions, "error": round(self.error.rate, 5),
            "deletion_rate": round(self.error.deletions / max(1, self.error.units), 5),
        }  # fmt: skip
        if self.difference is not None:
            found["difference_from_fp32"] = _rounded(self.difference)
        if self.loss is not None:
            found |= {"loss": round(self.loss, 5), "tokens": self.tokens}
        if self.loss_difference is not None:
            found["loss_difference_from_fp32"] = _rounded(self.loss_difference)
        return found


@dataclass(frozen=True)
class ArmFigures:
    """An arm's figures, by language and under "all", and what it took. `seconds` and `cpu_s` are for all its clips."""

    result: ArmResult
    groups: Mapping[str, Group]
    audio_s: float
    seconds: float
    cpu_s: float
    doubts: int

    @property
    def name(self) -> str:
        return self.result.arm.name

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        started = self.result.started
        return {
            "arm": self.name, "problem": self.result.problem,
            "languages": {language: group.as_dict() for language, group in self.groups.items()},
            "audio_s": round(self.audio_s, 1), "seconds": round(self.seconds, 2), "cpu_s": round(self.cpu_s, 2),
            "doubts": self.doubts, "peak_mb": round(self.result.peak_mb, 1),
            "load_s": started and round(started.load_s, 2), "weights_mb": started and started.weights_mb,
        }  # fmt: skip


def figures(
    results: Sequence[ArmResult], recordings: Sequence[Recording], seconds: Sequence[float]
) -> list[ArmFigures]:
    """Figures of each arm; `seconds` is each recording's length. Differences are from the arm called fp32, if it ran."""
    counted = [{i: recordings[i].score(heard.text) for i, (heard, _) in r.heard.items()} for r in results]
    full = next((n for n, r in enumerate(results) if r.arm.name == Precision.FP32.value and r.heard), None)
    languages = list(dict.fromkeys(r.language for r in recordings if r.language))
    made = []
    for n, result in enumerate(results):
        groups = {}
        for language in (*languages, ALL):
            chosen = [i for i in sorted(counted[n]) if language in (ALL, recordings[i].language)]
            if chosen:
                other = None if full is None or full == n else (results[full], counted[full])
                groups[language] = _group(result, counted[n], chosen, other)
        own = [result.heard[i] for i in sorted(result.heard)]
        made.append(
            ArmFigures(
                result, groups, sum(seconds[i] for i in result.heard), sum(heard.seconds for heard, _ in own),
                sum(cpu for _, cpu in own), sum(len(heard.doubts) for heard, _ in own),
            )
        )  # fmt: skip
    return made


def same_texts(results: Sequence[ArmResult], recordings: Sequence[Recording]) -> dict[str, int] | None:
    """In how many clips FP32 without VAD writes openai-whisper's text, of those where its ladder ended at 0.

    White space is not compared, and in Chinese the marks are not, which this app sets after decoding. None where one
    of the two did not run.
    """
    ours, theirs = (
        next((r.heard for r in results if r.arm.name == name and r.heard), None) for name in (FP32_NO_VAD, _OPENAI)
    )
    if ours is None or theirs is None:
        return None
    clips = [i for i in theirs if i in ours and theirs[i][0].temperature == 0]
    same = sum(
        _compared(ours[i][0].text, recordings[i].language) == _compared(theirs[i][0].text, recordings[i].language)
        for i in clips
    )
    return {"clips": len(clips), "same": same, "above_temperature_0": sum(i in ours for i in theirs) - len(clips)}


def _compared(text: str, language: str) -> str:
    if base_language(language) in HAN:
        text = text.translate(_SET_MARKS)
    return "".join(text.split())


def _group(
    result: ArmResult,
    own: Mapping[int, Score],
    clips: Sequence[int],
    full: tuple[ArmResult, Mapping[int, Score]] | None,
) -> Group:
    nats, tokens = _loss(result, clips)
    difference = loss_difference = fp32_loss = None
    if full is not None:
        both = [i for i in clips if i in full[1]]
        difference = _paired(
            [full[1][i].errors for i in both], [own[i].errors for i in both], [own[i].units for i in both]
        )
        told = [i for i in both if None not in (result.heard[i][0].nats, full[0].heard[i][0].nats)]
        if told:
            before, count = _loss(full[0], told)
            loss_difference = _paired(before, _loss(result, told)[0], count)
            fp32_loss = sum(before) / sum(count) if sum(count) else None
    return Group(
        len(clips), _sum([own[i] for i in clips]), difference, sum(nats) / sum(tokens) if sum(tokens) else None,
        int(sum(tokens)), loss_difference, fp32_loss,
    )  # fmt: skip


def _loss(result: ArmResult, clips: Sequence[int]) -> tuple[list[float], list[float]]:
    """Nats and tokens of each clip whose reference's loss is known."""
    known = [result.heard[i][0] for i in clips if result.heard[i][0].nats is not None]
    return [float(heard.nats or 0.0) for heard in known], [float(heard.tokens or 0) for heard in known]


def _paired(before: Sequence[float], after: Sequence[float], units: Sequence[float]) -> Difference | None:
    return Difference(*paired_bootstrap(before, after, units)) if sum(units) else None


def _sum(scores: Sequence[Score]) -> Score:
    return Score(
        sum(s.errors for s in scores), sum(s.units for s in scores), sum(s.substitutions for s in scores),
        sum(s.deletions for s in scores), sum(s.insertions for s in scores),
    )  # fmt: skip


def _rounded(difference: Difference) -> list[float]:
    return [round(value, 6) for value in (difference.delta, difference.low, difference.high)]

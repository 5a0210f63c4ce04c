"""Figures from texts: error by language and in all, difference from FP32 with its interval, loss of the reference."""

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
    """Excess of a rate over FP32's on the same clips, with its 95 % interval."""

    delta: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """One arm on the clips of one language, or on all. `error` counts; `loss` is in nats a token of the reference.

    The differences are from FP32, on the clips that both have; None for FP32 itself and without FP32.
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
        fields: dict[str, Any] = {
            "clips": self.clips, "units": self.error.units, "errors": self.error.errors,
            "substitutions": self.error.substitutions, "deletions": self.error.deletions,
            "insertions": self.error.insertions, "error": round(self.error.rate, 5),
            "deletion_rate": round(self.error.deletions / max(1, self.error.units), 5),
        }  # fmt: skip
        if self.difference is not None:
            fields["difference_from_fp32"] = _rounded(self.difference)
        if self.loss is not None:
            fields |= {"loss": round(self.loss, 5), "tokens": self.tokens}
        if self.loss_difference is not None:
            fields["loss_difference_from_fp32"] = _rounded(self.loss_difference)
        return fields


@dataclass(frozen=True)
class ArmFigures:
    """An arm's figures, by language and under "all", and its cost. `seconds` and `cpu_s` are for all its clips."""

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
    counted = [{i: recordings[i].score(text.text) for i, (text, _) in r.texts.items()} for r in results]
    full = next((n for n, r in enumerate(results) if r.arm.name == Precision.FP32.value and r.texts), None)
    languages = list(dict.fromkeys(r.language for r in recordings if r.language))
    made = []
    for n, result in enumerate(results):
        groups = {}
        for language in (*languages, ALL):
            chosen = [i for i in sorted(counted[n]) if language in (ALL, recordings[i].language)]
            if chosen:
                other = None if full is None or full == n else (results[full], counted[full])
                groups[language] = _group(result, counted[n], chosen, other)
        own = [result.texts[i] for i in sorted(result.texts)]
        made.append(
            ArmFigures(
                result, groups, sum(seconds[i] for i in result.texts), sum(text.seconds for text, _ in own),
                sum(cpu for _, cpu in own), sum(len(text.doubts) for text, _ in own),
            )
        )  # fmt: skip
    return made


def same_texts(results: Sequence[ArmResult], recordings: Sequence[Recording]) -> dict[str, int] | None:
    """Number of clips in which FP32 without VAD writes openai-whisper's text, of those whose ladder ended at 0.

    White space is not compared. In Chinese the marks, which this app sets after decoding, are not compared either. None
    if one of the two did not run.
    """
    ours, theirs = (
        next((r.texts for r in results if r.arm.name == name and r.texts), None) for name in (FP32_NO_VAD, _OPENAI)
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
        both_losses = [i for i in both if None not in (result.texts[i][0].nats, full[0].texts[i][0].nats)]
        if both_losses:
            before, count = _loss(full[0], both_losses)
            loss_difference = _paired(before, _loss(result, both_losses)[0], count)
            fp32_loss = sum(before) / sum(count) if sum(count) else None
    return Group(
        len(clips), _sum([own[i] for i in clips]), difference, sum(nats) / sum(tokens) if sum(tokens) else None,
        int(sum(tokens)), loss_difference, fp32_loss,
    )  # fmt: skip


def _loss(result: ArmResult, clips: Sequence[int]) -> tuple[list[float], list[float]]:
    """Nats and tokens of each clip with a known loss of its reference."""
    known = [result.texts[i][0] for i in clips if result.texts[i][0].nats is not None]
    return [float(text.nats or 0.0) for text in known], [float(text.tokens or 0) for text in known]


def _paired(before: Sequence[float], after: Sequence[float], units: Sequence[float]) -> Difference | None:
    return Difference(*paired_bootstrap(before, after, units)) if sum(units) else None


def _sum(scores: Sequence[Score]) -> Score:
    return Score(
        sum(s.errors for s in scores), sum(s.units for s in scores), sum(s.substitutions for s in scores),
        sum(s.deletions for s in scores), sum(s.insertions for s in scores),
    )  # fmt: skip


def _rounded(difference: Difference) -> list[float]:
    return [round(value, 6) for value in (difference.delta, difference.low, difference.high)]

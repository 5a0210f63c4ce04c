"""The recommendation: one sentence with its evidence, and one arm for each way of use.

An arm is recommended for its speed only where the data bound its loss: the 95 % interval of its paired difference from
FP32 must end below MLPerf's bar and must not lie wholly above the product's. A handful of clips bounds nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_app.evaluate.figures import ALL
from asr_app.precision import Precision

PRODUCT_BAR = 0.0002  # of units: the product's aim is 0.02 points
_MLPERF_LOSS = 0.01  # MLPerf asks for 99 % of the reference's accuracy
_FASTER = 1.05  # below that a ratio is the noise of the machine
FEWEST_CLIPS = 20  # of fewer, the bootstrap's interval is too narrow


class Verdict(enum.Enum):
    """The data show that an arm holds the bars, show that it loses, or cannot tell."""

    HOLDS = "holds"
    LOSES = "loses"
    UNTOLD = "untold"


@dataclass(frozen=True)
class Candidate:
    """An arm beside FP32. `difference` is (delta, low, high) as shares of units, `speedup` times FP32's speed.

    `loss` is the change of the reference text's loss, (delta, low, high) as shares of FP32's. `waits_s` is the p95 of the
    wait with the most users. None where it was not measured.
    """

    name: str
    difference: tuple[float, float, float]
    speedup: float | None = None
    peak_mb: float | None = None
    waits_s: float | None = None
    loss: tuple[float, float, float] | None = None

    @property
    def is_faster(self) -> bool:
        return self.speedup is not None and self.speedup >= _FASTER

    def verdict(self, full_error: float, clips: int) -> Verdict:
        """The verdict of the interval over so many clips, for an error rate of FP32."""
        _, low, high = self.difference
        if clips < FEWEST_CLIPS:
            return Verdict.UNTOLD
        if low > PRODUCT_BAR:
            return Verdict.LOSES
        return Verdict.HOLDS if high <= mlperf_bar(full_error) else Verdict.UNTOLD


@dataclass(frozen=True)
class Advice:
    """The recommended arm and the sentence that says why, in one language. `arm` is empty without FP32."""

    arm: str
    sentence: str


def mlperf_bar(full_error: float) -> float:
    """The most that the error rate may grow for 99 % of the accuracy, 1 - error, to be left."""
    return _MLPERF_LOSS * max(0.0, 1.0 - full_error)


def advise(model: Mapping[str, Any], language: str) -> Advice:
    """The advice on one entry of "models" in results.json."""
    ran = {arm["arm"]: arm for arm in model["arms"] if arm["texts"]}
    full = ran.get(Precision.FP32.value)
    say = _speak(language)
    if full is None:
        return Advice(
            "", say("no FP32 text to compare with: no recommendation.", "没有可比较的 FP32 文本，无法给出建议。")
        )
    group = full["languages"][ALL]
    if full["problem"]:
        return Advice("", say(
            f"FP32 failed after {group['clips']} clips ({full['problem']}): no recommendation.",
            f"FP32 在 {group['clips']} 段录音后失败（{full['problem']}），无法给出建议。",
        ))  # fmt: skip
    return choose(candidates(model), group["error"], group["clips"], language)


def candidates(model: Mapping[str, Any]) -> list[Candidate]:
    """The arms of an entry of "models" that ran without a problem and can be compared with FP32."""
    made = []
    losses = {arm["arm"]: arm["languages"].get(ALL, {}).get("loss") for arm in model["arms"]}
    for arm in model["arms"]:
        difference = arm["languages"].get(ALL, {}).get("difference_from_fp32")
        if difference is None or arm["problem"]:
            continue
        peak, waits = _speed(arm)
        change, before = arm["languages"][ALL].get("loss_difference_from_fp32"), losses.get(Precision.FP32.value)
        loss = (change[0] / before, change[1] / before, change[2] / before) if change and before else None
        made.append(Candidate(arm["arm"].upper(), tuple(difference), arm["speedup"], peak, waits, loss))
    return made


def choose(arms: Sequence[Candidate], full_error: float, clips: int, language: str) -> Advice:
    """The fastest arm whose loss the data bound; else FP32, or that the data cannot tell, and why."""
    say = _speak(language)
    these = "this clip" if clips == 1 else f"these {clips} clips"
    here = say(f"On this machine, for {these}: ", f"在本机上，就这 {clips} 段录音而言：")
    full = Precision.FP32.label
    fast = sorted((arm for arm in arms if arm.is_faster), key=lambda arm: -(arm.speedup or 0.0))
    by_verdict = {verdict: [a for a in fast if a.verdict(full_error, clips) is verdict] for verdict in Verdict}
    if by_verdict[Verdict.HOLDS]:
        best = by_verdict[Verdict.HOLDS][0]
        return Advice(best.name, f"{here}{best.name}{say(', ', '，')}{_evidence(best, language)}{say('.', '。')}")
    if by_verdict[Verdict.UNTOLD]:
        best = by_verdict[Verdict.UNTOLD][0]
        return Advice(full, here + say(
            f"the data cannot tell {best.name} and {full} apart ({_evidence(best, language)}{_loss(best, language)}); "
            "more clips would.",
            f"数据无法区分 {best.name} 与 {full}（{_evidence(best, language)}{_loss(best, language)}）；需要更多录音。",
        ))  # fmt: skip
    if by_verdict[Verdict.LOSES]:
        best = by_verdict[Verdict.LOSES][0]
        return Advice(full, here + say(
            f"{full}; {best.name} makes more errors ({_evidence(best, language)}).",
            f"{full}；{best.name} 的错误更多（{_evidence(best, language)}）。",
        ))  # fmt: skip
    if any(arm.speedup is None for arm in arms):
        return Advice(full, here + say("no speed was measured: no recommendation.", "没有测得速度，无法给出建议。"))
    return Advice(full, here + say(f"{full}; no other precision is faster.", f"{full}；没有更快的精度。"))


def by_use(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(use, arm) for "service", "edge", "offline" and "research", of the arms that are not shown to lose."""
    full = next((arm for arm in model["arms"] if arm["arm"] == Precision.FP32.value and arm["texts"]), None)
    if full is None or full["problem"]:
        return []
    error, (peak, waits) = full["languages"][ALL]["error"], _speed(full)
    arms = [
        arm for arm in candidates(model) if arm.verdict(error, full["languages"][ALL]["clips"]) is not Verdict.LOSES
    ]
    arms.insert(0, Candidate(Precision.FP32.label, (0.0, 0.0, 0.0), None if peak is None else 1.0, peak, waits))

    def least(key: Callable[[Candidate], float | None]) -> str:
        known = [(value, arm.name) for arm in arms if (value := key(arm)) is not None]
        return min(known, key=lambda pair: pair[0])[1] if known else ""

    return [
        ("service", least(lambda arm: arm.waits_s)),
        ("edge", least(lambda arm: arm.peak_mb)),
        ("offline", least(lambda arm: None if arm.speedup is None else -arm.speedup)),
        ("research", Precision.FP32.label),
    ]


def _speed(arm: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Peak memory (MB; the device's, if there is one), and the p95 of the wait (seconds) with the most users."""
    speed = arm["speed"]
    if not speed or speed["problem"]:
        return None, None
    waits_s = speed["users"][-1]["wait_p95_s"] if speed["users"] else speed["latency_s"]["p95"]
    return speed["device_mb"] or speed["peak_mb"], waits_s


def _evidence(arm: Candidate, language: str) -> str:
    delta, low, high = (100 * value for value in arm.difference)
    return _speak(language)(
        f"{arm.speedup:.1f}x as fast, {delta:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}",
        f"速度为 {arm.speedup:.1f} 倍，错误率 {delta:+.2f} 个百分点，95 % 区间 {low:+.2f} 至 {high:+.2f}",
    )


def _loss(arm: Candidate, language: str) -> str:
    if arm.loss is None:
        return ""
    delta, low, high = (100 * value for value in arm.loss)
    return _speak(language)(
        f"; loss of the reference text {delta:+.2f} %, {low:+.2f} to {high:+.2f}",
        f"；参考文本的损失 {delta:+.2f} %，{low:+.2f} 至 {high:+.2f}",
    )


def _speak(language: str) -> Callable[[str, str], str]:
    return lambda en, zh: zh if language == "zh" else en

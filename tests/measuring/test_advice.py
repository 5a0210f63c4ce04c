"""The recommendation: the fastest arm whose loss the data bound, else FP32 with the reason."""

from __future__ import annotations

import pytest

from asr_app.report.advice import Candidate, Verdict, advise, by_use, choose, mlperf_bar


def points(delta: float, low: float, high: float) -> tuple[float, float, float]:
    return delta / 100, low / 100, high / 100


def test_the_sentence_has_its_evidence() -> None:
    arms = [Candidate("INT8", points(0.01, -0.05, 0.07), 2.41), Candidate("BF16", points(0, -0.01, 0.01), 1.3)]
    assert choose(arms, 0.1, 300, "en").sentence == (
        "On this machine, for these 300 clips: INT8, 2.4x as fast, +0.01 points, 95 % interval -0.05 to +0.07."
    )
    chinese = choose(arms, 0.1, 300, "zh")
    assert chinese.arm == "INT8"
    assert (
        chinese.sentence
        == "在本机上，就这 300 段录音而言：INT8，速度为 2.4 倍，错误率 +0.01 个百分点，95 % 区间 -0.05 至 +0.07。"
    )


@pytest.mark.parametrize(
    ("arms", "arm", "says"),
    [
        ([Candidate("INT8", points(0.3, -1.2, 1.9), 2.4)], "FP32", "the data cannot tell INT8 and FP32 apart"),
        ([Candidate("INT8", points(0.3, 0.1, 0.5), 2.4)], "FP32", "INT8 makes more errors (2.4x"),
        ([Candidate("INT8", points(0, 0, 0), 1.02)], "FP32", "no other precision is faster"),
        ([Candidate("INT8", points(0, 0, 0), None)], "FP32", "no speed was measured"),
        ([], "FP32", "no other precision is faster"),
        (
            [Candidate("INT8", points(0.3, 0.1, 0.5), 2.4), Candidate("BF16", points(0, -0.1, 0.1), 1.4)],
            "BF16", "BF16, 1.4x as fast",
        ),
        (
            [Candidate("INT8", points(0.3, -1, 3), 2.4), Candidate("BF16", points(0, -0.1, 0.1), 1.4)],
            "BF16", "BF16, 1.4x as fast",
        ),
    ],
    ids=["untold", "loses", "not faster", "no speed", "alone", "next best", "bounded first"],
)  # fmt: skip
def test_what_the_data_do_not_show_is_not_recommended(arms: list[Candidate], arm: str, says: str) -> None:
    advice = choose(arms, 0.1, 20, "en")
    assert advice.arm == arm
    assert says in advice.sentence


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.0, 0.009, Verdict.HOLDS), (0.0002, 0.009, Verdict.HOLDS), (0.00021, 0.009, Verdict.LOSES),
     (0.0, 0.0091, Verdict.UNTOLD)],
)  # fmt: skip
def test_the_bars(low: float, high: float, verdict: Verdict) -> None:
    assert mlperf_bar(0.1) == pytest.approx(0.009)
    assert mlperf_bar(1.2) == 0
    assert Candidate("INT8", (0.001, low, high), 2.0).verdict(0.1, 20) is verdict
    assert Candidate("INT8", (0.001, low, high), 2.0).verdict(0.1, 19) is Verdict.UNTOLD


def test_a_handful_of_clips_bounds_nothing() -> None:
    advice = choose([Candidate("INT8", points(0, 0, 0), 2.4, loss=(0.0024, -0.0021, 0.0074))], 0.1, 6, "en")
    assert advice.arm == "FP32"
    assert "cannot tell" in advice.sentence
    assert "loss of the reference text +0.24 %, -0.21 to +0.74" in advice.sentence


def entry(name: str, speedup: float | None, difference: list[float] | None, peak: float, wait: float) -> dict:
    group = {"error": 0.1, "clips": 20} | ({"difference_from_fp32": difference} if difference else {})
    speed = {"problem": "", "peak_mb": peak, "device_mb": 0.0, "users": [{"wait_p95_s": wait}]}
    return {"arm": name, "problem": "", "texts": [{}], "languages": {"all": group}, "speedup": speedup, "speed": speed}


def test_an_arm_for_each_use_and_none_that_loses() -> None:
    arms = [
        entry("fp32", None, None, 900, 4.0), entry("int8", 2.0, [0.0, -0.001, 0.001], 400, 2.0),
        entry("fp16", 3.0, [0.01, 0.005, 0.02], 300, 1.0),
    ]  # fmt: skip
    assert by_use({"arms": arms}) == [("service", "INT8"), ("edge", "INT8"), ("offline", "INT8"), ("research", "FP32")]
    assert advise({"arms": arms}, "en").arm == "INT8"
    assert by_use({"arms": arms[1:]}) == []
    assert advise({"arms": arms[1:]}, "en").arm == ""


def test_on_a_gpu_the_memory_that_counts_is_the_gpus() -> None:
    arms = [
        entry("fp32", None, None, 1000, 1.0), entry("fp16", 0.9, [0.0, 0.0, 0.0], 1235, 1.7),
    ]  # fmt: skip
    for arm, device_mb in zip(arms, (423.0, 332.0), strict=True):
        arm["speed"]["device_mb"] = device_mb
    assert dict(by_use({"arms": arms}))["edge"] == "FP16"


def test_without_speed_no_arm_is_called_the_fastest() -> None:
    arms = [entry("fp32", None, None, 900, 4.0), entry("int8", None, [0.0, -0.001, 0.001], 400, 2.0)]
    for arm in arms:
        arm["speed"] = None
    assert [arm for _, arm in by_use({"arms": arms})] == ["", "", "", "FP32"]


def test_a_reference_that_failed_half_way_gives_no_advice() -> None:
    arms = [entry("fp32", None, None, 900, 4.0), entry("int8", 2.0, [0.0, -0.001, 0.001], 400, 2.0)]
    arms[0]["problem"] = "Killed"
    advice = advise({"arms": arms}, "en")
    assert (advice.arm, advice.sentence) == ("", "FP32 failed after 20 clips (Killed): no recommendation.")
    assert by_use({"arms": arms}) == []

"""The loop that times the arms: in alternation, then several users at once; a failing arm does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from asr_app.evaluate.arms import ArmText, Clip, Task
from asr_app.evaluate.process import Answer, Started
from asr_app.evaluate.rounds import Measured, measure, steps

CLIPS = [Clip(Path(f"{i}.wav")) for i in range(3)]
LOG: list[str] = []


class Fake:
    """Takes 10 ms a clip; dies at request number `dies_at`."""

    def __init__(self, name: str, dies_at: int = -1) -> None:
        self.name, self.dies_at, self.asked = name, dies_at, 0
        LOG.append(f"{name} starts")

    def ready(self) -> Started:
        return Started(1.0, 2.0, 3.0, 4.0, "")

    def ask(self, clips: Sequence[Clip]) -> Answer:
        if self.asked == self.dies_at:
            raise RuntimeError("Killed")
        self.asked += 1
        time.sleep(0.01)
        LOG.append(f"{self.name} {clips[0].path.stem}")
        return Answer(0.01, 0.02, 6.0, [ArmText(clips[0].path.stem, 0.01, {"asr": 0.01 * self.asked})], 7.0)

    def end(self) -> None:
        LOG.append(f"{self.name} ends")


def run(tmp_path: Path, dies_at: int = -1, users: Sequence[int] = (), rounds: int = 1) -> dict[str, Measured]:
    LOG.clear()
    task = Task("m", tmp_path, 1, tmp_path, "auto")
    told: list[str] = []
    measured = measure(
        dict.fromkeys(("fp32", "int8"), task), CLIPS, lambda arm, _: told.append(arm), users, rounds,
        start=lambda name, _: Fake(name, dies_at if name == "int8" else -1), prepared=True,
    )  # fmt: skip
    if dies_at < 0:
        assert len(told) == steps(2, len(CLIPS), users, rounds)
    return measured


def test_the_arms_take_turns_after_a_warm_up(tmp_path: Path) -> None:
    measured = run(tmp_path)
    asked = [line for line in LOG if line.split()[1].isdigit()]
    assert asked == [f"{arm} {clip}" for clip in (0, 0, 1, 2) for arm in ("fp32", "int8")]
    assert LOG.count("fp32 starts") == LOG.count("fp32 ends") == 3
    full = measured["fp32"]
    assert (len(full.seconds), full.texts, len(full.loads), len(full.starts)) == (3, ["0", "1", "2"], 3, 3)
    assert full.mean_stages == {"asr": pytest.approx(0.03)}  # of requests 2 to 4: the warm-up is not counted
    assert (full.rss_mb, full.device_mb) == (6.0, 7.0)


def test_users_at_once_wait_for_each_other(tmp_path: Path) -> None:
    one, four = run(tmp_path, users=(1, 4), rounds=2)["int8"].users
    assert (len(one.waits), len(four.waits), len(four.whole_s)) == (2, 8, 2)
    assert four.as_dict()["wait_p95_s"] > 2 * one.as_dict()["wait_p95_s"]
    assert four.waits[:4] == sorted(four.waits[:4])
    assert four.as_dict()["clips_per_s"] == pytest.approx(8 / sum(four.whole_s), rel=0.01)


@pytest.mark.parametrize("dies_at", [0, 2, 5])
def test_an_arm_that_dies_has_a_problem_and_the_other_goes_on(tmp_path: Path, dies_at: int) -> None:
    measured = run(tmp_path, dies_at, users=(2,), rounds=2)
    assert measured["int8"].problem == "Killed"
    assert not measured["fp32"].problem
    assert len(measured["fp32"].users[0].waits) == 4

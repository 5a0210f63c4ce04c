"""The paired bootstrap's 95 % interval covers a known difference as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from asr_app.scoring import paired_bootstrap


def coverage(simulations: int, clips: int, draws: int, seed: int = 0) -> float:
    """Share of simulated corpora whose interval holds the true difference.

    Clips have 3 to 30 units and a difficulty of their own. B makes A's errors, loses some and adds others, so that its
    rate is higher by 0.01 in expectation.
    """
    random = np.random.default_rng(seed)
    gained, lost = 0.04, 0.03
    covered = 0
    for number in range(simulations):
        units = random.integers(3, 31, clips)
        difficulty = random.beta(2, 8, clips)
        a = random.binomial(units, difficulty)
        b = a + random.binomial(units, gained) - random.binomial(a, lost / 0.2)
        _, low, high = paired_bootstrap(a.tolist(), b.tolist(), units.tolist(), draws=draws, seed=number)
        # The mean difficulty is 0.2, so A's errors that B does not make are 0.03 of the units.
        covered += low <= gained - lost <= high
    return covered / simulations


def test_the_interval_covers_a_known_difference() -> None:
    """200 simulations: the share has a standard error of 1.5 points, so the bounds are three of them from 95 %."""
    assert 0.905 <= coverage(200, 100, 300) <= 0.985


@pytest.mark.slow
def test_the_interval_covers_a_known_difference_in_1000_simulations() -> None:
    assert 0.94 <= coverage(1000, 300, 1000) <= 0.96


def test_half_an_interval_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    percentile = np.percentile
    monkeypatch.setattr(np, "percentile", lambda values, _: percentile(values, [16, 84]))
    assert coverage(200, 100, 300) < 0.8

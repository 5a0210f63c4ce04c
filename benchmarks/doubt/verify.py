"""Error and CPU seconds of INT8 with the doubtful clips recognised again at FP32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_app.scoring import paired_bootstrap


@dataclass(frozen=True)
class Pair:
    """One clip at both precisions: errors and CPU seconds at INT8 and at FP32, its reference's units, how sure INT8 is.

    `differs` is whether the two texts differ in their units.
    """

    int8_errors: int
    fp32_errors: int
    units: int
    int8_cpu_s: float
    fp32_cpu_s: float
    sure: float
    differs: bool


@dataclass(frozen=True)
class Verified:
    """INT8 with the least sure `share` of the clips taken from FP32.

    `difference` is the error above INT8 alone with its 95 % interval, `chance` what redoing as many clips at random
    gives on average. `cpu` is CPU seconds as a multiple of INT8's.
    """

    share: float
    error: float
    difference: tuple[float, float, float]
    chance: float
    cpu: float


def verified(pairs: Sequence[Pair], share: float) -> Verified:
    """Counts one share. Raises ValueError without reference units."""
    order = np.argsort([pair.sure for pair in pairs], kind="stable")
    again = set(order[: round(share * len(pairs))].tolist())
    int8 = [pair.int8_errors for pair in pairs]
    mixed = [pair.fp32_errors if i in again else pair.int8_errors for i, pair in enumerate(pairs)]
    units = [pair.units for pair in pairs]
    fp32 = [pair.fp32_errors for pair in pairs]
    cpu = sum(pair.int8_cpu_s for pair in pairs)
    return Verified(
        len(again) / len(pairs), sum(mixed) / sum(units), paired_bootstrap(int8, mixed, units),
        len(again) / len(pairs) * (sum(fp32) - sum(int8)) / sum(units),
        (cpu + sum(pairs[i].fp32_cpu_s for i in again)) / cpu if cpu else float("nan"),
    )  # fmt: skip

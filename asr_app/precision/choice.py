"""Choice of the precision a job runs at, by the lite switch and the precision that the user picked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from asr_app.errors import UserError
from asr_app.precision.enum import Precision
from asr_app.precision.evidence import Evidence
from asr_app.precision.recipes import Recipes

_HALF = (Precision.BF16, Precision.FP16)


def refusal(precision: Precision, recipes: Recipes, allowed: Sequence[Precision], device: str) -> UserError | None:
    """Reason why this model cannot use `precision` on this device; None if it can."""
    kind = device.partition(":")[0]
    choices = ", ".join(p.value for p in allowed)
    if precision not in allowed:
        return UserError(
            f"This model has no {precision.label} variant. Choose one of: {choices}.",
            f"该模型没有 {precision.label} 版本。可选：{choices}。",
        )
    if precision is not Precision.FP32 and (precision, kind) not in recipes:
        return UserError(
            f"{precision.label} is not supported on {kind}. Choose another precision or device.",
            f"{kind} 不支持 {precision.label}。请选择其他精度或设备。",
        )
    return None


def _lite(allowed: Sequence[Precision], device: str) -> tuple[Precision, ...]:
    """Precisions for lite mode, best first. On a GPU the half precisions are as fast as each other, in the card's order."""
    if device.startswith("cuda"):
        return (*(p for p in allowed if p in _HALF), Precision.INT8)
    return Precision.INT8, Precision.BF16


def choose(
    lite: bool,
    picked: Precision | None,
    recipes: Recipes,
    allowed: Sequence[Precision],
    device: str,
    measured: Mapping[Precision, Evidence] = MappingProxyType({}),
    emulated: Sequence[Precision] = (),
) -> Precision:
    """Precision to run at: the picked one, else the lite or the full one.

    Lite is the first precision in the device's order that is not `emulated` and has not failed its self-check. Raises
    UserError if there is none, or if the picked precision is not allowed.
    """
    if picked is None:
        picked = Precision.FP32 if Precision.FP32 in allowed else allowed[0]
        if lite:
            usable = [
                p
                for p in _lite(allowed, device)
                if p not in emulated
                and refusal(p, recipes, allowed, device) is None
                and not (p in measured and measured[p].reason)
            ]
            if not usable:
                raise UserError(
                    "This model has no lite variant here. Turn the switch off.",
                    "该模型在此设备上没有轻量版本。请关闭轻量模式。",
                )
            picked = usable[0]
    problem = refusal(picked, recipes, allowed, device)
    if problem:
        raise problem
    return picked

"""Moves the difference in size between channels from activations to weights, so that both lose little in 8 bits.

One channel of a norm's output may be fifty times as large as another. In 8 bits, by token, nothing is left of the small
one. Dividing the norm's gain by a factor per channel and multiplying the next layer's weights with it changes no result.

Source: Xiao et al., "SmoothQuant", 2022 (arXiv 2211.10438), with a migration strength of 0.5. There the sizes of the
activations are measured; here they are estimated from the layer before, so that no recording is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from asr_app.precision.recipes import Smoothing

_DEVIATIONS = 3.0  # of a channel of a norm's output, around its bias: nearly all of it
_LEAST = 1e-5


@torch.no_grad()
def smooth(parts: Mapping[str, nn.Module], pairs: Smoothing) -> None:
    """Smooths the blocks of those `parts` that are there, in place. In FP32 the model computes the same as before."""
    for path, layers in pairs.items():
        part, _, child = path.partition(".")
        if part not in parts:
            continue
        for block in parts[part].get_submodule(child).children():
            for before, after in layers:
                _smooth(block.get_submodule(before), [block.get_submodule(name) for name in after])


def _smooth(before: Any, after: Sequence[Any]) -> None:
    """`before` is a LayerNorm, or a linear layer whose output is only averaged over time, as an attention's values are."""
    activations = _sizes(before)
    weights = torch.stack([layer.weight.abs().amax(0) for layer in after]).amax(0)
    factors = (activations.clamp(min=_LEAST) / weights.clamp(min=_LEAST)).sqrt()
    before.weight.div_(factors if before.weight.ndim == 1 else factors[:, None])
    before.bias.div_(factors)
    for layer in after:
        layer.weight.mul_(factors)


def _sizes(layer: Any) -> torch.Tensor:
    """Estimated magnitude of each channel of the layer's output, `(d,)`."""
    spread = _DEVIATIONS * layer.weight.abs() if isinstance(layer, nn.LayerNorm) else layer.weight.norm(dim=1)
    sizes: torch.Tensor = spread + layer.bias.abs()
    return sizes

"""Smoothing changes where the large numbers are, and nothing that is computed from them."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from asr_app import catalog, hub
from asr_app.families.whisper import RECIPES
from asr_app.loading import load
from asr_app.precision import Precision
from asr_app.precision.linears import Int8Linear
from asr_app.precision.smoothing import smooth


def blocks() -> nn.ModuleDict:
    """A norm with one loud channel, a linear layer for values and one after them."""
    torch.manual_seed(0)
    block = nn.Sequential(OrderedDict(norm=nn.LayerNorm(64), value=nn.Linear(64, 64), out=nn.Linear(64, 64)))
    with torch.no_grad():
        block.norm.weight[3], block.norm.bias[5] = 80.0, 40.0
        block.value.weight[7] *= 50
    return nn.ModuleDict({"blocks": nn.Sequential(block)})


PAIRS = {"part.blocks": (("norm", ("value",)), ("value", ("out",)))}


@torch.no_grad()
def test_the_result_stays_and_8_bits_lose_less():
    part, x = blocks(), torch.randn(200, 64)
    block = part["blocks"][0]
    before = block(x)

    def lost() -> list[float]:
        losses, y = [], block.norm(x)
        for layer in (block.value, block.out):
            full = layer(y)
            losses.append(float((Int8Linear(layer)(y) - full).norm() / full.norm()))
            y = full
        return losses

    rough = lost()
    smooth({"part": part}, PAIRS)
    torch.testing.assert_close(block(x), before, rtol=1e-4, atol=1e-3)
    assert all(smoothed < 0.5 * as_it_was for smoothed, as_it_was in zip(lost(), rough, strict=True))


@pytest.mark.models
@torch.no_grad()
def test_whisper_computes_the_same_when_smoothed():
    parts = load(catalog.find("demo-whisper"), Precision.FP32, "cpu", 2, hub.HUBS[0]).engine.parts
    encoder, decoder = parts["encoder"], parts["decoder"]
    mel, tokens = torch.randn(1, encoder.conv1.in_channels, 3000), torch.arange(12)[None]
    before = decoder(tokens, encoder(mel))
    gain = encoder.blocks[0].mlp_ln.weight.clone()
    smooth(parts, RECIPES[Precision.INT8, "cpu"].smoothing)
    torch.testing.assert_close(decoder(tokens, encoder(mel)), before, rtol=1e-3, atol=1e-3)
    assert not torch.equal(encoder.blocks[0].mlp_ln.weight, gain)

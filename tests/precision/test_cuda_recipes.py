"""CUDA's recipes, as far as a CPU can run them: the same kernel's results, shapes, dtypes and bytes."""

from __future__ import annotations

import pytest
import torch
from conftest import EXAMPLE
from torch import nn

from asr_app import catalog, hub
from asr_app.audio import decode
from asr_app.families.base import as_spoken
from asr_app.loading import load
from asr_app.precision import Precision
from asr_app.precision.apply import apply
from asr_app.precision.counting import report
from asr_app.precision.layers import replacement
from asr_app.precision.linears import HalfLinear, Int8CudaLinear, own_tensors
from asr_app.scoring import score


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 256), (2, 50, 256), (17, 256)])
def test_few_rows_and_many_come_out_close(shape):
    torch.manual_seed(0)
    linear, x = nn.Linear(256, 512), torch.randn(shape)
    layer = Int8CudaLinear(linear)
    assert layer.weight.dtype is torch.int8
    assert own_tensors(layer).keys() == {"weight", "scale", "bias"}
    got, want = layer(x), linear(x)
    assert got.shape == want.shape
    assert got.dtype is torch.float32
    assert float((got - want).norm() / want.norm()) < 0.02


@torch.no_grad()
def test_a_loud_row_does_not_drown_a_quiet_one():
    torch.manual_seed(0)
    linear = nn.Linear(256, 512, bias=False)
    x = torch.randn(20, 256) * torch.logspace(-6, 3, 20)[:, None]
    got, want = Int8CudaLinear(linear)(x), linear(x)
    assert float(((got - want).norm(dim=1) / want.norm(dim=1)).max()) < 0.03


def test_what_the_kernel_cannot_take_goes_to_bf16():
    odd = nn.Linear(250, 512)
    with pytest.raises(ValueError, match="multiples of 8"):
        Int8CudaLinear(odd)
    recipe = catalog.recipes(catalog.find("demo-paraformer"))[Precision.INT8, "cuda"]
    assert isinstance(replacement(recipe, "encoder", "encoders.0.feed_forward.w_1", odd), HalfLinear)


@pytest.mark.models
@pytest.mark.parametrize("model", ["demo-paraformer", "demo-sensevoice", "demo-whisper", "demo-fun-asr"])
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8], ids=lambda p: p.value)
def test_a_model_by_its_cuda_recipe_says_the_same_words(model, precision, expected):
    card = catalog.find(model)
    engine = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0]).engine
    apply(engine.parts, catalog.recipes(card)[precision, "cuda"], "cpu")
    assert any(precision.label in part.label for part in report(engine.parts, precision).parts)
    name = "mandarin-home.wav"
    heard = engine.transcribe([decode(EXAMPLE / name).samples], as_spoken(card))[0]
    assert score([(expected[name]["text"], " ".join(s.text for s in heard))]).rate < 0.1

"""What CUDA's recipes make of a model, as far as a CPU can tell: the same kernel's results, shapes, dtypes and bytes."""

from __future__ import annotations

import pytest
import torch
from conftest import EXAMPLE
from torch import nn

from asr_app import catalog, hub
from asr_app.audio import decode
from asr_app.families.base import as_spoken
from asr_app.loading import load
from asr_app.precision import Precision, apply, captured, refusal, report
from asr_app.precision.linears import Fp8Linear, HalfLinear, Int8CudaLinear, own_tensors
from asr_app.scoring import score

# The layer, what it stores, and how far off it is.
LAYERS = [(Int8CudaLinear, torch.int8, 0.02), (Fp8Linear, torch.float8_e4m3fn, 0.05)]


@torch.no_grad()
@pytest.mark.parametrize(("kind", "dtype", "off"), LAYERS)
@pytest.mark.parametrize("shape", [(1, 256), (2, 50, 256), (17, 256)])
def test_few_rows_and_many_come_out_close(kind, dtype, off, shape):
    torch.manual_seed(0)
    linear, x = nn.Linear(256, 512), torch.randn(shape)
    layer = kind(linear)
    assert layer.weight.dtype is dtype
    assert own_tensors(layer).keys() == {"weight", "scale", "bias"}
    got, want = layer(x), linear(x)
    assert got.shape == want.shape
    assert got.dtype is torch.float32
    assert float((got - want).norm() / want.norm()) < off


@torch.no_grad()
@pytest.mark.parametrize(("kind", "_dtype", "off"), LAYERS)
def test_a_loud_row_does_not_drown_a_quiet_one(kind, _dtype, off):
    torch.manual_seed(0)
    linear = nn.Linear(256, 512, bias=False)
    x = torch.randn(20, 256) * torch.logspace(-6, 3, 20)[:, None]
    got, want = kind(linear)(x), linear(x)
    assert float(((got - want).norm(dim=1) / want.norm(dim=1)).max()) < 1.5 * off


@pytest.mark.parametrize(("precision", "kind"), [(Precision.INT8, Int8CudaLinear), (Precision.FP8, Fp8Linear)])
def test_what_the_kernel_cannot_take_goes_to_bf16(precision, kind):
    odd = nn.Linear(250, 512)
    with pytest.raises(ValueError, match="multiples of"):
        kind(odd)
    recipe = catalog.recipes(catalog.find("demo-paraformer"))[precision, "cuda"]
    assert isinstance(recipe.replacement("encoder", "encoders.0.feed_forward.w_1", odd), HalfLinear)


@pytest.mark.parametrize(("capability", "has"), [((8, 6), False), ((8, 9), True), ((9, 0), True)])
def test_fp8_is_there_where_the_gpu_has_it(monkeypatch, capability, has):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    card = catalog.find("demo-paraformer")
    assert (Precision.FP8 in catalog.precisions(card, "cuda:0")) is has
    assert Precision.FP8 not in catalog.precisions(card, "cpu")
    allowed = catalog.precisions(card, "cuda:0")
    assert (refusal(Precision.FP8, catalog.recipes(card), allowed, "cuda:0") is None) is has


@pytest.mark.models
@pytest.mark.parametrize("model", ["demo-paraformer", "demo-sensevoice", "demo-whisper", "demo-fun-asr"])
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.FP8], ids=lambda p: p.value)
def test_a_model_by_its_cuda_recipe_says_the_same_words(model, precision, expected):
    card = catalog.find(model)
    engine = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0]).engine
    apply(engine.parts, catalog.recipes(card)[precision, "cuda"], "cpu")
    assert any(precision.label in part.label for part in report(engine.parts, precision).parts)
    name = "mandarin-home.wav"
    heard = engine.transcribe([decode(EXAMPLE / name).samples], as_spoken(card))[0]
    assert score([(expected[name]["text"], " ".join(s.text for s in heard))]).rate < 0.1


@torch.no_grad()
@pytest.mark.models
@pytest.mark.parametrize(("model", "part"), [("demo-paraformer", "encoder"), ("demo-sensevoice", "encoder"),
                                             ("demo-fun-asr", "audio_encoder")])  # fmt: skip
def test_captured_layers_compute_what_the_layers_did(model, part):
    """Filled up to a bucket, in places that stay: each row as it was, whatever was there before."""
    card = catalog.find(model)
    engine = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0]).engine
    encoder, counted = engine.parts[part], report(engine.parts, Precision.FP32)
    torch.manual_seed(0)
    given = [(torch.randn(b, t, encoder.encoders0[0].in_size), torch.tensor(lengths)) for b, t, lengths in (
        (1, 57, [57]), (2, 40, [40, 25]), (1, 60, [60]), (1, 64, [64]), (1, 600, [600]),
    )]  # fmt: skip
    want = [encoder(x.clone(), lengths)[0] for x, lengths in given]
    captured.capture(engine.parts, catalog.recipes(card)[Precision.INT8, "cpu"].stacks)
    assert any(isinstance(m, captured.CapturedLayers) for m in encoder.modules())
    assert report(engine.parts, Precision.FP32) == counted
    for (x, lengths), full in zip(given, want, strict=True):
        got = encoder(x.clone(), lengths)[0]
        assert got.shape == full.shape
        for row, length in enumerate(lengths):
            assert torch.allclose(got[row, :length], full[row, :length], atol=1e-4, rtol=1e-4)

"""CUDA's recipes, as far as a CPU can run them: the same kernel's results, shapes, dtypes and bytes."""

from __future__ import annotations

import pytest
import torch
from conftest import EXAMPLE
from torch import nn

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits, decode
from asr_app.datatypes import Options
from asr_app.engines import Engines
from asr_app.families._qwen3_captured import Qwen3
from asr_app.families.base import as_spoken
from asr_app.loading import load
from asr_app.precision import Precision, captured, half
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
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16, Precision.INT8], ids=lambda p: p.value)
def test_a_model_by_its_cuda_recipe_says_the_same_words(model, precision, expected):
    card = catalog.find(model)
    if precision not in card.precisions:
        pytest.skip("overflows in FP16")
    engine = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0]).engine
    recipe = catalog.recipes(card)[precision, "cuda"]
    apply(engine.parts, recipe, "cpu")
    assert any(precision.label in part.label for part in report(engine.parts, precision).parts)
    runs = [(part, names) for part, runs in recipe.half.items() for names in runs]
    assert bool(runs) is (precision is not Precision.INT8)
    for layer in (layer for part, names in runs for layer in half.layers(engine.parts[part], names)):
        assert {p.dtype for p in layer.parameters()} == {half.DTYPES[recipe.layers]}
    name = "mandarin-home.wav"
    heard = engine.transcribe([decode(EXAMPLE / name).samples], as_spoken(card))[0]
    assert score([(expected[name]["text"], " ".join(s.text for s in heard))]).rate < 0.1


@torch.no_grad()
def test_layers_in_half_precision_convert_nothing_between_them():
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.LayerNorm(64), HalfLinear(nn.Linear(64, 64), torch.bfloat16)) for _ in range(3)]
    x = torch.randn(2, 5, 64)
    want = x
    for layer in layers:
        want = layer(want)
    half.lower(layers, torch.bfloat16)
    between = []
    hooks = [layer.register_forward_hook(lambda _m, _x, y: between.append(y.dtype)) for layer in layers[:2]]
    got = x
    for layer in layers:
        got = layer(got)
    for hook in hooks:
        hook.remove()
    assert between == [torch.bfloat16] * 2
    assert got.dtype is torch.float32
    assert half.dtype_in(layers[0]) is torch.bfloat16
    assert float((got - want).norm() / want.norm()) < 0.02


@torch.no_grad()
@pytest.mark.models
@pytest.mark.parametrize(
    ("model", "part"),
    [("demo-paraformer", "encoder"), ("demo-sensevoice", "encoder"), ("demo-fun-asr", "audio_encoder")],
)
def test_captured_layers_compute_what_the_layers_did(model, part):
    """Padded to a bucket, in memory that stays: each row as it was, whatever was there before."""
    card = catalog.find(model)
    engine = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0]).engine
    encoder, counted = engine.parts[part], report(engine.parts, Precision.FP32)
    torch.manual_seed(0)
    lengths = [[57], [40, 25], [60], [64], [600]]
    given = [(torch.randn(len(n), max(n), encoder.encoders0[0].in_size), torch.tensor(n)) for n in lengths]
    want = [encoder(x.clone(), n)[0] for x, n in given]
    captured.capture(engine.parts, catalog.recipes(card)[Precision.INT8, "cpu"].stacks)
    assert report(engine.parts, Precision.FP32) == counted
    for _ in range(3):  # launched, captured, repeated
        for (x, n), full in zip(given, want, strict=True):
            got = encoder(x.clone(), n)[0]
            assert got.shape == full.shape
            for row, length in enumerate(n):
                assert torch.allclose(got[row, :length], full[row, :length], atol=1e-4, rtol=1e-4)
    (layers,) = {m for m in encoder.encoders.modules() if isinstance(m, captured.CapturedLayers)}
    shapes = {shapes[0][:2] for shapes, graph in layers._captured.items() if graph is not None}
    assert shapes == {(1, 64), (2, 64)}  # 600 positions are launched one by one


@pytest.mark.models
@pytest.mark.parametrize("model", ["demo-paraformer", "demo-sensevoice"])
def test_words_are_the_same_with_captured_layers(model):
    """The decoder's too, whose input is as long as the text."""
    card = catalog.find(model)
    loaded = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0])
    clips = [EXAMPLE / name for name in ("mandarin-home.wav", "english-home.flac") * 2]
    want = [pipeline.transcribe(clip, loaded, Options(), Limits()).text for clip in clips]
    captured.capture(loaded.engine.parts, catalog.recipes(card)[Precision.INT8, "cpu"].stacks)
    assert [pipeline.transcribe(clip, loaded, Options(), Limits()).text for clip in clips] == want


@pytest.mark.models
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16], ids=lambda p: p.value)
def test_captured_generation_gives_the_tokens_of_transformers(precision):
    card = catalog.find("demo-fun-asr")
    engine = load(card, Precision.FP32, "cpu", 2, hub.HUBS[0]).engine
    model = engine.parts["llm"]
    if precision is not Precision.FP32:
        apply(engine.parts, catalog.recipes(card)[precision, "cuda"], "cpu")
    torch.manual_seed(0)
    prompts = [torch.randn(1, n, model.config.hidden_size) for n in (30, 47, 300, 30)]

    def tokens():
        return [model.generate(inputs_embeds=p, max_new_tokens=40, do_sample=False).tolist() for p in prompts]

    want = tokens()
    Qwen3.of(model)
    assert isinstance(model, Qwen3)
    assert tokens() == want
    for step in model.captured_steps.values():  # what was there before does not show
        for kept in step._kept:
            for tensor in kept:
                tensor.fill_(torch.nan)
    assert tokens() == want


@pytest.mark.parametrize("lite", [True, False])
def test_a_precision_of_a_gpu_elsewhere_is_chosen_without_one(lite, monkeypatch):
    """The head of a cluster need not have the GPUs of its replicas."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engines = Engines("cuda:0", 1, hub.HUBS[0], budget=1)
    chosen = engines.choose(catalog.find("demo-paraformer"), lite, None)
    assert chosen is (Precision.BF16 if lite else Precision.FP32)

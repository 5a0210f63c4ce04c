"""The precisions on a GPU, where there is one: the words, the dtypes, the memory, and what a full GPU says."""

from __future__ import annotations

import pytest
import torch
from conftest import EXAMPLE

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.devices import pick_device
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.families.base import as_spoken
from asr_app.loading import load
from asr_app.memory import give_back_memory
from asr_app.precision import Precision
from asr_app.precision.captured import CapturedLayers
from asr_app.scoring import score

pytestmark = [pytest.mark.models, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
MODELS = ["demo-paraformer", "demo-sensevoice", "demo-whisper", "demo-fun-asr"]
CLIP = "mandarin-home.wav"


@pytest.mark.parametrize("precision", list(Precision), ids=lambda p: p.value)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_says_its_words_at_every_precision(model, precision, expected, cache):
    card = catalog.find(model)
    before = torch.cuda.memory_allocated()
    for start in ("made", "from its variant"):
        loaded = load(card, precision, "cuda:0", 2, hub.HUBS[0], cache=cache)
        assert loaded.check.passed, f"{start}: {loaded.check.reason}"
        assert {p.device.type for part in loaded.engine.parts.values() for p in part.parameters()} <= {"cuda"}
        if precision is not Precision.FP32:
            assert any(precision.label in part.label for part in loaded.precision.parts), loaded.precision.effective
        modules = [m for part in loaded.engine.parts.values() for m in part.modules()]
        assert any(isinstance(m, CapturedLayers) for m in modules) is (model != "demo-whisper")
        transcript = pipeline.transcribe(EXAMPLE / CLIP, loaded, as_spoken(card), Limits())
        rate = score([(expected[CLIP]["text"], transcript.text)]).rate
        assert rate < 0.1, f"{start}: {transcript.text}"
        assert transcript.memory["peak_device"] >= loaded.precision.weight_bytes * 0.9
        del loaded, transcript, modules
        give_back_memory()
    torch._C._cuda_clearCublasWorkspaces()
    assert torch.cuda.memory_allocated() <= before + 1_000_000


def test_the_switch_to_lite_gives_the_memory_of_fp32_back(cache):
    card = catalog.find("demo-paraformer")
    engines = Engines(pick_device("auto"), 2, hub.HUBS[0], budget=1, cache=cache)
    lite = engines.choose(card, True, None)
    assert lite in (Precision.BF16, Precision.FP16)
    with engines.use(card, Precision.FP32) as full:
        bytes_at_fp32 = full.precision.weight_bytes
    with engines.use(card, lite) as loaded:
        assert loaded.given_back > 0
        assert loaded.precision.weight_bytes < bytes_at_fp32
        assert loaded.warmup_s > 0
    assert [x.precision.requested for x in engines.resident()] == [lite]


def test_a_model_that_does_not_fit_is_refused_with_what_is_free(cache, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (1_000_000, 80_000_000_000))
    engines = Engines("cuda:0", 2, hub.HUBS[0], cache=cache)
    give_back_memory()
    with (
        pytest.raises(UserError, match=r"needs .* of memory, .* are free"),
        engines.use(catalog.find(MODELS[0]), Precision.FP32),
    ):
        pass


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"There is no cuda:99"):
        pick_device("cuda:99")

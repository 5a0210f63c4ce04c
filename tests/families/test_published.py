"""Every published model at its real size, with random weights: loaded by the app's own code, run, and gone again.

Each that takes less than a minute runs once, at FP32, among the fast ones; the others are slow: at INT8 the graphs of a
model of real size take two minutes to make, and Whisper large-v3 takes 10 GB of memory while it is loaded.
"""

from __future__ import annotations

import gc
import shutil

import numpy as np
import psutil
import pytest
import soundfile
import torch

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import SAMPLE_RATE, Options
from asr_app.loading import load
from asr_app.memory import give_back_memory, resident_bytes
from asr_app.precision import Precision
from asr_app.precision.counting import report
from training import published
from training.voices import Voice, speak

pytestmark = pytest.mark.models
SLOW_MODELS = ("whisper-small", "whisper-large-v3", "fun-asr-mlt-nano")
# What INT8 may weigh of FP32, counted from the tensors.
INT8_SHARE = {
    "paraformer-large": 0.30, "sensevoice-small": 0.30, "whisper-small": 0.30, "whisper-large-v3": 0.30,
    "fun-asr-mlt-nano": 0.30,
}  # fmt: skip


def _slow(value, slow):
    return pytest.param(value, marks=[pytest.mark.slow] if slow else [])


@pytest.fixture(scope="module", params=[_slow(name, name in SLOW_MODELS) for name in published.MODELS])
def model(request, tmp_path_factory):
    """The model's name and the folder or file it lies in, for as long as its tests take."""
    if request.param == "whisper-large-v3" and psutil.virtual_memory().available < 12e9:
        pytest.skip("12 GB of free memory are needed")
    folder = tmp_path_factory.mktemp(request.param)
    place = published.MODELS[request.param](folder)
    gc.collect()
    give_back_memory()
    yield request.param, place
    shutil.rmtree(folder)
    gc.collect()
    give_back_memory()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    said = speak("turn on the light", Voice("flite", "en", "slt", 1.0))
    soundfile.write(path, np.pad(said, SAMPLE_RATE // 2), SAMPLE_RATE)
    return path


def _elements(place):
    """Elements of the checkpoint. A table that is the head too counts once."""
    saved = torch.load(place if place.is_file() else place / "model.pt", map_location="meta", weights_only=True)
    state = saved.get("model_state_dict", saved)
    return sum(v.numel() for k, v in state.items() if k != "llm.lm_head.weight")


@pytest.mark.parametrize("precision", [_slow(p, p is not Precision.FP32) for p in Precision], ids=str)
def test_it_loads_runs_and_goes(model, clip, precision, tmp_path):
    name, place = model
    card = catalog.find(str(place))
    if precision not in card.precisions:
        pytest.skip(f"{name} has no {precision.label}")
    before = resident_bytes()
    # Not through Engines.use: random weights say anything, and may fail the self-check.
    loaded = load(card, precision, "cpu", 2, hub.HUBS[0], cache=tmp_path)
    on_disk = sum(path.stat().st_size for path in tmp_path.glob("variants/**/*") if path.is_file())
    shutil.rmtree(tmp_path)
    for _ in range(2):
        pipeline.transcribe(clip, loaded, Options(), Limits())
    counted = report(loaded.engine.parts, precision)
    assert counted == loaded.precision  # nothing was cast back on the way
    assert on_disk <= 1.05 * counted.weight_bytes + 1e6  # none that only made it: of 2 GB, export writes many
    main = max(counted.parts, key=lambda part: sum(part.stored.values()))
    assert precision.label in main.stored
    if precision is Precision.INT8:
        assert counted.weight_bytes <= INT8_SHARE[name] * 4 * _elements(place)
    held = resident_bytes() - before
    del loaded
    gc.collect()
    give_back_memory()
    left = resident_bytes() - before
    print(
        f"{name} {precision.label}: weights {counted.weight_bytes / 1e6:.0f} MB, held {held / 1e6:.0f}, left {left / 1e6:.0f}"
    )
    assert left < 0.2 * held + 150e6

"""The search for a recipe within a criterion; a variant made ahead of time, and carried to another machine."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from conftest import EXAMPLE

from asr_app import catalog, cli
from asr_app.datatypes import SAMPLE_RATE
from asr_app.errors import UserError
from asr_app.hub import HUBS
from asr_app.loading import load
from asr_app.precision import Precision, graph, graph_export, tuned
from asr_app.quantize import calibration
from asr_app.quantize.search import Candidate, Trial, search

LAYERS = [f"encoder.{i}" for i in range(20)]


def measured(losses, needed=0):
    """A measure of what `losses` say of each arithmetic, which are gone once `needed` layers are high."""
    tried = []

    def measure(candidate: Candidate) -> Trial:
        tried.append(candidate)
        loss, rtf = losses[candidate.arithmetic]
        return Trial(candidate, 0.0 if len(candidate.high) >= needed > 0 else loss, rtf + len(candidate.high), 1.0)

    return measure, tried


def test_the_fastest_arithmetic_within_the_criterion_is_taken():
    measure, tried = measured({"dynamic": (0.0001, 2.0), "static": (0.0, 3.0)})
    assert search(measure, ["dynamic", "static"], LAYERS, 0.0002).best.candidate == Candidate("dynamic")
    assert len(tried) == 2


@pytest.mark.parametrize("needed", [1, 2, 3, 5, 9, 10])
def test_as_few_layers_go_back_as_it_takes_the_most_sensitive_first(needed):
    measure, tried = measured({"dynamic": (0.01, 2.0), "static": (0.05, 1.0)}, needed)
    found = search(measure, ["dynamic", "static"], LAYERS, 0.0002)
    assert found.best.candidate == Candidate("dynamic", tuple(LAYERS[:needed]))
    assert not found.reason
    assert [t.candidate for t in found.trials] == tried
    assert len(set(tried)) == len(tried) <= 2 + 8


def test_a_criterion_that_cannot_be_met_gives_the_best_there_is_and_why():
    measure, _ = measured({"dynamic": (0.01, 2.0)}, needed=15)
    found = search(measure, ["dynamic"], LAYERS, 0.0002)
    assert "half of the layers (10 of 20)" in found.reason
    assert found.best.loss == 0.01


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Two recordings with their words, the second in noise."""
    folder = tmp_path_factory.mktemp("speech")
    words = json.loads((EXAMPLE / "expected.json").read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    for name, noise in (("english-home.flac", 0.0), ("mandarin-home.wav", 0.02)):
        samples, rate = soundfile.read(EXAMPLE / name)
        samples = np.pad(samples, rate) + noise * rng.normal(size=len(samples) + 2 * rate)
        path = folder / f"{name[:4]}.wav"
        soundfile.write(path, samples, rate)
        path.with_suffix(".txt").write_text(words[name]["text"], encoding="utf-8")
    return folder


def test_the_sample_is_told_by_script_and_noise(speech):
    recordings = calibration.read(speech, catalog.find("demo-paraformer"))
    sample = calibration.balance(recordings, [r.texts[0] for r in recordings])
    assert sample["recordings"] == 2
    assert set(sample["scripts"]) == {"Latin", "Cjk"}
    assert sum(sample["scripts"].values()) == pytest.approx(1, abs=0.002)
    assert len(sample["noise"]) == 2
    assert sample["noise"]["clean"] == 0.5


@pytest.mark.parametrize("what", ["silence", "noise", "nothing", "no folder", "broken"])
def test_a_folder_without_speech_is_refused(tmp_path, what):
    folder = tmp_path / "given"
    sounds = {"silence": np.zeros(3 * SAMPLE_RATE), "noise": np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE)}
    if what != "no folder":
        folder.mkdir()
    if what in sounds:
        soundfile.write(folder / "a.wav", sounds[what], SAMPLE_RATE)
    if what == "broken":
        (folder / "a.wav").write_bytes(b"RIFF, or so it says")
    with pytest.raises(UserError, match=r"given|a\.wav"):
        calibration.read(folder, catalog.find("demo-paraformer"))


def quantize(*arguments):
    return cli.main(["quantize", *map(str, arguments)])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.models
def test_the_recipe_that_was_found_is_what_later_starts_load(cache, speech, capsys):
    assert quantize("demo-paraformer", "--calibration", speech, "--max-loss", 0.05) == 0
    printed = capsys.readouterr().out
    assert "calibration: 2 recordings" in printed
    assert "errors against references" in printed
    (stored,) = cache.glob("recipes/*/recipe.json")
    evidence = json.loads(stored.read_text(encoding="utf-8"))["evidence"]
    assert [t["arithmetic"] for t in evidence["trials"]] == ["dynamic", "static"]
    assert evidence["met"]
    assert evidence["best"] in evidence["trials"]
    assert len(list(cache.glob("variants/*/"))) == 1
    loaded = load(catalog.find("demo-paraformer"), Precision.INT8, "cpu", 1, HUBS[0], cache=cache)
    assert len(list(cache.glob("variants/*/"))) == 1  # the one that was made ahead
    encoder = next(p for p in loaded.precision.parts if p.name == "encoder")
    assert encoder.label == "INT8"
    assert set(encoder.multiplied) == {"INT8"} | {"FP32"} & set(encoder.multiplied)


@pytest.mark.models
def test_layers_that_go_back_are_counted_and_a_criterion_out_of_reach_is_said(cache, speech, capsys):
    assert quantize("demo-sensevoice", "--calibration", speech, "--max-loss", -1) == 2
    captured = capsys.readouterr()
    assert "The criterion is not met" in captured.err
    (stored,) = cache.glob("recipes/*/recipe.json")
    evidence = json.loads(stored.read_text(encoding="utf-8"))["evidence"]
    assert not evidence["met"]
    sizes = [(len(t["high"]), t["weights_mb"]) for t in evidence["trials"][2:]]
    assert sizes == sorted(sizes)  # a layer that goes back is held in FP32 again
    assert sizes[-1][0] > 4
    assert sizes[-1][1] > 1.2 * sizes[0][1]


@pytest.mark.models
@torch.no_grad()
def test_a_static_graph_multiplies_in_integers_what_it_was_calibrated_for(tmp_path):
    encoder = load(catalog.find("demo-paraformer"), Precision.FP32, "cpu", 1, HUBS[0]).engine.parts["encoder"]
    stack = catalog.recipes(catalog.find("demo-paraformer"))[Precision.INT8, "cpu"].stacks["encoder"][0]
    torch.manual_seed(0)
    heard = [{"x": torch.randn(1, n, encoder.encoders0[0].in_size).numpy()} for n in (40, 60)]
    graph_export.export(encoder, stack, tmp_path / "full")
    graph_export.calibrate(tmp_path / "full", tmp_path / "ranges.json", heard)
    graph_export.quantise(tmp_path / "full", tmp_path / "x.onnx", lambda _: False, tmp_path / "ranges.json")
    counts = graph.counts_of(tmp_path / "x.onnx")
    assert counts.multiplied["INT8"] > 0.95 * sum(counts.multiplied.values())
    full, small = (
        graph.GraphLayers(path, graph.session(path), stack, counts)(torch.from_numpy(heard[0]["x"]), None)[0]
        for path in (tmp_path / "full" / graph_export.FULL, tmp_path / "x.onnx")
    )
    assert float((full - small).norm() / full.norm()) < 0.2


@pytest.mark.models
@pytest.mark.parametrize("model", ["demo-paraformer", "demo-sensevoice", "demo-whisper", "demo-fun-asr"])
def test_a_folder_that_was_carried_runs_without_the_weights(cache, tmp_path, model, capsys, expected):
    carried = tmp_path / "carried"
    assert quantize(model, "--output", carried) == 0
    shutil.rmtree(cache)
    assert sum(p.stat().st_size for p in carried.rglob("*.pt")) < 1e5
    capsys.readouterr()
    clip = "mandarin-home.wav"
    assert cli.main(["transcribe", str(EXAMPLE / clip), "--model", str(carried), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["precision"]["requested"] == "int8"
    assert found["text"].replace("?", "？").replace("\n", "")[:6] == expected[clip]["text"][:6]
    assert cli.main(["transcribe", str(EXAMPLE / clip), "--model", str(carried), "--precision", "fp32"]) == 2
    assert "no FP32 variant" in capsys.readouterr().err
    (weights,) = (carried / "int8").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 0xFF
    weights.write_bytes(content)
    assert cli.main(["transcribe", str(EXAMPLE / clip), "--model", str(carried)]) == 2
    assert "damaged. Copy the folder again" in capsys.readouterr().err
    assert weights.exists()  # what a person copied is not ours to delete


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo-paraformer", "--precision", "fp32"], "nothing to make"),
        (["demo-fun-asr", "--precision", "fp16"], "no FP16 variant"),
        (["demo-paraformer", "--output", EXAMPLE], "is there already"),
        (["demo-paraformer", "--calibration", "/nowhere"], "is no folder"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(cache, capsys, arguments, said):
    assert quantize(*arguments) == 2
    assert said in capsys.readouterr().err
    assert not cache.exists()


def test_a_damaged_recipe_is_left_aside(tmp_path, caplog):
    recipe = catalog.recipes(catalog.find("demo-paraformer"))[Precision.INT8, "cpu"]
    assert tuned.recipe_in(tmp_path, recipe) == recipe
    tuned.store(tmp_path, ("encoder.encoders.0.*",), {}, {})
    assert tuned.recipe_in(tmp_path, recipe).keep_high[-1] == "encoder.encoders.0.*"
    (tmp_path / "recipe.json").write_text("{")
    assert tuned.recipe_in(tmp_path, recipe) == recipe
    assert "cannot be read" in caplog.text

"""Refusals of a family, and the small pieces between FunASR's output and the app's segments."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from asr_app import catalog, hub
from asr_app.checks import FiniteWatch, repeats
from asr_app.datatypes import ModelCard, Options, Word
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.families import _sentences
from asr_app.families._funasr import repositories
from asr_app.families.base import require
from asr_app.families.paraformer import sentences, split_tokens
from asr_app.precision import Precision


@pytest.fixture
def copy(tmp_path) -> Path:
    """The demo model as a local directory of the user's."""
    folder = tmp_path / "my model 模型"
    shutil.copytree(hub.BUNDLED / "demo-paraformer", folder)
    return folder


def use(folder: Path):
    with Engines("cpu", 1, "modelscope").use(catalog.find(str(folder)), Precision.FP32) as loaded:
        return loaded


@pytest.mark.models
def test_a_local_directory_loads_by_its_path(copy):
    loaded = use(copy)
    assert loaded.check.passed, loaded.check
    assert "punctuation" not in loaded.engine.parts


@pytest.mark.models
def test_a_local_directory_brings_its_punctuation(copy):
    shutil.copytree(hub.BUNDLED / "demo-punctuation", copy / "punctuation")
    assert "punctuation" in use(copy).engine.parts


def broken(folder: Path, how: str) -> None:
    state = torch.load(folder / "model.pt")
    first = next(iter(state))
    if how == "missing key":
        del state[first]
    elif how == "other shape":
        state[first] = torch.zeros(3, 3)
    elif how == "foreign key":
        state["encoder.encoders.99.norm1.weight"] = torch.zeros(4)
    elif how == "prefix":
        state = {f"model.{k}": v for k, v in state.items()}
    if how == "truncated":
        body = (folder / "model.pt").read_bytes()
        (folder / "model.pt").write_bytes(body[: len(body) // 2])
    elif how == "no file":
        (folder / "model.pt").unlink()
    elif how == "text":
        (folder / "model.pt").write_text("not a checkpoint")
    elif how == "tokens":
        (folder / "tokens.json").write_text('["<blank>", "<s>"]')
    else:
        torch.save(state, folder / "model.pt")


@pytest.mark.parametrize(
    "how", ["missing key", "other shape", "foreign key", "prefix", "truncated", "no file", "text", "tokens"]
)
def test_a_checkpoint_that_does_not_fit_is_refused(copy, how):
    broken(copy, how)
    with pytest.raises(UserError) as error:
        use(copy)
    assert copy.name in error.value.en
    assert copy.name in error.value.zh
    assert str(copy.parent) not in error.value.en


def test_a_pickle_is_not_run(copy, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"encoder": Bomb()}, copy / "model.pt")
    with pytest.raises(UserError):
        use(copy)
    assert not (tmp_path / "ran").exists()


def test_a_directory_of_another_kind_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="no model of a known family"):
        catalog.find(str(tmp_path))
    with pytest.raises(UserError, match="demo-paraformer, paraformer-large, paraformer-zh"):
        catalog.find("whisper-colossal")


@pytest.mark.parametrize("name", ["auto", "modelscope", "huggingface"])
def test_an_unreachable_hub_is_said_in_seconds(name, monkeypatch, tmp_path):
    for variable in ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    sources = repositories("nobody/nothing", "master", "nobody/nothing")
    card = ModelCard("x", "paraformer", "", {"model": sources}, 1, (), "", 10.0, (Precision.FP32,), frozenset())
    began = time.monotonic()
    with pytest.raises(UserError, match="cannot be reached") as error:
        hub.locate(card, "model", name)
    assert time.monotonic() - began < 10
    for way_out in ("--hub", "--model DIRECTORY", "demo-paraformer"):
        assert way_out in error.value.en


def test_an_option_the_model_lacks_is_refused():
    with pytest.raises(UserError, match="has no option prompt"):
        require(catalog.find("demo-paraformer"), Options(prompt="达摩院"))
    require(catalog.find("demo-whisper"), Options(prompt="达摩院"))


def test_tokens_are_characters_and_words():
    assert split_tokens("打开the light，好") == ["打", "开", "the", "light，", "好"]


def test_sentences_end_at_their_marks_in_the_shape_of_their_script():
    texts = ["你", "好", "good", "morning", "再", "见"]
    words = [Word(i, i + 0.9, x) for i, x in enumerate(texts)]
    found = sentences(words, ["_", "。", "_", "？", "，", "_"])
    assert [s.text for s in found] == ["你好。", "Good morning?", "再，见"]
    assert [(s.start_s, s.end_s) for s in found] == [(0, 1.9), (2, 3.9), (4, 5.9)]
    assert [w.text for s in found for w in s.words] == texts


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("什么？！我不信。", ["什么？！", "我不信。"]),
        ("他说：“你好。”", ["他说：“你好。”"]),
        ("It is 3.5 m. Go to example.com now! 好。对？", ["It is 3.5 m.", "Go to example.com now!", "好。", "对？"]),
    ],
)
def test_a_sentence_keeps_all_of_its_marks(text, pieces):
    assert [s.text for s in _sentences.sentences(text, (), 0.0, 9.0)] == pieces


def test_numbers_that_are_not_finite_are_seen_in_what_a_language_model_returns():
    from transformers.modeling_outputs import CausalLMOutput

    class Says(torch.nn.Module):
        def forward(self, logits):
            return CausalLMOutput(logits=logits)

    llm = Says()
    with FiniteWatch({"llm": llm}) as watch:
        llm(torch.ones(2))
        assert watch.taken() == []
        llm(torch.tensor([1.0, float("nan")]))
        assert watch.taken() == ["llm"]
        assert watch.taken() == []
    llm(torch.tensor([float("nan")]))
    assert watch.taken() == []


def test_a_decoder_that_lost_its_way_is_seen():
    assert repeats("好好好好好好好")
    assert repeats("the end the end the end the end the end the end")
    assert not repeats("一二三四五六七八九十")
    assert not repeats("五五五二五五五")


@pytest.mark.models
def test_loading_imports_few_modules_of_funasr_and_no_auto_model():
    code = (
        "import sys; from asr_app import catalog, loading; from asr_app.precision import Precision;"
        "[loading.load(catalog.find(m), Precision.FP32, 'cpu', 1, 'modelscope') for m in sys.argv[1:]];"
        "sys.exit(str([m for m in sys.modules if m.startswith(('sklearn', 'omegaconf', 'funasr.auto'))] or 0))"
    )
    models = ["demo-paraformer", "demo-sensevoice", "demo-fun-asr"]
    done = subprocess.run([sys.executable, "-c", code, *models], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1:] == ["0"], done.stderr

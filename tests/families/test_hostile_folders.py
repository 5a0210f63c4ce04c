"""Model folders and hotwords from strangers: nothing of them is run, opened or fetched."""

from __future__ import annotations

import builtins
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import test_kinds
import torch
import yaml
from conftest import ROOT

from asr_app import catalog, hub
from asr_app.datatypes import Options, Word
from asr_app.errors import UserError
from asr_app.families import _funasr_config
from asr_app.families._funasr_model import LAYOUTS, load_model
from asr_app.families.base import MAX_HOTWORDS, require
from asr_app.loading import load
from asr_app.precision import Precision

RAN = "ran"  # a file that foreign code leaves
CODE = f"import pathlib; pathlib.Path(__file__).with_name({RAN!r}).touch()\n"


def _hostile(folder: Path, source: str = "demo-paraformer", **added: object) -> Path:
    """A copy of a demo model whose config.yaml has further keys, `a.b` being key b under a."""
    shutil.copytree(hub.BUNDLED / source, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    for key, value in added.items():
        outer, _, inner = key.partition(".")
        if inner:
            config[outer][inner] = value
        else:
            config[outer] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / "evil.py").write_text(CODE, encoding="utf-8")
    return folder


def _load(folder: Path, precision: Precision, cache: Path) -> None:
    load(catalog.find(str(folder)), precision, "cpu", 1, hub.HUBS[0], cache=cache)


@pytest.fixture
def no_sockets(monkeypatch):
    """Connections that are tried raise, and are listed."""
    tried: list[object] = []

    def refuse(self, address):
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", lambda *asked, **_: refuse(None, asked))
    return tried


# --- config.yaml


@pytest.mark.models
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8], ids=str)
@pytest.mark.parametrize(
    ("source", "key", "value"),
    [
        ("demo-paraformer", "trust_remote_code", True),
        ("demo-paraformer", "remote_code", "evil.py"),
        ("demo-paraformer", "vad_model", "{folder}"),
        ("demo-paraformer", "vad_kwargs", {"trust_remote_code": True, "remote_code": "evil.py"}),
        ("demo-paraformer", "punc_model", "{folder}"),
        ("demo-paraformer", "punc_kwargs", {"trust_remote_code": True, "remote_code": "evil.py"}),
        ("demo-paraformer", "spk_model", "{folder}"),
        ("demo-paraformer", "hub", "openai"),
        ("demo-paraformer", "init_param", "{folder}/other.pt"),
        ("demo-paraformer", "normalize", "GlobalMVN"),
        ("demo-paraformer", "output_dir", "{folder}/out"),
        ("demo-paraformer", "tokenizer_conf.non_linguistic_symbols", "/etc/passwd"),
        ("demo-sensevoice", "trust_remote_code", True),
        ("demo-fun-asr", "audio_encoder_conf.hub", "ms"),
        ("demo-fun-asr", "llm_conf.load_kwargs", {"trust_remote_code": True}),
    ],
)
def test_a_key_that_is_not_known_is_refused_by_its_name(tmp_path, source, key, value, precision, no_sockets):
    if isinstance(value, str):
        value = value.format(folder=tmp_path / "m")
    folder = _hostile(tmp_path / "m", source, **{key: value})
    with pytest.raises(UserError, match=f"has the key {key}, which is not allowed"):
        _load(folder, precision, tmp_path / "cache")
    assert not (folder / RAN).exists()
    assert no_sockets == []


@pytest.mark.models
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8], ids=str)
def test_no_code_of_a_folder_runs_at_any_precision(tmp_path, precision):
    """In a process that starts in the folder, where `import_module` of FunASR would find the file."""
    folder = _hostile(tmp_path / "m", trust_remote_code=True, remote_code=str(tmp_path / "m" / "evil.py"))
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); from asr_app import catalog, loading; from asr_app.precision import Precision;"
        f"loading.load(catalog.find('.'), Precision.{precision.name}, 'cpu', 1, 'modelscope')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert not (folder / RAN).exists()
    assert "trust_remote_code" in done.stderr


@pytest.mark.models
def test_another_configuration_that_configuration_json_names_is_not_read(tmp_path):
    folder = _hostile(tmp_path / "m", "demo-sensevoice")
    other = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    other |= {"punc_model": str(folder), "punc_kwargs": {"trust_remote_code": True, "remote_code": "evil.py"}}
    (folder / "other.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    about = json.loads((folder / "configuration.json").read_text(encoding="utf-8"))
    about["file_path_metas"] |= {"config": "other.yaml", "init_param": "other.pt"}
    (folder / "configuration.json").write_text(json.dumps(about), encoding="utf-8")
    torch.save({}, folder / "other.pt")
    found = load_model(folder, ("SenseVoiceSmall",), "cpu", 1)
    weights = torch.load(folder / "model.pt", weights_only=True)
    assert torch.equal(found.module.state_dict()["embed.weight"], weights["embed.weight"].float())
    assert not (folder / RAN).exists()


@pytest.mark.models
@pytest.mark.parametrize(("key", "value"), [("encoder", "OpenAIWhisperEncoderWarp"), ("tokenizer", ["CharTokenizer"])])
def test_a_class_outside_the_table_is_refused(tmp_path, key, value):
    folder = _hostile(tmp_path / "m", **{key: value})
    with pytest.raises(UserError, match=f"as its {key}. This app knows: "):
        load_model(folder, ("BiCifParaformer",), "cpu", 1)


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(["model: BiCifParaformer", *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [(_bomb(9), "has YAML aliases"), ("model: BiCifParaformer\n" + "#" * 70_000, "is larger than 64 KB")],
)
def test_a_bomb_is_refused_at_once(tmp_path, text, why):
    folder = _hostile(tmp_path / "m")
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(UserError, match=why):
        catalog.find(str(folder))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "model: &x", "- 1", "model: " + "9" * 20_000, "1: 2", "a: !!python/name:os"]
)
def test_yaml_that_is_no_configuration_is_no_model(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    assert _funasr_config.model_class(tmp_path) is None


@pytest.mark.models
def test_the_keys_of_published_configurations_are_known(tmp_path):
    """Keys of training, null ones and paths of files, as the hubs' files have them."""
    training = {"accum_grad": 1, "use_lora": "${llm_conf.use_lora}"}
    for source, added in {
        "demo-paraformer": {"specaug": "SpecAugLFR", "specaug_conf": {"lfr_rate": 6}, "ctc_conf": {}, "normalize": None},
        "demo-sensevoice": {"encoder_conf.input_layer": "pe", "Scheduler": "warmuplr", "Warmup_steps": 25000},
        "demo-fun-asr": {
            "audio_encoder_conf.feat_permute": True, "audio_encoder_conf.freeze_layer_num": -1, "enable_tf32": True,
            "llm_conf.lora_conf": {"r": 16}, "tokenizer_conf.init_param_path": "${llm_conf.init_param_path}",
            "detach_ctc_decoder": True, "init_param": None, "output_dir": None, "debug": False,
        },
    }.items():  # fmt: skip
        folder = _hostile(tmp_path / source, source, train_conf=training, dataset="AudioDataset", optim="adam", **added)
        load_model(folder, tuple(LAYOUTS), "cpu", 1)


@pytest.mark.models
def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return Path.touch, (tmp_path / RAN,)

    folder = _hostile(tmp_path / "m")
    torch.save({"weight": Runs()}, folder / "model.pt")
    with pytest.raises(UserError, match=r"model\.pt is damaged"):
        load_model(folder, ("BiCifParaformer",), "cpu", 1)
    assert not (tmp_path / RAN).exists()


# --- hotwords and text


@pytest.fixture(scope="module")
def seaco(tmp_path_factory):
    """The engine of a SeACo-Paraformer with weights nobody trained."""
    folder = test_kinds.build(tmp_path_factory.mktemp("kinds") / "seaco", "SeacoParaformer")
    return load(catalog.find(str(folder)), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine


@pytest.fixture
def opened(monkeypatch):
    """The names of files that are opened or looked for."""
    names: list[str] = []

    def watched(whole):
        def call(name, *rest, **more):
            names.append(str(name))
            return whole(name, *rest, **more)

        return call

    for module, name in ((builtins, "open"), (io, "open"), (os.path, "exists"), (os, "open")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    monkeypatch.setattr("codecs.open", watched(open))
    return names


SOUND = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
NAMES = ["http://127.0.0.1:9/x.txt", "https", "/etc/passwd.txt", "words.txt"]


@pytest.fixture
def words_beside(tmp_path, monkeypatch):
    """The process runs in a folder that has a file `words.txt`."""
    (tmp_path / "words.txt").write_text("你好 一二\n三四\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.models
@pytest.mark.usefixtures("words_beside")
@pytest.mark.parametrize("hotword", NAMES)
def test_a_hotword_is_a_word_and_no_address(seaco, hotword, no_sockets, opened):
    seaco.transcribe([SOUND], Options((hotword,)))
    module = seaco._model.module
    assert len(module.hotword_list) == 2  # the word, and "no hotword"
    assert module.hotword_list[1] == [module.sos]
    assert no_sockets == []
    assert not [name for name in opened if hotword in name]


@pytest.mark.models
def test_hotwords_reach_the_model_in_pieces(seaco):
    seaco.transcribe([SOUND], Options(("你好", "三 四五", "nothing")))
    tokens = seaco._model.tokenizer.ids2tokens
    found = [tokens(word) for word in seaco._model.module.hotword_list]
    assert found == [["你", "好"], ["三"], ["四", "五"], ["<unk>"], ["<s>"]]
    plain = seaco.transcribe([SOUND], Options())
    assert seaco._model.module.hotword_list is None
    assert plain[0]


@pytest.mark.models
@pytest.mark.usefixtures("words_beside")
@pytest.mark.parametrize("text", NAMES)
def test_text_that_is_an_address_is_punctuated_and_not_opened(text, no_sockets, opened):
    engine = load(catalog.find("demo-paraformer"), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine
    opened.clear()
    (sentence,) = engine.punctuate([Word(0.0, 1.0, text)])
    assert sentence.text.lower().startswith(text.lower())
    assert no_sockets == []
    assert not [name for name in opened if text in name]


@pytest.mark.parametrize(
    "hotwords",
    [("好",) * (MAX_HOTWORDS + 1), ("x" * 51,), ("x" * 20,) * 101, tuple(f"word{i}" for i in range(1_000_000))],
    ids=["many", "long", "together", "very many"],
)
@pytest.mark.parametrize("model", ["paraformer-zh", "fun-asr-nano"])
def test_too_many_hotwords_are_refused_at_once(hotwords, model):
    began = time.process_time()
    with pytest.raises(UserError, match=r"At most (200 of up to 50|1,000 lines of up to 120) characters"):
        require(catalog.find(model), Options(hotwords))
    assert time.process_time() - began < 1
    require(catalog.find(model), Options(("好" * 10,) * MAX_HOTWORDS))

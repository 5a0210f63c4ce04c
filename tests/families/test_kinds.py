"""The three kinds of Paraformer, with fsmn-vad and punctuation beside them, as local directories of random weights.

Text from random weights means nothing: what is tested is that the code that loads the published models loads these,
that options reach them, and that precisions hold for parts the demo model does not have.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA, EXAMPLE

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.engines import Engines
from asr_app.loading import load
from asr_app.precision import Precision
from training import paraformer as demo
from training.folder import build_folder

pytestmark = pytest.mark.models
KINDS = ("Paraformer", "BiCifParaformer", "SeacoParaformer")


def build(folder: Path, kind: str) -> Path:
    """A directory such as the hubs publish, with weights that nobody trained."""
    folder.mkdir()
    config = demo.config() | {"model": kind}
    if kind == "Paraformer":
        config["predictor"] = "CifPredictorV2"
        config["predictor_conf"] = dict(idim=demo.DIM, threshold=1.0, l_order=1, r_order=1, tail_threshold=0.45)
    tokens = ["<blank>", "<s>", "</s>", *"零一二三四五六七八九十你好", "NO_BIAS", "<unk>"]
    if kind == "SeacoParaformer":
        config["model_conf"] |= dict(
            inner_dim=demo.DIM, bias_encoder_type="lstm", bias_encoder_bid=False, seaco_lsm_weight=0.1,
            seaco_length_normal=True, train_decoder=True, NO_BIAS=tokens.index("NO_BIAS"),
        )  # fmt: skip
        decoder = {k: v for k, v in config["decoder_conf"].items() if k != "att_layer_num"}
        config["seaco_decoder"] = "ParaformerSANMDecoder"
        config["seaco_decoder_conf"] = decoder | dict(kernel_size=21, use_output_layer=False, wo_input_layer=True)
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    (folder / "seg_dict").write_text("".join(f"{t} {t}\n" for t in tokens[3:-2]), encoding="utf-8")
    demo.write_normalisation(folder / "am.mvn", np.full(560, 8.0), np.full(560, 5.0))
    torch.manual_seed(0)
    model = build_folder(folder, config)
    # About four tokens a second, so that there is something to decode.
    torch.nn.init.zeros_(model.predictor.cif_output.weight)
    torch.nn.init.constant_(model.predictor.cif_output.bias, float(np.log(0.24 / 0.76)))
    torch.save(model.state_dict(), folder / "model.pt")
    shutil.copytree(hub.BUNDLED / "demo-punctuation", folder / "punctuation")
    return folder


@pytest.mark.parametrize("precision", catalog.find("demo-paraformer").precisions, ids=lambda p: p.value)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_loads_and_runs_at_each_precision(tmp_path, kind, precision):
    card = catalog.find(str(build(tmp_path / kind, kind)))
    assert ("hotwords" in card.capabilities) == (kind == "SeacoParaformer")
    options = Options(("你好", "三四五")) if "hotwords" in card.capabilities else Options()
    # Not through Engines.use: random weights may well say one thing over and over, and fail the self-check.
    loaded = load(card, precision, "cpu", 1, hub.HUBS[0])
    found = pipeline.transcribe(EXAMPLE / "mandarin-home.wav", loaded, options, Limits())
    words = [w for s in found.segments for w in s.words]
    assert len(words) > 10
    assert all(w.start_s <= w.end_s <= found.audio_s for w in words)
    encoder = next(p for p in found.precision.parts if p.name == "encoder")
    assert max(encoder.stored, key=lambda k: encoder.stored[k]) == precision.label


@pytest.mark.skipif(not (DATA / "fsmn_vad").is_dir(), reason="the real fsmn-vad is not beside this checkout")
def test_a_directory_with_fsmn_vad_is_cut_by_it(tmp_path):
    folder = build(tmp_path / "with-vad", "BiCifParaformer")
    shutil.copytree(DATA / "fsmn_vad", folder / "vad")
    card = catalog.find(str(folder))
    assert card.vad == "fsmn"
    with Engines("cpu", 1, hub.HUBS[0]).use(card, Precision.FP32) as loaded:
        assert loaded.vad is not None
        found = pipeline.transcribe(EXAMPLE / "mandarin-home.wav", loaded, Options(), Limits())
    assert found.segments

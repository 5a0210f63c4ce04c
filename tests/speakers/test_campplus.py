"""CAM++ of the published size, with random weights: loaded as FunASR's class makes them, refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from weights import FILE, random_speakers

from asr_app import hub
from asr_app.datatypes import ModelCard
from asr_app.download import NotFetched
from asr_app.errors import Cancelled, UserError
from asr_app.speakers import campplus, source

pytestmark = pytest.mark.models
SPEECH = np.random.default_rng(0).standard_normal(40 * 24_000).astype(np.float32).reshape(40, 24_000) * 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_speakers(tmp_path_factory.mktemp("models") / "campplus")


def test_embeddings_are_those_of_funasr(folder):
    import torch

    from asr_app.families._funasr_model import class_of

    own = campplus.load(folder, "cpu", 2)
    assert own.name == "campplus_cn_common"
    assert own.weight_bytes == pytest.approx(27.7e6, rel=0.01)
    theirs = class_of("CAMPPlus")()
    theirs.load_state_dict(torch.load(folder / FILE, weights_only=True))
    with torch.no_grad():
        told = [
            theirs.eval().inference([torch.from_numpy(one)], key=["-"], device="cpu")[0][0]["spk_embedding"]
            for one in SPEECH[:5]
        ]
    assert np.abs(own.embed(SPEECH[:5]) - torch.cat(told).numpy()).max() < 1e-5


def test_work_on_voices_can_be_cancelled(folder):
    told = []

    def done(count):
        told.append(count)
        if len(told) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        campplus.load(folder, "cpu", 2).embed((one[:8_000] for _ in range(9) for one in SPEECH), done)
    assert told == [32, 64]


def test_weights_of_another_network_are_refused(folder, tmp_path):
    import torch

    state = torch.load(folder / FILE, weights_only=True)
    state["xvector.dense.linear.weight"] = torch.zeros(512, 1024, 1)
    torch.save(state, tmp_path / FILE)
    with pytest.raises(UserError, match="1 of another shape"):
        campplus.load(tmp_path, "cpu", 2)
    torch.save({"other": torch.zeros(3)}, tmp_path / FILE)
    with pytest.raises(UserError, match="weights missing"):
        campplus.load(tmp_path, "cpu", 2)


def test_a_folder_without_weights_or_with_code_in_them_is_refused(tmp_path):
    import torch

    with pytest.raises(UserError, match="there is no speaker model"):
        campplus.load(tmp_path, "cpu", 2)
    (tmp_path / FILE).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="damaged"):
        campplus.load(tmp_path, "cpu", 2)
    torch.save({"model": print}, tmp_path / FILE)
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        campplus.load(tmp_path, "cpu", 2)


def test_a_local_model_brings_its_own(tmp_path, folder):
    card = ModelCard(**source.CARD.__dict__ | {"directory": str(tmp_path)})
    (tmp_path / "speakers").symlink_to(folder)
    assert source.locate(card, "auto") == tmp_path / "speakers"
    assert source.on_disk(card, "auto")


def test_without_a_source_the_error_says_what_to_do(monkeypatch):
    def fails(*_):
        raise NotFetched("cannot be reached", "无法连接")

    monkeypatch.setattr(hub, "_fetch", fails)
    monkeypatch.setattr(hub, "_verified", lambda _: None)
    with pytest.raises(UserError, match="leave speakers out") as refused:
        source.locate(source.CARD, "auto")
    assert "PyPI: cannot be reached" in refused.value.en
    assert "demo-paraformer" not in refused.value.en

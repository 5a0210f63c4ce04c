"""Writes folders for FunASR's AutoModel, in the layout of its hubs, and copies them to the published models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from asr_app.families._funasr_model import build


def build_folder(folder: Path, config: dict[str, Any], paths: dict[str, Any] | None = None) -> Any:
    """Writes config.yaml to the folder and returns the module with fresh weights.

    `paths`, by keys of the config, are entries of configuration.json beside model.pt, config.yaml and the normalisation
    am.mvn. None writes no configuration.json, for models that FunASR loads without one.
    """
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    if paths is not None:
        always = {"init_param": "model.pt", "config": "config.yaml", "frontend_conf": {"cmvn_file": "am.mvn"}}
        about = {
            "framework": "pytorch", "task": "auto-speech-recognition", "model": {"type": "funasr"},
            "file_path_metas": always | paths,
        }  # fmt: skip
        (folder / "configuration.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return build(folder, config, "cpu").module


def publish(folder: Path, published: Path, names: Iterable[str]) -> None:
    """Copies the named files and folders to `published`, replacing those that are there."""
    published.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, published / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(folder / name, published / name)

"""A model's folder with a variant instead of its weights, for another machine."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from asr_app import catalog
from asr_app.errors import UserError
from asr_app.precision import Precision, variants

_WEIGHTS = "*.pt"


def refuse_used(target: Path) -> None:
    """Raises UserError unless `target` is an empty folder or does not exist."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"{target.name} is there already. Give --output a folder that is not, or is empty.",
            f"{target.name} 已存在。请为 --output 指定一个不存在的或空的目录。",
        )


def write(family: str, folders: Mapping[str, Path], variant: Path, precision: Precision, target: Path) -> None:
    """Writes to `target` the variant, and all of `folders` but the weights that the variant replaces.

    A family may have its own form of a model without weights (`write_stub`).

    The result is a local folder for `--model`. Raises OSError if it cannot be written.
    """
    held, write_stub = variants.parts(variant), getattr(catalog.FAMILIES[family], "write_stub", None)
    for role, source in folders.items():
        folder = target if role == "model" else target / role
        folder.mkdir(parents=True, exist_ok=True)
        if role == "model" and write_stub is not None:
            write_stub(source, folder)
            continue
        root, files = (source.parent, [source]) if source.is_file() else (source, sorted(source.rglob("*")))
        for path in files:
            copy = folder / path.relative_to(root)
            if path.is_dir():
                copy.mkdir(exist_ok=True)
            elif not (path.parent == root and path.match(_WEIGHTS) and (role == "model" or role in held)):
                shutil.copyfile(path, copy)
    shutil.copytree(variant, target / precision.value)

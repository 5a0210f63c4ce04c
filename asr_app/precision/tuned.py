"""Recipes that a search tuned for certain weights, stored as JSON with their evidence. Loading reads them from here.

A recipe is a folder. `recipe.json` lists the layers kept in high precision beside those of the family, and the
measurements. `ranges.PART.STACK.json` are the calibrated ranges, in ONNX Runtime's own format.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_app.precision.enum import Precision
from asr_app.precision.recipes import Recipe

log = logging.getLogger(__name__)
_RECIPE = "recipe.json"


def folder_of(home: Path, family: str, weights: Mapping[str, str], precision: Precision, device: str) -> Path:
    """Folder in the cache `home` for the recipe of these weights. It need not exist. `device` is a kind of device."""
    about = json.dumps([family, dict(sorted(weights.items())), precision.value, device])
    return home / "recipes" / hashlib.sha256(about.encode()).hexdigest()[:32]


def ranges_file(folder: Path, stack: str) -> Path:
    """File in a recipe's folder for the ranges of `stack`, e.g. `encoder.encoders`."""
    return folder / f"ranges.{stack}.json"


def recipe_in(folder: Path, recipe: Recipe) -> Recipe:
    """`recipe` with the changes stored in `folder`; unchanged if `folder` has no recipe or a damaged one."""
    try:
        stored = json.loads((folder / _RECIPE).read_text(encoding="utf-8"))
        keep_high = (*recipe.keep_high, *map(str, stored["keep_high"]))
        ranges = {stack: ranges_file(folder, stack) for stack in stored["ranges"]}
    except FileNotFoundError:
        return recipe
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the recipe in %s cannot be read (%s): the family's own is used", folder.name, error)
        return recipe
    if missing := [path.name for path in ranges.values() if not path.is_file()]:
        log.warning("the recipe in %s lacks %s: the family's own is used", folder.name, ", ".join(missing))
        return recipe
    return dataclasses.replace(recipe, keep_high=keep_high, ranges=ranges)


def store(folder: Path, keep_high: tuple[str, ...], ranges: Mapping[str, Path], evidence: Mapping[str, Any]) -> Path:
    """Writes a recipe to `folder`: layers kept high beside the family's, and ranges by stack. Returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    for stack, path in ranges.items():
        ranges_file(folder, stack).write_bytes(path.read_bytes())
    stored = {"keep_high": list(keep_high), "ranges": sorted(ranges), "evidence": evidence}
    part = folder / f"{_RECIPE}.part"
    part.write_text(json.dumps(stored, ensure_ascii=False, indent=2), encoding="utf-8")
    return part.replace(folder / _RECIPE)

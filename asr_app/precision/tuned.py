"""Recipes that a search found for certain weights, kept as JSON with their evidence; loading takes them from here.

A recipe is a folder: `recipe.json` says which layers stay high beside those of the family and what was measured, and
`ranges.PART.STACK.json` are what calibration found, in ONNX Runtime's own format.
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


def place(home: Path, family: str, weights: Mapping[str, str], precision: Precision, device: str) -> Path:
    """Where in the cache `home` the recipe for these weights lies, or would lie; `device` is a kind of device."""
    about = json.dumps([family, dict(sorted(weights.items())), precision.value, device])
    return home / "recipes" / hashlib.sha256(about.encode()).hexdigest()[:32]


def ranges_file(folder: Path, stack: str) -> Path:
    """Where in a recipe's folder the ranges of `stack` lie: `encoder.encoders`."""
    return folder / f"ranges.{stack}.json"


def found(folder: Path, recipe: Recipe) -> Recipe:
    """`recipe` as the search changed it; as it is where `folder` has no recipe, or a damaged one."""
    try:
        told = json.loads((folder / _RECIPE).read_text(encoding="utf-8"))
        keep_high = (*recipe.keep_high, *map(str, told["keep_high"]))
        ranges = {stack: ranges_file(folder, stack) for stack in told["ranges"]}
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
    """Writes a recipe to `folder`: the layers that stay high beside the family's, ranges by stack; returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    for stack, path in ranges.items():
        ranges_file(folder, stack).write_bytes(path.read_bytes())
    told = {"keep_high": list(keep_high), "ranges": sorted(ranges), "evidence": evidence}
    part = folder / f"{_RECIPE}.part"
    part.write_text(json.dumps(told, ensure_ascii=False, indent=2), encoding="utf-8")
    return part.replace(folder / _RECIPE)

"""Variants on disk: what a precision made of a model, written once, so that later starts read it and not the weights.

A variant is a folder: `weights.safetensors` with every tensor as it is kept, the graphs of its stacks with what was
counted in them, and `variant.json` with the checksum of each file. It is called by a hash of all that it depends on:
the weights, the recipe, the versions of the libraries and what the processor can do. It is written beside its place
and then renamed, so that a reader finds the whole of it or nothing; what does not fit its checksums is made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_app.notes import sha256
from asr_app.precision.enum import Precision
from asr_app.precision.evidence import versions
from asr_app.precision.graph import GraphLayers, is_held_twice
from asr_app.precision.linears import cpu_has_vnni, give, own_tensors
from asr_app.precision.recipes import Recipe

log = logging.getLogger(__name__)
_FORMAT = 7  # of the folder; another one is another variant
_WEIGHTS, _MANIFEST = "weights.safetensors", "variant.json"
# Weights and configuration, as FunASR, OpenAI, Hugging Face and CTranslate2 call them.
_KINDS = ("*.pt", "*.yaml", "*.safetensors", "model.bin", "pytorch_model*.bin", "config.json", "generation_config.json")
_MAKING, _GIVEN_UP_S = ".making-", 24 * 3600
_UNUSED_S = 30 * 24 * 3600  # after which a variant, of other weights or versions as a rule, makes room


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folders: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """What makes a model what it is, its weights and its configuration, by role and name."""
    for role, folder in folders.items():
        for path in [folder] if folder.is_file() else sorted(p for kind in _KINDS for p in folder.glob(kind)):
            yield f"{role}/{path.name}", path


def fingerprint(folders: Mapping[str, Path]) -> str:
    """What is another where a model's files are, without reading them: a hash of their names, sizes and times."""
    told = [
        (f"{role}/{path.name}", path.stat().st_size, path.stat().st_mtime_ns)
        for role, folder in folders.items()
        for path in ([folder] if folder.is_file() else sorted(folder.iterdir()))
        if path.is_file()
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def weights(folders: Mapping[str, Path], home: Path) -> dict[str, str]:
    """The checksum of each file that makes a model what it is, by role and name."""
    return {name: sha256(path, home / "checksums") for name, path in _files(folders)}


def key(family: str, weights: Mapping[str, str], precision: Precision, recipe: Recipe, device: str) -> str:
    """The variant's name; `weights` as the function of that name gives them."""
    about = {
        "format": _FORMAT,
        "family": family,
        "weights": dict(sorted(weights.items())),
        "precision": precision.value,
        "device": torch.device(device).type,
        "vnni": cpu_has_vnni(),
        "recipe": recipe.about(),
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def whole(place: Path) -> bool:
    """Whether a whole variant is at `place`, to be used. One that is damaged is removed, with a line in the log."""
    if not place.is_dir():
        return False
    if intact(place):
        with contextlib.suppress(OSError):
            os.utime(place)  # by which it is known to be in use
        return True
    log.warning("the cached variant %s is damaged; it is made anew", place.name)
    shutil.rmtree(place, ignore_errors=True)
    return False


def checksum(place: Path) -> str:
    """What is another where the variant at `place` is."""
    return _digest(place / _MANIFEST)


def intact(place: Path) -> bool:
    """Whether every file of the variant at `place` is there and has its checksum."""
    try:
        files = _manifest(place)["files"]
        with ThreadPoolExecutor(torch.get_num_threads(), "checksum") as pool:
            return list(pool.map(_digest, [place / name for name in files])) == list(files.values())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def carried(folder: Path, precision: Precision) -> Path | None:
    """The variant that lies in a model's own folder, made on another machine; None where there is none."""
    place = folder / precision.value
    return place if (place / _MANIFEST).is_file() else None


def recipe_of(place: Path, recipe: Recipe) -> Recipe:
    """`recipe` with the layers high that were when the variant at `place` was made."""
    return dataclasses.replace(recipe, keep_high=tuple(_manifest(place)["keep_high"]))


def parts(place: Path) -> set[str]:
    """The parts of the model whose weights the variant at `place` has."""
    from safetensors import safe_open

    with safe_open(place / _WEIGHTS, "pt") as file:
        return {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118


def resident_bytes(place: Path, threads: int) -> int:
    """Memory of the variant at `place` once it is loaded, by the sizes of its files."""
    graphs = [path.stat().st_size for path in place.glob("*.onnx.weights")]
    twice = sum(size for size in graphs if is_held_twice(size, threads))
    return (place / _WEIGHTS).stat().st_size + sum(graphs) + twice


def runs_here(place: Path) -> bool:
    """Whether this processor sums the products of the variant's numbers without overflow."""
    return cpu_has_vnni() or not _manifest(place)["vnni"]


def _manifest(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
    return found


@contextlib.contextmanager
def written(place: Path, recipe: Recipe) -> Iterator[Path]:
    """A folder to write a variant to, which becomes `place` when the block ends. Raises OSError where it cannot be."""
    place.parent.mkdir(parents=True, exist_ok=True)
    _make_room(place.parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_MAKING}{os.getpid()}-", dir=place.parent))
    try:
        yield folder
        files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        manifest = {"files": files, "keep_high": recipe.keep_high, "vnni": cpu_has_vnni()}
        (folder / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was first: its variant is this one
            os.replace(folder, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_unfinished(home: Path, process: int) -> None:
    """Removes from the cache `home` what the process of that id, which has ended, was writing."""
    for folder in (home / "variants").glob(f"{_MAKING}{process}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _make_room(home: Path) -> None:
    for other in home.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process was first
            age = time.time() - other.stat().st_mtime
            # What has that name was being written by a process, which was killed.
            if age > (_GIVEN_UP_S if other.name.startswith(_MAKING) else _UNUSED_S):
                log.info("removing the variant %s, unused for %.0f days", other.name, age / 86400)
                shutil.rmtree(other, ignore_errors=True)


def save(parts: Mapping[str, nn.Module], folder: Path) -> None:
    """Writes every tensor of `parts` that is not in a graph. Raises OSError where the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    found: dict[str, torch.Tensor] = {}
    first: dict[tuple[int, torch.Size], str] = {}
    same: dict[str, str] = {}  # a table that is the head too is one tensor: it is written once
    for name, module in _modules(parts):
        for own, tensor in own_tensors(module).items():
            full = f"{name}.{own}"
            other = first.setdefault((tensor.data_ptr(), tensor.shape), full) if tensor.numel() else full
            if other == full:
                found[full] = tensor.detach().contiguous()
            else:
                same[full] = other
    try:
        save_file(found, folder / _WEIGHTS, metadata={"same": json.dumps(same)})
    except SafetensorError as error:  # its own kind, for a full disk too
        raise OSError(str(error)) from error


def fill(parts: Mapping[str, nn.Module], folder: Path, device: str) -> None:
    """Gives `parts`, made on the meta device and treated as those that were saved, their tensors on `device`."""
    from safetensors import safe_open

    with safe_open(folder / _WEIGHTS, "pt", device=device) as file:
        same = json.loads(file.metadata()["same"])
        # A tensor as it comes is a piece of the mapped file, and would keep all of the file in memory.
        got = {full: nn.Parameter(file.get_tensor(full).clone(), requires_grad=False) for full in file.keys()}  # noqa: SIM118
    got |= {full: got[other] for full, other in same.items()}
    by_module: defaultdict[str, dict[str, nn.Parameter]] = defaultdict(dict)
    for full, tensor in got.items():
        name, _, own = full.rpartition(".")
        by_module[name][own] = tensor

    for name, module in _modules(parts):
        give(module, by_module[name])


def _modules(parts: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Each module outside graphs with its full name."""
    for part_name, part in parts.items():
        for name, module in part.named_modules():
            if not isinstance(module, GraphLayers):
                yield f"{part_name}.{name}" if name else part_name, module

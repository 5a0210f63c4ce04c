"""Variants on disk: a model at a precision, written once, so that later starts read it instead of the weights.

A variant is a folder: `weights.safetensors` with every tensor as stored, the graphs of its stacks with their counts,
and `variant.json` with the checksum of each file. Its name is a hash of all that it depends on: the weights, the
recipe, the versions of the libraries and the processor's instructions. It is written to a temporary folder and then
renamed, so that a reader sees all of it or nothing. A variant whose checksums differ is made anew.
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
_FORMAT = 7  # version of the folder's layout, part of the key
_WEIGHTS, _MANIFEST = "weights.safetensors", "variant.json"
# Weights and configuration, as FunASR, OpenAI, Hugging Face and CTranslate2 call them.
_KINDS = ("*.pt", "*.yaml", "*.safetensors", "model.bin", "pytorch_model*.bin", "config.json", "generation_config.json")
_MAKING, _GIVEN_UP_S = ".making-", 24 * 3600
_UNUSED_S = 30 * 24 * 3600  # after which a variant, of other weights or versions as a rule, makes room


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files(folders: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """The model's weights and configuration files, by role and name."""
    for role, folder in folders.items():
        for path in [folder] if folder.is_file() else sorted(p for kind in _KINDS for p in folder.glob(kind)):
            yield f"{role}/{path.name}", path


def fingerprint(folders: Mapping[str, Path]) -> str:
    """Cheap fingerprint of the model files: a hash of their names, sizes and mtimes."""
    stats = [
        (f"{role}/{path.name}", path.stat().st_size, path.stat().st_mtime_ns)
        for role, folder in folders.items()
        for path in ([folder] if folder.is_file() else sorted(folder.iterdir()))
        if path.is_file()
    ]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:32]


def weights(folders: Mapping[str, Path], home: Path) -> dict[str, str]:
    """Checksum of each weights or configuration file, by role and name."""
    return {name: sha256(path, home / "checksums") for name, path in files(folders)}


def key(family: str, weights: Mapping[str, str], precision: Precision, recipe: Recipe, device: str) -> str:
    """The variant's name. `weights` is the result of `weights()`."""
    about = {
        "format": _FORMAT,
        "family": family,
        "weights": dict(weights),
        "precision": precision.value,
        "device": torch.device(device).type,
        "vnni": cpu_has_vnni(),
        "recipe": recipe.about(),
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def whole(path: Path) -> bool:
    """Whether a whole variant is at `path`; marks it as used. A damaged one is removed, with a line in the log."""
    if not path.is_dir():
        return False
    if intact(path):
        with contextlib.suppress(OSError):
            os.utime(path)  # `_make_room` removes variants by their age
        return True
    log.warning("the cached variant %s is damaged; it is made anew", path.name)
    shutil.rmtree(path, ignore_errors=True)
    return False


def checksum(path: Path) -> str:
    """Fingerprint of the variant at `path`: changes when one of its files does."""
    return _digest(path / _MANIFEST)


def intact(path: Path) -> bool:
    """Whether every file of the variant at `path` is there and has its checksum."""
    try:
        files = _manifest(path)["files"]
        with ThreadPoolExecutor(torch.get_num_threads(), "checksum") as pool:
            return list(pool.map(_digest, [path / name for name in files])) == list(files.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def carried(folder: Path, precision: Precision) -> Path | None:
    """The variant in a model's own folder, made on another machine; None if there is none."""
    path = folder / precision.value
    return path if (path / _MANIFEST).is_file() else None


def recipe_of(path: Path, recipe: Recipe) -> Recipe:
    """`recipe` with the high-precision layers of the variant at `path`."""
    return dataclasses.replace(recipe, keep_high=tuple(_manifest(path)["keep_high"]))


def parts(path: Path) -> set[str]:
    """Names of the model's parts whose weights the variant at `path` holds."""
    from safetensors import safe_open

    with safe_open(path / _WEIGHTS, "pt") as file:
        return {name.partition(".")[0] for name in file.keys()}  # noqa: SIM118


def resident_bytes(path: Path, threads: int) -> int:
    """Memory in bytes of the loaded variant at `path`, by the sizes of its files."""
    graphs = [file.stat().st_size for file in path.glob("*.onnx.weights")]
    twice = sum(size for size in graphs if is_held_twice(size, threads))
    return (path / _WEIGHTS).stat().st_size + sum(graphs) + twice


def runs_here(path: Path) -> bool:
    """Whether this processor can sum the variant's integer products without overflow."""
    return cpu_has_vnni() or not _manifest(path)["vnni"]


def _manifest(path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
    return manifest


@contextlib.contextmanager
def written(path: Path, recipe: Recipe) -> Iterator[Path]:
    """Temporary folder to write a variant to; renamed to `path` when the block ends. Raises OSError if it cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_room(path.parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_MAKING}{os.getpid()}-", dir=path.parent))
    try:
        yield folder
        files = {file.name: _digest(file) for file in sorted(folder.iterdir())}
        manifest = {"files": files, "keep_high": recipe.keep_high, "vnni": cpu_has_vnni()}
        (folder / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was first: its variant is this one
            os.replace(folder, path)
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
            # A folder with that name belonged to a process that was killed while writing.
            if age > (_GIVEN_UP_S if other.name.startswith(_MAKING) else _UNUSED_S):
                log.info("removing the variant %s, unused for %.0f days", other.name, age / 86400)
                shutil.rmtree(other, ignore_errors=True)


def save(parts: Mapping[str, nn.Module], folder: Path) -> None:
    """Writes every tensor of `parts` that is not in a graph. Raises OSError if the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    first: dict[tuple[int, torch.Size], str] = {}
    same: dict[str, str] = {}  # an embedding that is the head too is one tensor, written once
    for name, module in _modules(parts):
        for own, tensor in own_tensors(module).items():
            full = f"{name}.{own}"
            other = first.setdefault((tensor.data_ptr(), tensor.shape), full) if tensor.numel() else full
            if other == full:
                tensors[full] = tensor.detach().contiguous()
            else:
                same[full] = other
    try:
        save_file(tensors, folder / _WEIGHTS, metadata={"same": json.dumps(same)})
    except SafetensorError as error:  # its own kind, for a full disk too
        raise OSError(str(error)) from error


def fill(parts: Mapping[str, nn.Module], folder: Path, device: str) -> None:
    """Loads the tensors on `device` into `parts`, which were made on the meta device with the variant's layers."""
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

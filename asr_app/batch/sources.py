"""Recordings of files, folders and manifests, each with a name of its own in the output folder.

The output mirrors the input: a recording lies under the name of its root, the folder that was given or else the folder
that it lies in. Its name keeps the suffix, so that `talk.wav` and `talk.mp3` have results of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from asr_app.datasets.base import AUDIO
from asr_app.errors import UserError

MEDIA = AUDIO | {".mkv", ".mov", ".avi", ".3gp", ".flv", ".mpg", ".mpeg", ".m4v", ".m4b", ".ts", ".wmv", ".oga", ".aif",
                 ".caf", ".au", ".w64", ".mka", ".mpga"}  # fmt: skip
_JSON = (".jsonl", ".ndjson", ".json")
_MOST_BYTES = 200  # of a file's name: file systems take 255, and a result's suffix is added


@dataclass(frozen=True)
class Source:
    """A recording. `name` is its path below the output folder, with slashes, unique in that folder."""

    path: Path
    name: str


@dataclass
class Found:
    """The recordings in order, each once, and the entries that are no recordings, with the reasons."""

    sources: list[Source] = field(default_factory=list)
    refused: list[tuple[str, UserError]] = field(default_factory=list)


class Roots:
    """Names of the roots in the output folder, kept in `file`: a folder has the same name in every run.

    Folders of one name get numbers. Names in `reserved` are not given.
    """

    def __init__(self, file: Path, reserved: Iterable[str] = ()) -> None:
        self._file = file
        self._names: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self._taken = {name.casefold() for name in (*self._names.values(), *reserved)}

    def name_of(self, folder: Path) -> str:
        """The name of an absolute folder. A new one is written to the file at once. Raises UserError if that fails."""
        key = str(folder)
        if key not in self._names:
            base = _fitting(folder.name or "root")
            name, number = base, 1
            while name.casefold() in self._taken:
                number += 1
                name = f"{base}-{number}"
            self._taken.add(name.casefold())
            self._names[key] = name
            self._write()
        return self._names[key]

    def _write(self) -> None:
        part = self._file.with_suffix(".part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(self._names, indent=1), encoding="utf-8")
            part.replace(self._file)
        except OSError as error:
            raise UserError(
                f"{self._file} cannot be written ({error.strerror}). Free some space or choose another --output.",
                f"无法写入 {self._file}（{error.strerror}）。请清理磁盘或换一个 --output。",
            ) from error


def find(inputs: Sequence[Path], manifests: Sequence[Path], roots: Roots, output: Path) -> Found:
    """The recordings of `inputs` (files and folders) and `manifests`, without those in the folder `output`.

    A folder gives its files of media suffixes at any depth, without hidden ones. A file that is named is taken
    whatever its suffix. An entry that does not exist or is no file, and a folder that cannot be read, is refused, and
    never ends the search. Links to folders are not followed.
    """
    found, seen = Found(), set[Path]()

    def add(path: Path, root: Path) -> None:
        if path not in seen:
            seen.add(path)
            below = PurePosixPath(roots.name_of(root), *map(_fitting, path.relative_to(root).parts))
            found.sources.append(Source(path, str(below)))

    for given in inputs:
        path = _absolute(given)
        if path.is_dir():
            for file in _media(path, _absolute(output), found.refused):
                add(file, path)
        elif path.is_file():
            add(path, path.parent)
        else:
            found.refused.append((str(given), _no_file(path, str(given))))
    for manifest in manifests:
        home = _absolute(manifest).parent
        for line in _entries(manifest):
            if isinstance(line, tuple):
                found.refused.append(line)
                continue
            path = _absolute(home / line)
            if path.is_file():
                add(path, home if path.is_relative_to(home) else path.parent)
            else:
                found.refused.append((line, _no_file(path, line)))
    return found


def _absolute(path: Path) -> Path:
    """Without `..`, and with links as they are: a linked file keeps the place where it is linked."""
    return Path(os.path.abspath(path))


def _media(folder: Path, output: Path, refused: list[tuple[str, UserError]]) -> Iterator[Path]:
    """Media files of the folder in order of their names. Adds the folders that cannot be read to `refused`."""

    def note(error: OSError) -> None:
        name = str(error.filename)
        refused.append((name, UserError(
            f"The folder {name} cannot be read ({error.strerror}). Check its permissions.",
            f"无法读取目录 {name}（{error.strerror}）。请检查其权限。",
        )))  # fmt: skip

    for parent, folders, files in os.walk(folder, onerror=note):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and Path(parent, f) != output)
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in MEDIA and path.is_file():
                yield path


def _entries(manifest: Path) -> Iterator[str | tuple[str, UserError]]:
    """The paths that a manifest lists, and the lines that cannot be read with their reasons. Raises UserError if it is no list at all."""
    try:
        lines = manifest.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(
            f"The manifest {manifest} cannot be read ({error.strerror}). Check its name.",
            f"无法读取清单文件 {manifest}（{error.strerror}）。请检查文件名。",
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"The manifest {manifest.name} is not UTF-8 (byte {error.start}). Save it as UTF-8.",
            f"清单文件 {manifest.name} 不是 UTF-8 编码（第 {error.start} 字节）。请另存为 UTF-8。",
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if manifest.suffix.lower() not in _JSON:
            yield line.strip()
            continue
        audio = _audio_of(line)
        yield audio or (f"{manifest}:{number}", UserError(
            f"Line {number} of {manifest.name} is no JSON object with `audio`. Correct the line.",
            f"{manifest.name} 第 {number} 行不是带 `audio` 的 JSON 对象。请修正该行。",
        ))  # fmt: skip


def _audio_of(line: str) -> str:
    """The path in a line of JSON, empty if there is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return ""
    audio = row.get("audio", row.get("audio_filepath")) if isinstance(row, dict) else None
    return audio if isinstance(audio, str) else ""


def _fitting(name: str) -> str:
    """A name that leaves room for suffixes: the beginning of a long one, with a hash of all of it."""
    raw = os.fsencode(name)
    if len(raw) <= _MOST_BYTES:
        return name
    kept = raw[: _MOST_BYTES - 9].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(raw).hexdigest()[:8]}"


def _no_file(path: Path, name: str) -> UserError:
    """The reason why nothing is read from `path`, which is no regular file. A pipe could keep the run waiting for ever."""
    if path.exists():
        return UserError(f"{name} is no file. Name a recording.", f"{name} 不是文件。请指定一个录音文件。")
    return UserError(f"{name} does not exist. Check the name.", f"找不到 {name}。请检查名称。")

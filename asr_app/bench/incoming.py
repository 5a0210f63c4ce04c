"""Makes a dataset's folder of what a browser gave: files, or a zip of a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from asr_app.bench.archive import MOST_FILES, is_wanted, unpack
from asr_app.datasets.layouts import folder_of
from asr_app.datasets.manifests import SUFFIXES
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, expected
from asr_app.storage import Storage


def gather(paths: Sequence[Path], folder: Path, storage: Storage) -> int:
    """Puts the uploads into `folder`: one zip unpacked, or the files themselves. Returns the number of files not used.

    Raises UserError for a zip beside other files, for two files of one name, and as `unpack` does.
    """
    folder.mkdir(parents=True)
    zips = [path for path in paths if path.suffix.lower() == ".zip"]
    if zips and len(paths) > 1:
        raise UserError(
            "Give one zip alone, or the recordings with their manifest.", "请只上传一个 zip，或上传录音及其清单文件。"
        )
    if zips:
        return unpack(zips[0], folder, storage.require_room)
    if len(paths) > MOST_FILES:
        raise UserError(f"At most {MOST_FILES:,} files are taken.", f"最多 {MOST_FILES:,} 个文件。")
    storage.require_room(0)
    wanted = [path for path in paths if is_wanted(path.name)]
    for path in wanted:
        if (folder / path.name).exists():
            raise UserError(
                f"Two files are called {path.name}. Rename one, or zip the folder.",
                f"有两个文件都叫 {path.name}。请改名，或打包为 zip。",
            )
        _put(path, folder / path.name, storage)
    return len(paths) - len(wanted)


def put_examples(folder: Path, storage: Storage) -> None:
    """Puts the clips of example/ and their references into `folder`, as a refs.tsv."""
    folder.mkdir(parents=True)
    storage.require_room(sum((EXAMPLES / name).stat().st_size for name in expected()))
    rows = []
    for name, entry in expected().items():
        shutil.copyfile(EXAMPLES / name, folder / name)
        rows.append(f"{name}\t{entry['language']}\t{entry['text']}\n")
    (folder / "refs.tsv").write_text("".join(rows), encoding="utf-8")


def _put(path: Path, target: Path, storage: Storage) -> None:
    """Makes `target` a link to the upload, or a copy of it."""
    try:
        os.link(path, target)
    except OSError:  # not every file system has links
        storage.require_room(path.stat().st_size)
        shutil.copyfile(path, target)


def table_of(folder: Path) -> Path:
    """The path that `read_dataset` should get: the folder, the single folder inside it, or the single manifest there.

    Raises UserError for several manifests.
    """
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
        (folder,) = inside
    manifests = sorted(path for path in inside if path.suffix.lower() in SUFFIXES)
    if not manifests or folder_of(folder).recordings:
        return folder
    if len(manifests) > 1:
        names = ", ".join(path.name for path in manifests[:5])
        raise UserError(
            f"There are {len(manifests)} manifests ({names}). Keep one.", f"有 {len(manifests)} 个清单文件（{names}），请只保留一个。"
        )  # fmt: skip
    return manifests[0]

"""Unpacks the zip of a stranger: bounded in files and bytes, only below its folder, only recordings and tables."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from asr_app.datasets.base import AUDIO
from asr_app.errors import UserError

MOST_FILES = 20_000
_MOST_RATIO = 100  # of all bytes unpacked to those of the zip; of recordings it is below 3, of tables below 10
_MOST_TABLE = 4 << 20  # bytes of the zip's own list of files, which is read whole: 20,000 names take 2.6 MB
_LONGEST_NAME = 1000  # bytes
_TABLES = frozenset((".txt", ".tsv", ".json", ".jsonl", ".ndjson", ".scp"))
_KALDI = ("text", "utt2lang")  # its tables without a suffix
_END, _END64 = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _LONGEST_COMMENT = 22, 1 << 16
_PIECE = 1 << 20
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, UnicodeError, ValueError, RuntimeError,
)  # fmt: skip


def is_wanted(name: str) -> bool:
    """Whether a file of that name may belong to a dataset: a recording or a table. Hidden files do not."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and (path.suffix.lower() in AUDIO | _TABLES or path.name in _KALDI)


def unpack(path: Path, folder: Path, require_room: Callable[[int], None]) -> int:
    """Unpacks the recordings and tables of the zip into `folder`. Returns the number of its other files.

    `require_room` gets the bytes that will be written, and may raise UserError. Raises UserError for a zip that cannot
    be read, is too large, or has an entry that leads out of the folder or is no plain file. Then `folder` may hold some
    of the files.
    """
    _require_small_table(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise UserError(
                    f"{path.name} has {len(entries):,} files; at most {MOST_FILES:,} are taken. Split it.",
                    f"{path.name} 含 {len(entries):,} 个文件，上限为 {MOST_FILES:,} 个。请拆分。",
                )
            names = {entry: _safe_name(entry, path) for entry in entries}
            wanted = [entry for entry in entries if is_wanted(names[entry])]
            size = sum(entry.file_size for entry in wanted)
            if size > _MOST_RATIO * path.stat().st_size:
                raise UserError(
                    f"{path.name} would grow to {size / path.stat().st_size:.0f} times its size, as no recordings do. "
                    "Zip the recordings again, without other files.",
                    f"{path.name} 解压后将膨胀 {size / path.stat().st_size:.0f} 倍，不像是录音。请只打包录音文件后重试。",
                )
            require_room(size)
            for entry in wanted:
                _write(archive, entry, folder / names[entry])
    except _UNREADABLE as error:
        raise UserError(
            f"{path.name} cannot be unpacked ({error}). Make an ordinary zip: no password, stored or deflated.",
            f"无法解压 {path.name}（{error}）。请使用普通 zip：不加密，存储或 deflate 压缩。",
        ) from error
    return len(entries) - len(wanted)


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Writes one file. No more than the size in the zip's list is read, whatever the entry itself holds."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as packed, target.open("xb") as file:
            while piece := packed.read(_PIECE):
                file.write(piece)
    except OSError as error:  # two entries of one name, or a name that is a folder's, too
        raise UserError(
            f"{entry.filename[:80]!r} cannot be unpacked ({error.strerror}). Zip the folder again.",
            f"无法解压 {entry.filename[:80]!r}（{error.strerror}）。请重新打包。",
        ) from error


def _safe_name(entry: zipfile.ZipInfo, path: Path) -> str:
    """The entry's name, which lies below any folder. Raises UserError for one that does not, or is no plain file."""
    name = _decoded(entry)
    parts = PurePosixPath(name).parts
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if ".." in parts or name.startswith("/") or "\\" in name or len(name.encode()) > _LONGEST_NAME:
        problem = "its name leads out of the folder", "文件名指向目录之外"
    elif kind not in (0, stat.S_IFREG):
        problem = "it is a link or a device", "是链接或设备文件"
    elif entry.flag_bits & 1:
        problem = "it has a password", "已加密"
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = "it is not stored or deflated", "压缩方式不是存储或 deflate"
    else:
        return name
    raise UserError(
        f"{path.name} is refused for {name[:80]!r}: {problem[0]}. Zip plain files, with names relative to their folder.",
        f"{path.name} 被拒绝，原因在 {name[:80]!r}：{problem[1]}。请只打包普通文件，并使用相对路径。",
    )


def _decoded(entry: zipfile.ZipInfo) -> str:
    """The entry's name. Without the flag for UTF-8 it may be UTF-8 all the same, or what Windows writes in China."""
    if entry.flag_bits & 0x800:
        return entry.filename
    raw = entry.filename.encode("cp437")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return entry.filename


def _require_small_table(path: Path) -> None:
    """Raises UserError if the zip's list of files is too large to be read, or if there is none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT - len(_END64) * 5))
        end = file.read()
    at = end.rfind(_END)
    # zipfile would believe a ZIP64 record over this one.
    whole = at >= 0 and len(end) >= at + _END_BYTES and end[max(0, at - 20) : at][:4] != _END64
    if not whole or struct.unpack_from("<L", end, at + 12)[0] > _MOST_TABLE:
        raise UserError(
            f"{path.name} is no zip of at most {MOST_FILES:,} files (ZIP64 is not taken). Zip the folder again, or split it.",
            f"{path.name} 不是有效的 zip（最多 {MOST_FILES:,} 个文件，不支持 ZIP64）。请重新打包或拆分。",
        )

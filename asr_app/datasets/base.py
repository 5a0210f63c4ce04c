"""A dataset, the reasons why an entry is left out, and the check of every file name."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from asr_app.errors import UserError
from asr_app.recordings import Recording

AUDIO = frozenset((".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".mp4", ".webm", ".amr", ".wma", ".aiff"))


class Reason(enum.Enum):
    """The reason why an entry is left out, in both languages."""

    NO_AUDIO = "no_audio", "a reference without its recording", "有参考文本，缺少录音"
    NO_REFERENCE = "no_reference", "a recording without a reference", "有录音，缺少参考文本"
    BROKEN = "broken", "a line that cannot be read", "无法解析的行"
    OUTSIDE = "outside", "a file outside the folder", "文件位于目录之外"
    ADDRESS = "address", "an address instead of a file", "是网址而不是文件"
    COMMAND = "command", "a command instead of a file", "是命令而不是文件"
    SEGMENT = "segment", "a segment of a longer file", "是较长文件中的片段"
    TWICE = "twice", "a recording that is listed twice", "录音重复列出"
    UNREADABLE = "unreadable", "a recording that cannot be decoded", "无法解码的录音"

    def __init__(self, key: str, en: str, zh: str) -> None:
        self.key, self.en, self.zh = key, en, zh


@dataclass(frozen=True)
class LeftOut:
    """An entry that is not used. `line` counts from 1 in the file `table`; both are empty for a recording on its own."""

    name: str
    reason: Reason
    table: str = ""
    line: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Dataset:
    """Recordings under the folder `root`, and the entries that are left out. `layout` is the name of the layout."""

    root: Path
    layout: str
    recordings: tuple[Recording, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def counts(self) -> dict[Reason, int]:
        """Number of entries left out, by reason."""
        return dict(Counter(entry.reason for entry in self.left_out))

    def name_of(self, recording: Recording) -> str:
        """The recording's name in this dataset: its path below `root`, with slashes."""
        return recording.path.relative_to(self.root).as_posix()


@dataclass
class Collector:
    """Gathers the entries of one dataset. Each entry becomes a recording or is left out with its reason."""

    root: Path
    layout: str
    recordings: list[Recording] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)

    def add(
        self, name: str, text: str, language: str = "", *, table: str = "", line: int | None = None, base: Path | None = None
    ) -> None:  # fmt: skip
        """Adds the recording `name`, relative to `base` (default: `root`), or says why it is left out."""
        path = self._inside(name, base or self.root)
        if isinstance(path, Reason):
            self.leave_out(name, path, table, line)
        elif path in self._seen:
            self.leave_out(name, Reason.TWICE, table, line)
        else:
            self._seen.add(path)
            self.recordings.append(Recording(path, (text.strip(),), language.strip()))

    def leave_out(
        self, name: str, reason: Reason, table: str = "", line: int | None = None, detail: str = ""
    ) -> None:  # fmt: skip
        """Notes an entry that is not used."""
        self.left_out.append(LeftOut(name, reason, table, line, detail))

    def without_reference(self, folder: Path, *, deep: bool = True) -> None:
        """Notes the recordings of `folder` that no entry named."""
        for path in sorted(folder.rglob("*") if deep else folder.glob("*")):
            if path.suffix.lower() in AUDIO and path not in self._seen and path.is_file():
                self.leave_out(path.relative_to(self.root).as_posix(), Reason.NO_REFERENCE)

    def done(self) -> Dataset:
        """The finished dataset."""
        return Dataset(self.root, self.layout, tuple(self.recordings), tuple(self.left_out))

    def _inside(self, name: str, base: Path) -> Path | Reason:
        """The file `name` if it lies inside `root`, links followed; the reason against it otherwise."""
        name = name.strip()
        if name.endswith("|") or name.startswith("|"):
            return Reason.COMMAND
        if "://" in name or name.startswith("data:"):
            return Reason.ADDRESS
        root = self.root.resolve()
        try:
            path = (base / name).resolve()
            if not path.is_relative_to(root):
                return Reason.OUTSIDE
            return self.root / path.relative_to(root) if path.is_file() else Reason.NO_AUDIO
        except (OSError, ValueError):  # a name that no file can have
            return Reason.BROKEN


def lines_of(table: Path) -> list[str]:
    """The lines of a text file. Raises UserError if it is not UTF-8."""
    try:
        return table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table.name} is not UTF-8 (byte {error.start}). Save it as UTF-8.",
            f"{table.name} 不是 UTF-8 编码（第 {error.start} 字节）。请另存为 UTF-8。",
        ) from error


def rows_of(table: Path) -> list[list[str]]:
    """The lines of a file as columns separated by tabs."""
    return [line.split("\t") for line in lines_of(table)]

"""The results of `transcribe`: a file for each recording in a folder, or standard output."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from asr_app.datatypes import Transcript
from asr_app.errors import UserError
from asr_app.formats import known

_MOST_BYTES = 200  # of a file's stem: file systems take names of 255 bytes
_ONE_EACH = ("srt", "vtt", "vtt-words", "lrc", "tsv")  # formats that do not allow several recordings in one stream
_BINARY = ("docx",)


class Outputs:
    """Writes transcripts of `recordings` in `format`, to files in `folder`, or to standard output without one.

    A file that an earlier run has written, and somebody may have corrected, is left alone unless `overwrite` is set.
    Raises UserError for an unknown format, an unusable folder, and what standard output cannot take.
    """

    def __init__(self, recordings: Sequence[Path], format: str, folder: str | None, overwrite: bool) -> None:
        self._format, self._kind, self._overwrite = format, known(format), overwrite
        self._several = len(recordings) > 1
        if folder is None and sys.stdout is None:
            raise UserError(
                "Standard output is closed. Name a folder with --output.", "标准输出已关闭。请用 --output 指定目录。"
            )
        if folder is None and self._several and format in _ONE_EACH:
            raise UserError(
                f"Several recordings cannot share one {format} file. Name a folder with --output.",
                f"多个录音不能写入同一个 {format} 文件。请用 --output 指定目录。",
            )
        if folder is None and format in _BINARY:
            raise UserError(
                f"{format} is no text for standard output. Name a folder with --output.",
                f"{format} 不是文本，不能写入标准输出。请用 --output 指定目录。",
            )
        self._files = None if folder is None else _files(_made(folder), recordings, self._kind.suffix)

    def check(self, number: int) -> None:
        """Raises UserError if the file of recording `number` is there already: before the work, not after it."""
        if self._files is not None and not self._overwrite and self._files[number].exists():
            name = self._files[number].name
            raise UserError(
                f"{name} is there already and was not changed. Use --overwrite to replace it.",
                f"{name} 已存在，未作更改。如需替换，请使用 --overwrite。",
            )

    def write(self, number: int, name: str, transcript: Transcript) -> None:
        """Writes the result of recording `number`. Raises UserError if that cannot be done."""
        content = self._kind.encode(transcript)
        target = "standard output" if self._files is None else self._files[number].name
        try:
            if self._files is None:
                self._print(name, content.decode())
            else:
                self._files[number].write_bytes(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._files is None:  # what is still buffered must not be written at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise UserError(
                f"{target} cannot be written ({error.strerror}). Check the disk, or choose another --output.",
                f"无法写入 {target}（{error.strerror}）。请检查磁盘或换一个 --output。",
            ) from error

    def _print(self, name: str, text: str) -> None:
        if self._several and self._format == "txt":
            text = f"==> {name} <==\n{text}"
        if self._several and self._format == "json":  # a line for each, as JSON Lines
            text = json.dumps(json.loads(text), ensure_ascii=False)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()


def _made(name: str) -> Path:
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{name} cannot be used as a folder ({error.strerror}). Choose another --output.",
            f"{name} 不能作为输出目录（{error.strerror}）。请换一个 --output。",
        ) from error
    return folder


def _files(folder: Path, recordings: Sequence[Path], suffix: str) -> list[Path]:
    """A file for each recording, named after it. Equal stems keep their suffix, equal names get a number."""
    stems = Counter(path.stem for path in recordings)
    files: list[Path] = []
    for path in recordings:
        stem = _short(path.stem if stems[path.stem] == 1 else path.name)
        file, n = folder / f"{stem}.{suffix}", 1
        while file in files:
            n += 1
            file = folder / f"{stem}-{n}.{suffix}"
        files.append(file)
    return files


def _short(stem: str) -> str:
    return stem.encode()[:_MOST_BYTES].decode(errors="ignore")

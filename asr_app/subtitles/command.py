"""The command `lint`: subtitle files against the limits of a readable subtitle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from asr_app.errors import UserError
from asr_app.subtitles.lint import check, read

_MOST_BYTES = 50 << 20  # subtitles of a day take 5 MB


def add_lint_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="SRT or WebVTT files, UTF-8")
    parser.set_defaults(run=lint)


def lint(args: argparse.Namespace, language: str) -> int:
    """Prints each broken rule with the subtitle's number and time. Returns 0, 1 if there is any, 2 for a bad file."""
    code = 0
    for name in args.files:
        try:
            broken = check(read(_text(Path(name))))
        except UserError as error:  # the other files are still checked
            print(f"error: {name}: {error.text(language)}", file=sys.stderr)
            code = 2
            continue
        for fault in broken:
            print(f"{name}:{fault.text(language)} [{fault.rule}]")
        code = max(code, 1) if broken else code
    return code


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise UserError("The file is too large for subtitles.", "文件过大，不是字幕。")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"It cannot be read as UTF-8 text ({type(error).__name__}). Check the file.",
            f"无法以 UTF-8 文本读取（{type(error).__name__}）。请检查文件。",
        ) from error

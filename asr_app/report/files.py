"""The three files of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_app.errors import UserError
from asr_app.report.markdown import markdown
from asr_app.report.page import page
from asr_app.report.results import FORMAT


def write_report(results: Mapping[str, Any], folder: Path, language: str) -> None:
    """Writes results.json, report.md and report.html, each whole or not at all. Raises UserError if it cannot."""
    files = {
        "results.json": as_json(results),
        "report.md": markdown(results, language), "report.html": page(results, language),
    }  # fmt: skip
    make_folder(folder)
    try:
        for name, text in files.items():
            write_whole(folder / name, text)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def write_whole(file: Path, text: str) -> None:
    """Writes the file whole or not at all. Raises OSError if it cannot."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def as_json(results: Mapping[str, Any]) -> str:
    """The text of results.json."""
    return json.dumps(results, ensure_ascii=False, indent=1) + "\n"


def make_folder(folder: Path) -> None:
    """Makes the folder of a report. Raises UserError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def read_results(file: Path) -> dict[str, Any]:
    """A results.json. Raises UserError if it is none, or one of another version."""
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file.name} cannot be read ({error}). Give the results.json of a report.",
            f"无法读取 {file.name}（{error}）。请提供报告中的 results.json。",
        ) from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise UserError(
            f"{file.name} is no results.json of this version. Run `bench` again.",
            f"{file.name} 不是本版本的 results.json。请重新运行 bench。",
        )
    return results


def _cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{folder} cannot be written ({error.strerror}). Choose another --output.",
        f"无法写入 {folder}（{error.strerror}）。请换一个 --output。",
    )

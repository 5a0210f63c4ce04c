"""A single file that lists recordings: TSV, JSON lines as NeMo and Hugging Face write them, Common Voice's TSV."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_app.datasets.base import Collector, Dataset, Reason, lines_of, rows_of

_JSON = (".jsonl", ".json", ".ndjson")
SUFFIXES = (".tsv", *_JSON)
_AUDIO = ("audio_filepath", "audio", "path", "file", "file_name")
_TEXT = ("text", "sentence", "transcript", "transcription")
_LANGUAGE = ("lang", "language", "locale")
_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def manifest_of(table: Path) -> Dataset:
    """The dataset of a manifest. Its file names are relative to its folder, of Common Voice to `clips/` there."""
    if table.suffix.lower() in _JSON:
        return _json_lines(table)
    rows = rows_of(table)
    if is_common_voice(rows):
        return common_voice(table)
    return tab_separated(table, rows)


def is_common_voice(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is the head of a table of Common Voice."""
    return bool(rows) and {"path", "sentence"} <= set(rows[0])


def tab_separated(table: Path, rows: Sequence[Sequence[str]], *, three: bool = False, last: bool = False) -> Dataset:
    """Rows of file, text or file, language, text. A head row is skipped.

    With `three` a row must have a language. With `last` the text is the last column and there is no language.
    """
    collector = Collector(table.parent, table.name)
    for number, row in enumerate(rows, 1):
        if (number == 1 and row[0].strip().lower() in _AUDIO) or not "".join(row).strip():
            continue
        if len(row) < 2 or (len(row) != 3 if three else len(row) > 3 and not last) or not row[0].strip():
            collector.leave_out(row[0].strip()[:80], Reason.BROKEN, table.name, number)
            continue
        language = row[1] if not last and len(row) == 3 and (three or _CODE.fullmatch(row[1].strip())) else ""
        collector.add(row[0], row[-1], language, table=table.name, line=number)
    collector.without_reference(table.parent)
    return collector.done()


def common_voice(table: Path) -> Dataset:
    """A table of Common Voice: columns path, sentence and perhaps locale; recordings in `clips/` beside it.

    The many clips that its other tables list are not counted as left out.
    """
    rows = rows_of(table)
    column = {name: i for i, name in enumerate(rows[0])}
    path, sentence, locale = column["path"], column["sentence"], column.get("locale")
    collector = Collector(table.parent, f"Common Voice ({table.name})")
    clips = table.parent / "clips"
    base = clips if clips.is_dir() else table.parent
    for number, row in enumerate(rows[1:], 2):
        if len(row) <= max(path, sentence) or not row[path].strip():
            collector.leave_out(row[0][:80], Reason.BROKEN, table.name, number)
            continue
        name = row[path] if Path(row[path]).suffix else f"{row[path]}.mp3"  # as releases before 2020 write it
        language = row[locale] if locale is not None and locale < len(row) else ""
        collector.add(name, row[sentence], language, table=table.name, line=number, base=base)
    return collector.done()


def _json_lines(table: Path) -> Dataset:
    collector = Collector(table.parent, table.name)
    for number, line in enumerate(lines_of(table), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            collector.leave_out("", Reason.BROKEN, table.name, number, str(error))
            continue
        audio, text = (_first(fields, names) for names in (_AUDIO, _TEXT)) if isinstance(fields, dict) else (None, None)
        if isinstance(audio, dict):  # Hugging Face's audio feature
            audio = audio.get("path")
        if not isinstance(audio, str) or not audio.strip() or not isinstance(text, str):
            detail = f"{' or '.join(_AUDIO[:2])}, and {' or '.join(_TEXT[:2])}, are needed"
            collector.leave_out(str(audio or ""), Reason.BROKEN, table.name, number, detail)
        elif fields.get("offset"):
            collector.leave_out(audio, Reason.SEGMENT, table.name, number)
        else:
            collector.add(audio, text, str(_first(fields, _LANGUAGE) or ""), table=table.name, line=number)
    collector.without_reference(table.parent)
    return collector.done()


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)

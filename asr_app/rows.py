"""Texts and results as the journal's columns hold them, in JSON. Reading a damaged row raises one of UNREADABLE."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from asr_app.datatypes import Doubt, Segment, StageTimes, Transcript, Word
from asr_app.errors import UserError
from asr_app.people import People
from asr_app.precision import Precision, PrecisionReport
from asr_app.quality import Recording
from asr_app.strikes import HotwordEffect, Strike
from asr_app.text import join

UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def unreadable(error: Exception) -> UserError:
    """The error of a job whose row is damaged or from another version."""
    return UserError(
        f"The journal's entry of this job cannot be read ({type(error).__name__}). Submit the recording again.",
        f"无法读取该任务的日志记录（{type(error).__name__}）。请重新提交录音。",
    )


def written_words(words: Sequence[Word]) -> str:
    """The value of the column `carry`."""
    return json.dumps([_written_word(w) for w in words], ensure_ascii=False)


def read_words(carry: str) -> tuple[Word, ...]:
    """The words of the column `carry`."""
    rows = json.loads(carry)
    return tuple(_read_word(w) for w in rows)


def written_segment(s: Segment) -> dict[str, Any]:
    """A segment for the JSON of a chunk."""
    return {
        "s": s.start_s, "e": s.end_s, "t": s.text, "w": [_written_word(w) for w in s.words],
        "speaker": s.speaker, "language": s.language, "tags": list(s.tags),
        **({"strikes": [strike.as_row() for strike in s.strikes]} if s.strikes else {}),
    }  # fmt: skip


def _written_word(word: Word) -> list[Any]:
    """Start, end, text, confidence and strike; the last two only if there are any, as in rows of earlier versions."""
    row = [word.start_s, word.end_s, word.text, word.confidence, word.strike and word.strike.as_row()]
    return row[: 5 if word.strike else 3 if word.confidence is None else 4]


def _read_word(row: Sequence[Any]) -> Word:
    start_s, end_s, text, confidence, strike = [*row, None, None][:5]
    return Word(start_s, end_s, text, confidence, strike and Strike(*strike))


def _read_segment(body: dict[str, Any]) -> Segment:
    words = tuple(_read_word(w) for w in body["w"])
    strikes = tuple(Strike(*strike) for strike in body.get("strikes", ()))
    return Segment(
        body["s"], body["e"], body["t"], words, body["speaker"], body["language"], tuple(body["tags"]), strikes
    )


def waiting_segment(carry: tuple[Word, ...]) -> tuple[Segment, ...]:
    """Words that wait for the rest of their sentence, as a segment; empty without any."""
    return (Segment(carry[0].start_s, carry[-1].end_s, join(w.text for w in carry), carry),) if carry else ()


def read_segments(db: sqlite3.Connection, job: str) -> tuple[Segment, ...]:
    """The job's segments in order."""
    return read_segments_since(db, job, 0)[0]


def read_segments_since(db: sqlite3.Connection, job: str, since: int) -> tuple[tuple[Segment, ...], int]:
    """The job's segments after chunk number `since`, and the number of the last chunk. Numbers begin at 1."""
    chunks = db.execute("SELECT n, body FROM segments WHERE job = ? AND n > ? ORDER BY n", (job, since)).fetchall()
    segments = tuple(_read_segment(s) for chunk in chunks for s in json.loads(chunk["body"]))
    return segments, chunks[-1]["n"] if chunks else since


def replace_segments(db: sqlite3.Connection, job: str, pieces: Sequence[Sequence[Segment]]) -> None:
    """Puts `pieces[i]` in the place of segment `i` of the job, in the row of its chunk."""
    rows, first = db.execute("SELECT n, body FROM segments WHERE job = ? ORDER BY n", (job,)).fetchall(), 0
    for row in rows:
        count = len(json.loads(row["body"]))
        made = [written_segment(piece) for segment in pieces[first : first + count] for piece in segment]
        db.execute(
            "UPDATE segments SET body = ? WHERE job = ? AND n = ?",
            (json.dumps(made, ensure_ascii=False), job, row["n"]),
        )
        first += count


def read_doubts(db: sqlite3.Connection, job: str) -> tuple[Doubt, ...]:
    """The chunks of the job that were in doubt, in order."""
    rows = db.execute("SELECT start, body FROM doubts WHERE job = ? ORDER BY start", (job,)).fetchall()
    doubts = [(row["start"], *json.loads(row["body"])) for row in rows]
    return tuple(Doubt(start, end, reason, at and Precision(at)) for start, end, reason, at in doubts)


def read_transcript(row: sqlite3.Row, segments: tuple[Segment, ...], doubts: tuple[Doubt, ...]) -> Transcript | None:
    """The result of a job that is done; None before."""
    if row["result"] is None:
        return None
    result = json.loads(row["result"])
    precision = PrecisionReport.from_dict(result["precision"]["requested"], result["precision"]["effective"])
    return Transcript(
        segments, result["model"], precision, result["device"], result["duration_s"],
        StageTimes(**json.loads(row["times"])), result["memory"], result.get("timestamps", "model"), doubts,
        script=result.get("script"),
        recording=Recording.from_dict(result["recording"]) if result.get("recording") else None,
        short_windows=result.get("short_windows"),
        load_s=result.get("load_s", 0.0),
        hotwords=tuple(HotwordEffect.from_dict(effect) for effect in result.get("hotwords", ())),
        speakers=People.from_dict(result["speakers"]) if result.get("speakers") else None,
    )  # fmt: skip

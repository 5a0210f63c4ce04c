"""Writes a transcript as a file. A format is one row in FORMATS; those that are text are also in WRITERS."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asr_app.datatypes import Segment, Transcript
from asr_app.docx import docx
from asr_app.errors import UserError
from asr_app.subtitles import Cue, make_cues
from asr_app.subtitles.rules import CHAINED_MS

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Format:
    """A kind of file. `suffix` follows the recording's name and a dot."""

    suffix: str
    media_type: str
    encode: Callable[[Transcript], bytes]


def write(transcript: Transcript, format: str) -> str:
    """The transcript as the text of a `format` file, a key of WRITERS. Raises UserError with the choices."""
    if format not in WRITERS:
        raise _unknown(format, WRITERS)
    return WRITERS[format](transcript)


def known(format: str) -> Format:
    """The row of `format`. Raises UserError with the choices."""
    if format not in FORMATS:
        raise _unknown(format, FORMATS)
    return FORMATS[format]


def _unknown(format: str, choices: Mapping[str, object]) -> UserError:
    listed = ", ".join(choices)
    return UserError(f"Unknown format {format!r}. Choose one of: {listed}.", f"未知格式 {format!r}。可选：{listed}。")


def _txt(transcript: Transcript) -> str:
    return "".join(f"{_named(s)}{_one_line(s.text)}\n" for s in transcript.segments if s.text.strip())


def _srt(transcript: Transcript) -> str:
    # SRT has no escapes, and a line with an arrow would be read as times.
    return "\n".join(
        f"{number}\n{_clock(c.start_ms, ',')} --> {_clock(c.end_ms, ',')}\n{c.text.replace('-->', '→')}\n"
        for number, c in enumerate(_cues(transcript, True), start=1)
    )


def _vtt(transcript: Transcript) -> str:
    return "WEBVTT\n" + "".join(f"\n{_vtt_times(c)}\n{_voice(c)}{_escaped(c.text)}\n" for c in _cues(transcript))


def _vtt_words(transcript: Transcript) -> str:
    return "WEBVTT\n" + "".join(f"\n{_vtt_times(c)}\n{_voice(c)}{_with_times(c)}\n" for c in _cues(transcript))


def _voice(cue: Cue) -> str:
    """WebVTT's tag of who speaks. It needs no end tag where it holds for the whole subtitle."""
    return f"<v {_escaped(_one_line(cue.speaker))}>" if cue.speaker else ""


def _vtt_times(cue: Cue) -> str:
    return f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}"


def _with_times(cue: Cue) -> str:
    """The lines with WebVTT's timestamps inside. These must rise, and lie between the start and the end of the cue."""
    said, latest = "", cue.start_ms
    for number, line in enumerate(cue.lines):
        said += "\n" if number else ""
        for i, atom in enumerate(line):
            said += " " if atom.spaced and i else ""
            at = round(1000 * atom.start_s)
            if latest < at < cue.end_ms:
                said, latest = f"{said}<{_clock(at, '.')}>", at
            said += _escaped(atom.text)
    return said


def _lrc(transcript: Transcript) -> str:
    """A line for each subtitle. One without words ends it where a pause follows."""
    rows: list[str] = []
    ended: int | None = None
    for cue in _cues(transcript, True):
        if ended is not None and cue.start_ms - ended >= CHAINED_MS:
            rows.append(f"[{_lrc_clock(ended)}]\n")
        # LRC has no escapes, and square brackets would be read as times.
        rows.append(f"[{_lrc_clock(cue.start_ms)}]{cue.line.replace('[', '(').replace(']', ')')}\n")
        ended = cue.end_ms
    return "".join(rows) + (f"[{_lrc_clock(ended)}]\n" if ended is not None else "")


def _json(transcript: Transcript) -> str:
    return json.dumps(transcript.as_dict(), ensure_ascii=False, indent=2) + "\n"


def _tsv(transcript: Transcript) -> str:
    """A column of speakers stands last, if there are any: programs that read three columns go on reading them."""
    told = any(s.speaker for s in transcript.segments)
    rows = (
        f"{round(s.start_s * 1000)}\t{round(s.end_s * 1000)}\t{_one_line(s.text)}"
        + (f"\t{_one_line(s.speaker or '')}\n" if told else "\n")
        for s in transcript.segments
        if s.text.strip()
    )
    return "start\tend\ttext" + ("\tspeaker\n" if told else "\n") + "".join(rows)


WRITERS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": _txt, "srt": _srt, "vtt": _vtt, "vtt-words": _vtt_words, "lrc": _lrc, "json": _json, "tsv": _tsv,
}  # fmt: skip


def _text_format(name: str) -> Format:
    suffix = "words.vtt" if name == "vtt-words" else name
    media_type = "application/json" if name == "json" else _TEXT
    return Format(suffix, media_type, lambda transcript: WRITERS[name](transcript).encode())


FORMATS: Mapping[str, Format] = {
    **{name: _text_format(name) for name in WRITERS},
    "docx": Format("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", docx),
}


def _cues(transcript: Transcript, named: bool = False) -> list[Cue]:
    return make_cues(transcript.segments, transcript.audio_s, named)


def _named(segment: Segment) -> str:
    return f"{_one_line(segment.speaker)}: " if segment.speaker else ""


def _one_line(text: str) -> str:
    """A line break or tab would end a column."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(ms: int, mark: str) -> str:
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"


def _lrc_clock(ms: int) -> str:
    """Minutes, seconds and hundredths; LRC has no hours."""
    return f"{ms // 60_000:02d}:{ms // 1000 % 60:02d}.{ms % 1000 // 10:02d}"

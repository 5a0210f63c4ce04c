"""Requests and answers of FunASR's server, `funasr-server`.

Source: funasr 1.4.16, `funasr/bin/_server_app.py`, `POST /asr`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from asr_app.datatypes import Segment, Transcript
from asr_app.families.fun_asr_nano import LANGUAGE_NAMES
from asr_app.neighbours.recognition import Recognition, Wanted, options_for

FILE = "file"
_NAMED = {name: code for code, name in LANGUAGE_NAMES.items()}


def read(form: FormData, recognition: Recognition) -> Wanted:
    """The request in a form. Raises ApiError for a value that cannot be.

    Hotwords are separated by commas. `spk=true` needs the speaker model on this disk.
    """
    chosen = recognition.chosen()
    said = _text(form, "language")
    hotwords = [word.strip() for word in re.split("[,，]", _text(form, "hotwords")) if word.strip()]
    options = options_for(chosen.card, language=_NAMED.get(said, said), hotwords=hotwords)
    if _text(form, "spk").lower() in ("1", "true", "t", "on", "yes", "y"):
        recognition.offered.require_speakers(chosen.card, "spk")
        options = replace(options, speakers=True)
    return Wanted(chosen, options)


def answer(transcript: Transcript) -> Response:
    """The JSON. `processing_time` is in seconds, without the wait in the queue."""
    spoken = [one.language for one in transcript.segments if one.language]
    people = transcript.speakers
    speakers = {label: f"SPK{number}" for number, label in enumerate(people.labels if people else ())}
    return JSONResponse({
        "text": transcript.text, "segments": [_segment(one, speakers) for one in transcript.segments],
        "duration": transcript.audio_s, "language": max(set(spoken), key=spoken.count) if spoken else None,
        "processing_time": round(transcript.times.work_s, 3), "rtf": round(transcript.rtf, 4),
    })  # fmt: skip


def _segment(of: Segment, speakers: Mapping[str, str]) -> dict[str, Any]:
    words = [{"word": w.text, "start": round(w.start_s, 3), "end": round(w.end_s, 3)} for w in of.words]
    times: dict[str, Any] = {"text": of.text, "start": round(of.start_s, 3), "end": round(of.end_s, 3)}
    speaker = speakers.get(of.speaker or "")
    return times | ({"words": words} if words else {}) | ({"speaker": speaker} if speaker else {})


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""

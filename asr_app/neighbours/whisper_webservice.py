"""whisper-asr-webservice's requests and answers.

Source: https://github.com/ahmetoner/whisper-asr-webservice, version 1.8.0, `app/webservice.py` and its engine for
openai-whisper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from asr_app.api.answers import segment
from asr_app.api_errors import ApiError
from asr_app.datatypes import Segment, Transcript
from asr_app.formats import write
from asr_app.languages import whisper_name
from asr_app.neighbours.recognition import Recognition, Wanted, options_for

FILE = "audio_file"
_TASKS = ("transcribe", "translate")
_OUTPUTS = ("txt", "vtt", "srt", "tsv", "json")
_DETECTED_S = 30.0  # of the recording's start, as in the original
_TRUE, _FALSE = ("1", "true", "t", "on", "yes", "y"), ("0", "false", "f", "off", "no", "n")


@dataclass(frozen=True)
class Asked:
    """A request for a transcript as a file of the kind `output`. `words` adds times of words to the JSON."""

    wanted: Wanted
    output: str
    words: bool


def read(query: Mapping[str, str], recognition: Recognition) -> Asked:
    """The request in a query. Raises ApiError for a value that cannot be.

    `vad_filter` has no effect: recordings are always cut by voice activity.
    """
    chosen = recognition.chosen()
    task, output = _one_of(query, "task", _TASKS), _one_of(query, "output", _OUTPUTS)
    _flag(query, "vad_filter", False)
    options = options_for(
        chosen.card, language=query.get("language", ""), prompt=query.get("initial_prompt", ""), translate=task == "translate"
    )  # fmt: skip
    return Asked(
        Wanted(chosen, options, not _flag(query, "encode", True)), output, _flag(query, "word_timestamps", False)
    )


def detection(query: Mapping[str, str], recognition: Recognition) -> Wanted:
    """The request to detect the language. Raises ApiError for a value that cannot be."""
    chosen = recognition.chosen()
    options = replace(options_for(chosen.card), stretch=(0.0, _DETECTED_S))
    return Wanted(chosen, options, not _flag(query, "encode", True))


def answer(transcript: Transcript, asked: Asked, name: str) -> Response:
    """The file. It is `text/plain` whatever it holds, as in the original."""
    text = _json(transcript, asked) if asked.output == "json" else write(transcript, asked.output)
    headers = {
        "Asr-Engine": quote(asked.wanted.chosen.name, safe="@"),
        "Content-Disposition": f'attachment; filename="{quote(name, safe="")}.{asked.output}"',
    }
    return Response(text, media_type="text/plain", headers=headers)


def language(transcript: Transcript) -> Response:
    """The language of most segments. Its `confidence` is null: it is not measured."""
    code = _spoken(transcript)
    if not code:
        raise ApiError(422, f"{transcript.model_id} found no language in the first {_DETECTED_S:.0f} s.")
    return JSONResponse({"detected_language": whisper_name(code), "language_code": code, "confidence": None})


def _json(transcript: Transcript, asked: Asked) -> str:
    segments = [segment(i, one) | (_words(one) if asked.words else {}) for i, one in enumerate(transcript.segments)]
    said = _spoken(transcript) or asked.wanted.options.language
    return json.dumps({"text": transcript.text, "segments": segments, "language": said}, ensure_ascii=False)


def _words(of: Segment) -> dict[str, Any]:
    return {"words": [
        {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3), "probability": word.confidence}
        for word in of.words
    ]}  # fmt: skip


def _spoken(transcript: Transcript) -> str:
    spoken = [one.language for one in transcript.segments if one.language]
    return max(set(spoken), key=spoken.count) if spoken else ""


def _one_of(query: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    value = query.get(name) or values[0]
    if value not in values:
        raise ApiError(422, f"{name} is {value!r}. Use one of: {', '.join(values)}.", name)
    return value


def _flag(query: Mapping[str, str], name: str, default: bool) -> bool:
    value = query.get(name, "").lower()
    if value not in ("", *_TRUE, *_FALSE):
        raise ApiError(422, f"{name} is {value!r}. Use true or false.", name)
    return value in _TRUE if value else default

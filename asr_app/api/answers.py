"""A transcript in the forms of OpenAI's API."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from babel import Locale, UnknownLocaleError

from asr_app.api.fields import Request
from asr_app.datatypes import Segment, Transcript
from asr_app.formats import write
from asr_app.text import join

_SEEK_A_SECOND = 100  # Whisper's frames
_TEXTS = {"text": "txt", "srt": "srt", "vtt": "vtt"}
_TYPES = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}


def body(transcript: Transcript, request: Request) -> tuple[str, str]:
    """The answer and its media type."""
    if request.response_format in _TEXTS:
        return write(transcript, _TEXTS[request.response_format]), _TYPES[request.response_format] + "; charset=utf-8"
    if request.response_format == "verbose_json":
        answer = verbose(transcript, request)
    else:
        answer = diarized(transcript) if request.response_format == "diarized_json" else plain(transcript)
    return json.dumps(answer, ensure_ascii=False), "application/json"


def plain(transcript: Transcript) -> dict[str, Any]:
    """`json`: the text, and the seconds of audio as usage."""
    return {"text": transcript.text, "usage": usage(transcript)}


def usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(transcript.audio_s)}


def verbose(transcript: Transcript, request: Request) -> dict[str, Any]:
    """`verbose_json`: text with segments, words, or both.

    A segment has all of OpenAI's fields. Those that this app does not measure are null, never a made-up number.
    """
    answer: dict[str, Any] = {
        "task": "translate" if request.options.translate else "transcribe",
        "language": language_name(transcript, request), "duration": round(transcript.audio_s, 3),
        "text": transcript.text, "usage": usage(transcript),
    }  # fmt: skip
    if "segment" in request.granularities:
        answer["segments"] = [segment(number, s) for number, s in enumerate(transcript.segments)]
    if "word" in request.granularities:
        answer["words"] = [
            {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for s in transcript.segments
            for word in s.words
        ]
    return answer


def diarized(transcript: Transcript) -> dict[str, Any]:
    """`diarized_json`: the text and its segments with speakers."""
    return {
        "task": "transcribe", "duration": round(transcript.audio_s, 3), "text": transcript.text,
        "segments": list(diarized_segments(transcript)), "usage": usage(transcript),
    }  # fmt: skip


def diarized_segments(transcript: Transcript) -> Iterator[dict[str, Any]]:
    """Segments with speakers, which are also events of a stream. OpenAI calls the speakers A, B, ..."""
    people = transcript.speakers
    letters = {label: _letters(i) for i, label in enumerate(people.labels if people else ())}
    for number, s in enumerate(transcript.segments):
        yield {
            "type": "transcript.text.segment", "id": f"seg_{number}", "start": round(s.start_s, 3),
            "end": round(s.end_s, 3), "text": s.text, "speaker": letters.get(s.speaker or "", ""),
        }  # fmt: skip


def _letters(number: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA."""
    before, letter = divmod(number, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + letter)


def segment(number: int, of: Segment) -> dict[str, Any]:
    """A segment. Its compression ratio is Whisper's: bytes of the text to those of the text deflated."""
    text = of.text.encode()
    return {
        "id": number, "seek": round(of.start_s * _SEEK_A_SECOND), "start": round(of.start_s, 3),
        "end": round(of.end_s, 3), "text": of.text, "tokens": [], "temperature": 0.0, "avg_logprob": None,
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 4) if text else 1.0, "no_speech_prob": None,
        **({"speaker": of.speaker} if of.speaker else {}),
    }  # fmt: skip


def language_name(transcript: Transcript, request: Request) -> str:
    """English name of the language, in lower case as OpenAI has it; of several that of most segments."""
    spoken = [s.language for s in transcript.segments if s.language]
    code = max(set(spoken), key=spoken.count) if spoken else request.options.language or ""
    try:
        return (Locale.parse(code).get_language_name("en") or code).lower() if code else ""
    except (UnknownLocaleError, ValueError):
        return code


def headers(transcript: Transcript, request: Request) -> dict[str, str]:
    """Effective dtypes, real-time factor, chunks that were recognised again, and the fields without an effect."""
    redone = sum(doubt.redone_at is not None for doubt in transcript.doubts)
    made = {
        "X-ASR-Model": request.chosen.name, "X-ASR-Dtypes": transcript.precision.effective.replace("→", "->"),
        "X-ASR-RTF": f"{transcript.rtf:.5f}", "X-ASR-Chunks-Redone": str(redone),
    }  # fmt: skip
    return made | ignored(request)


def ignored(request: Request) -> dict[str, str]:
    """The header that names fields without an effect. A stranger's field name is quoted into ASCII."""
    names = ", ".join(name.encode("ascii", "backslashreplace").decode()[:40] for name in request.ignored[:20])
    printable = "".join(c for c in names if c.isprintable())
    return {"X-ASR-Ignored": printable} if printable else {}


class Deltas:
    """Events of a stream: each new segment as a delta; together the deltas are the text."""

    def __init__(self) -> None:
        self._last = ""  # character of the text so far, which decides about a space

    def take(self, segments: Sequence[Segment]) -> Iterator[dict[str, Any]]:
        """Events of further segments."""
        for text in (one.text for one in segments if one.text):
            yield {"type": "transcript.text.delta", "delta": join((self._last, text))[len(self._last) :]}
            self._last = text[-1]

    def done(self, transcript: Transcript) -> dict[str, Any]:
        """The last event, with the whole text."""
        return {"type": "transcript.text.done", "text": transcript.text, "usage": usage(transcript)}

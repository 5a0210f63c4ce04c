"""Messages of FunASR's websocket protocol: settings from a client, results to it.

Sources: https://github.com/modelscope/FunASR, `runtime/docs/websocket_protocol_zh.md`, the servers in
`runtime/websocket/bin` and `runtime/python/websocket`, and the clients in `runtime/python/websocket` and
`runtime/html5`, as of November 2026.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from asr_app.datatypes import Segment
from asr_app.hotwords.rewriting import word_spans
from asr_app.neighbours.recordings import Pcm

MODES = ("offline", "online", "2pass")
_LONGEST_NAME = 200  # characters
# The html5 client steps through the times by the pieces between these marks: a Latin word is a step, and else each
# character is one. It fails where it runs over the end.
_PIECES = re.compile(r"[。？，、?. ]+")
_LATIN = re.compile(r"[a-zA-Z]+")


class Malformed(Exception):
    """A message that breaks the protocol. Its text is the reason for the client, in ASCII."""


@dataclass(frozen=True)
class Settings:
    """The settings of a client, which its messages change one by one.

    `svs_itn` is SenseVoice's own switch; None follows `itn`. Chunks have no setting: the recogniser sets its own pace.
    """

    mode: str = "2pass"
    wav_name: str = "microphone"
    wav_format: str = "pcm"
    audio_fs: int = 16_000
    hotwords: tuple[str, ...] = ()
    itn: bool = True
    svs_lang: str = "auto"
    svs_itn: bool | None = None

    @property
    def is_live(self) -> bool:
        """Whether results are wanted while the recording arrives."""
        return self.mode != "offline"

    @property
    def pcm(self) -> Pcm | None:
        """The form of the samples; None for a file with a header. Raises Malformed for an impossible rate."""
        if self.wav_format.lower() != "pcm":
            return None
        try:
            return Pcm(self.audio_fs)
        except ValueError:
            raise Malformed(f"audio_fs: {self.audio_fs} Hz is no sampling rate") from None

    @property
    def wants_itn(self) -> bool:
        return self.itn if self.svs_itn is None else self.svs_itn


def read(text: str, settings: Settings) -> tuple[Settings, bool]:
    """The settings after a message, and whether it ends the recording. Raises Malformed."""
    try:
        message = json.loads(text)
    except ValueError:
        raise Malformed("a text message must be JSON") from None
    if not isinstance(message, dict):
        raise Malformed("a text message must be a JSON object")
    given: dict[str, Any] = {}
    for name, kind in (
        ("mode", str), ("wav_name", str), ("wav_format", str), ("audio_fs", int), ("itn", bool), ("svs_lang", str),
        ("svs_itn", bool), ("is_speaking", bool), ("is_finished", bool),
    ):  # fmt: skip
        if (value := message.get(name)) is not None:
            given[name] = _typed(name, value, kind)
    ends = given.pop("is_speaking", True) is False
    ends |= given.pop("is_finished", False)
    if given.get("mode", MODES[0]) not in MODES:
        raise Malformed(f"mode must be one of {', '.join(MODES)}")
    if len(given.get("wav_name", "")) > _LONGEST_NAME:
        raise Malformed(f"wav_name has more than {_LONGEST_NAME} characters")
    if message.get("hotwords"):
        given["hotwords"] = _hotwords(_typed("hotwords", message["hotwords"], str))
    return replace(settings, **given), ends


def result(mode: str, settings: Settings, text: str, segments: Sequence[Segment] = (), *, is_final: bool) -> str:
    """A result. `segments` are those of `text`, whose times are added if all their words have any."""
    body: dict[str, Any] = {"mode": mode, "text": text, "wav_name": settings.wav_name, "is_final": is_final}
    times = [_ms(word.start_s, word.end_s) for segment in segments for word in segment.words]
    if times and _steps(text) <= len(times):
        body["timestamp"] = json.dumps(times)
        body["stamp_sents"] = [clause for segment in segments for clause in _clauses(segment)]
    return json.dumps(body, ensure_ascii=False)


def failure(settings: Settings, message: str) -> str:
    """An error in the form of the original's only one: a text without `mode`, which ends the recording."""
    body = {"text": f"ERROR. {message}", "wav_name": settings.wav_name, "is_final": True}
    return json.dumps(body, ensure_ascii=False)


def _typed(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, float) and kind is int and value.is_integer():  # C++ clients send 16000.0
        value = int(value)
    if type(value) is not kind:
        raise Malformed(f"{name} must be a {({str: 'string', int: 'whole number', bool: 'boolean'})[kind]}")
    return value


def _hotwords(text: str) -> tuple[str, ...]:
    """The words of `{"word": weight, ...}`, or of words with spaces between. Weights have no effect."""
    try:
        weights = json.loads(text)
    except ValueError:
        return tuple(text.split())
    return tuple(weights) if isinstance(weights, dict) else tuple(text.split())


def _ms(start_s: float, end_s: float) -> list[int]:
    return [round(1000 * start_s), round(1000 * end_s)]


def _steps(text: str) -> int:
    return sum(1 if _LATIN.fullmatch(piece) else len(piece) for piece in _PIECES.split(text))


def _clauses(segment: Segment) -> Iterator[dict[str, Any]]:
    """Entries of `stamp_sents`: words up to a mark, the mark, and the times of the words."""
    spans = word_spans(segment)
    placed = [(span, word) for span, word in zip(spans, segment.words, strict=True) if span is not None]
    clause: list[Any] = []
    for (span, word), after in itertools.zip_longest(placed, placed[1:]):
        clause.append(word)
        between = segment.text[span[1] : after[0][0] if after else len(segment.text)].strip()
        if between or after is None:
            yield {
                "text_seg": " ".join(one.text for one in clause), "punc": between,
                "start": round(1000 * clause[0].start_s), "end": round(1000 * clause[-1].end_s),
                "ts_list": [_ms(one.start_s, one.end_s) for one in clause],
            }  # fmt: skip
            clause = []

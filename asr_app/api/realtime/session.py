"""Settings of a transcription session: read from `session.update`, shown in `session.updated`.

Two forms are taken: today's, and that of the beta with `transcription_session.update`. Fields that are missing keep their
value, and what has no effect here is shown as null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from asr_app.api.models import Chosen, Offered
from asr_app.api_errors import ApiError
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.families.base import require
from asr_app.languages import language_code
from asr_app.live.endpoint import AT_PAUSES, Ending

RATES = (24_000, 16_000)  # Hz
_LONGEST_SILENCE_MS, _LONGEST_PADDING_MS = 10_000, 2_000
_NO_G711 = "Audio in G.711 (audio/pcmu, audio/pcma) is not taken. Send audio/pcm, 16-bit mono at 24000 or 16000 Hz."
# Where the beta has the fields of today's `audio.input`.
_BETA = {
    "format": "input_audio_format", "transcription": "input_audio_transcription",
    "noise_reduction": "input_audio_noise_reduction", "turn_detection": "turn_detection",
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """A session's settings. `ending` is None where the client commits each turn itself."""

    chosen: Chosen
    options: Options = field(default_factory=Options)
    ending: Ending | None = AT_PAUSES
    rate: int = RATES[0]

    def shown(self, identity: str, *, beta: bool) -> dict[str, Any]:
        """The session object of the server's events."""
        detection = self.ending and {
            "type": "server_vad", "threshold": self.ending.threshold,
            "prefix_padding_ms": round(self.ending.padding_s * 1000),
            "silence_duration_ms": round(self.ending.silence_s * 1000),
        }  # fmt: skip
        transcription: dict[str, Any] = {
            "model": self.chosen.name, "language": self.options.language, "prompt": self.options.prompt,
        }  # fmt: skip
        if self.options.languages:
            transcription["languages"] = list(self.options.languages)
        if self.options.hotwords:
            transcription["keywords"] = list(self.options.hotwords)
        about = {"id": identity, "object": "realtime.transcription_session", "expires_at": 0, "include": None}
        if beta:
            return about | {
                "input_audio_format": "pcm16", "input_audio_transcription": transcription, "turn_detection": detection,
                "input_audio_noise_reduction": None, "client_secret": None,
            }  # fmt: skip
        given = {
            "format": {"type": "audio/pcm", "rate": self.rate}, "transcription": transcription,
            "noise_reduction": None, "turn_detection": detection,
        }  # fmt: skip
        return about | {"type": "transcription", "audio": {"input": given}}


def updated(now: Settings, session: object, offered: Offered, *, beta: bool) -> Settings:
    """`now` with the fields of a `session` object. Raises ApiError that names the first wrong one."""
    given = _object(session, "session")
    if beta:
        place, fields = "session", {name: given[own] for name, own in _BETA.items() if own in given}
    else:
        if given.get("type", "transcription") != "transcription":
            raise ApiError(400, "Only sessions of the type 'transcription' are served here.", "session.type")
        audio = _object(given.get("audio", {}), "session.audio")
        place, fields = "session.audio.input", dict(_object(audio.get("input", {}), "session.audio.input"))
    if given.get("include"):
        raise ApiError(400, "No model gives log probabilities here. Leave 'include' out.", "session.include")
    names = _BETA if beta else {name: name for name in _BETA}
    if "format" in fields:
        now = replace(now, rate=_rate(fields["format"], f"{place}.{names['format']}", now.rate))
    if "transcription" in fields:
        now = _transcription(now, fields["transcription"], f"{place}.{names['transcription']}", offered)
    if "turn_detection" in fields:
        now = replace(
            now, ending=_ending(now.ending, fields["turn_detection"], f"{place}.{names['turn_detection']}")
        )  # fmt: skip
    return now


def _rate(given: object, param: str, now: int) -> int:
    kind, rate = (given, RATES[0]) if isinstance(given, str) else (None, now)
    if isinstance(given, Mapping):
        kind, rate = given.get("type", "audio/pcm"), given.get("rate", now)
    if isinstance(kind, str) and (kind.startswith("g711") or kind in ("audio/pcmu", "audio/pcma")):
        raise ApiError(400, _NO_G711, param, "invalid_value")
    if kind not in ("pcm16", "audio/pcm") or rate not in RATES:
        raise ApiError(400, f"The format is audio/pcm with a rate of {RATES[0]} or {RATES[1]}.", param, "invalid_value")
    return int(rate)


def _transcription(now: Settings, given: object, param: str, offered: Offered) -> Settings:
    if given is None:  # a transcription session without transcription is one with the defaults
        return replace(now, chosen=offered.find("whisper-1"), options=Options())
    fields = _object(given, param)
    if "model" in fields:
        now = replace(now, chosen=_chosen(fields["model"], f"{param}.model", offered))
    options = now.options
    if "language" in fields:
        options = replace(options, language=language_code(_text(fields["language"], f"{param}.language")) or None)
        options = replace(options, languages=() if "languages" not in fields else options.languages)
    if "languages" in fields:
        among = tuple(dict.fromkeys(map(language_code, _texts(fields["languages"], f"{param}.languages"))))
        if among and options.language and "language" in fields:
            raise ApiError(400, "'language' and 'languages' exclude each other.", f"{param}.language")
        one = among[0] if len(among) == 1 else None
        options = replace(options, language=one, languages=() if one else among)
    if "keywords" in fields:
        options = replace(options, hotwords=_texts(fields["keywords"], f"{param}.keywords"))
    if "prompt" in fields:
        options = replace(options, prompt=_text(fields["prompt"], f"{param}.prompt"))
    card = now.chosen.card
    if "prompt" not in card.capabilities:
        options = replace(options, prompt="")
    try:
        require(card, options)
    except UserError as error:
        raise ApiError(400, error.en, param, "invalid_value") from error
    return replace(now, options=options)


def _chosen(given: object, param: str, offered: Offered) -> Chosen:
    try:
        return offered.find(_text(given, param) or "whisper-1")
    except ApiError as error:
        raise ApiError(error.status, error.message, param, error.code) from error


def _ending(now: Ending | None, given: object, param: str) -> Ending | None:
    if given is None:
        return None
    fields = _object(given, param)
    if fields.get("type", "server_vad") != "server_vad":
        raise ApiError(
            400, "turn_detection is null or of the type 'server_vad'.", f"{param}.type", "invalid_value"
        )  # fmt: skip
    now = now or AT_PAUSES
    threshold = _number(fields, "threshold", now.threshold, 0.0, 1.0, param)
    silence_ms = _number(fields, "silence_duration_ms", now.silence_s * 1000, 0, _LONGEST_SILENCE_MS, param)
    padding_ms = _number(fields, "prefix_padding_ms", now.padding_s * 1000, 0, _LONGEST_PADDING_MS, param)
    return Ending(threshold, silence_ms / 1000, padding_ms / 1000)


def _number(fields: Mapping[str, Any], name: str, now: float, least: float, most: float, param: str) -> float:
    given = fields.get(name)
    if given is None:
        return now
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
        raise ApiError(400, f"{name} is a number from {least:g} to {most:g}.", f"{param}.{name}", "invalid_value")
    return float(given)


def _object(given: object, param: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ApiError(400, f"'{param}' is an object.", param, "invalid_type")
    return given


def _text(given: object, param: str) -> str:
    if given is not None and not isinstance(given, str):
        raise ApiError(400, f"'{param}' is a string.", param, "invalid_type")
    return (given or "").strip()


def _texts(given: object, param: str) -> tuple[str, ...]:
    if given is not None and not (isinstance(given, list) and all(isinstance(text, str) for text in given)):
        raise ApiError(400, f"'{param}' is a list of strings.", param, "invalid_type")
    return tuple(text.strip() for text in given or () if text.strip())

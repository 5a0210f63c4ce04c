"""The fields of a transcription request, read from a form and checked before anything is stored."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from starlette.datastructures import FormData, UploadFile

from asr_app.api.models import Chosen, Offered
from asr_app.api_errors import ApiError
from asr_app.datatypes import ModelCard, Options
from asr_app.errors import UserError
from asr_app.families.base import require
from asr_app.languages import language_code
from asr_app.people import AUTO, OFF, parse_count

FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
GRANULARITIES = ("segment", "word")
# OpenAI's clients send lists with brackets; curl users leave them out.
_LISTS = ("languages", "keywords", "include", "timestamp_granularities")
_KNOWN = (
    "file", "model", "language", "prompt", "response_format", "stream", "temperature", "chunking_strategy",
    "require_word_timestamps", "require_punctuation", "speakers", *_LISTS,
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A checked request. `granularities` are those of `verbose_json`; `ignored` names fields without an effect.

    `logprobs` are wanted beside the text; `webhook` is the URL of a job's webhook, empty without one.
    """

    file: UploadFile
    chosen: Chosen
    options: Options
    response_format: str
    granularities: tuple[str, ...]
    stream: bool
    logprobs: bool
    ignored: tuple[str, ...]
    webhook: str = ""


def read(form: FormData, offered: Offered, *, translate: bool = False, is_job: bool = False) -> Request:
    """The request in a form; only one for a job of its own may name a webhook. Raises ApiError that names the field."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise ApiError(400, "The field 'file' is missing. Send the recording as multipart/form-data.", "file")
    fields = _Fields(form)
    chosen = offered.find(fields.one("model") or "whisper-1")
    ignored = [name for name in fields.names if name not in (*_KNOWN, *(("webhook",) if is_job else ()))]
    options, without_effect = _options(fields, chosen.card, translate)
    response_format = fields.one("response_format") or "json"
    if response_format not in FORMATS:
        known = ", ".join(FORMATS)
        raise ApiError(400, f"There is no response_format {response_format!r}. Use one of: {known}.", "response_format")
    options = _with_speakers(options, fields, response_format, offered, chosen.card)
    granularities = _granularities(fields, response_format)
    _require_features(fields, chosen.card)
    logprobs = _logprobs(fields, chosen.card, response_format, translate)
    _check_chunking(fields.one("chunking_strategy"))
    return Request(
        file, chosen, options, response_format, granularities, fields.flag("stream"), logprobs,
        (*ignored, *without_effect), fields.one("webhook") if is_job else "",
    )  # fmt: skip


class _Fields:
    """The text fields of a form, with or without brackets."""

    def __init__(self, form: FormData) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                self._values.setdefault(name.removesuffix("[]"), []).append(value)

    @property
    def names(self) -> list[str]:
        return list(self._values)

    def one(self, name: str) -> str:
        """The last value; empty without one."""
        return self._values.get(name, [""])[-1].strip()

    def many(self, name: str) -> tuple[str, ...]:
        """The values of a list, without empty ones."""
        return tuple(value.strip() for value in self._values.get(name, []) if value.strip())

    def flag(self, name: str) -> bool:
        """Raises ApiError for anything but true and false."""
        value = self.one(name).lower()
        if value not in ("", "true", "false", "1", "0"):
            raise ApiError(400, f"{name!r} is {value!r}. Use true or false.", name)
        return value in ("true", "1")


def _options(fields: _Fields, card: ModelCard, translate: bool) -> tuple[Options, list[str]]:
    """The options of the job, and the fields that this model has no use for."""
    language, keywords = language_code(fields.one("language")), fields.many("keywords")
    languages = tuple(dict.fromkeys(language_code(name) for name in fields.many("languages")))
    if language and languages:
        raise ApiError(400, "'language' and 'languages' exclude each other. Leave one of them out.", "language")
    ignored = []
    if fields.one("temperature") not in ("", "0", "0.0"):
        ignored.append("temperature")  # decoding is greedy; a chunk in doubt is tried again by itself
    prompt = fields.one("prompt")
    if prompt and "prompt" not in card.capabilities:
        prompt = ""
        ignored.append("prompt")
    # A language set of one is a language, which every model with languages can be told.
    if len(languages) == 1:
        language, languages = languages[0], ()
    wanted = {
        "language": Options(language=language or None), "languages": Options(languages=languages),
        "keywords": Options(hotwords=keywords), "prompt": Options(prompt=prompt), "model": Options(translate=translate),
    }  # fmt: skip
    for param, options in wanted.items():
        try:
            require(card, options)
        except UserError as error:
            raise ApiError(400, error.en, param) from error
    return replace(
        wanted["prompt"], language=language or None, languages=languages, hotwords=keywords, translate=translate
    ), ignored


def _with_speakers(
    options: Options, fields: _Fields, response_format: str, offered: Offered, card: ModelCard
) -> Options:
    """The options with the field `speakers`, which `diarized_json` implies. Raises ApiError where nobody can be told."""
    diarized = response_format == "diarized_json"
    if diarized and options.translate:
        raise ApiError(400, "diarized_json is a format of transcriptions. Use another one.", "response_format")
    try:
        speakers, count = parse_count(fields.one("speakers") or (AUTO if diarized else OFF))
    except UserError as error:
        raise ApiError(400, error.en, "speakers") from error
    if diarized and not speakers:
        raise ApiError(400, "diarized_json names speakers: leave 'speakers' out, or give a number.", "speakers")
    if speakers:
        offered.require_speakers(card, "response_format" if diarized else "speakers")
    return replace(options, speakers=speakers, speaker_count=count)


def _granularities(fields: _Fields, response_format: str) -> tuple[str, ...]:
    asked = fields.many("timestamp_granularities")
    for granularity in asked:
        if granularity not in GRANULARITIES:
            raise ApiError(
                400, f"There is no granularity {granularity!r}. Use word or segment.", "timestamp_granularities"
            )
    if asked and response_format != "verbose_json":
        raise ApiError(400, "timestamp_granularities need response_format=verbose_json.", "timestamp_granularities")
    return asked or ("segment",)


def _logprobs(fields: _Fields, card: ModelCard, response_format: str, translate: bool) -> bool:
    """Whether `include` asks for logprobs. Raises ApiError where the answer cannot have them."""
    for wanted in fields.many("include"):
        if wanted != "logprobs":
            raise ApiError(400, f"There is nothing called {wanted!r} to include. Use logprobs.", "include")
        if "confidence" not in card.capabilities or translate:
            of = "A translation" if translate else card.id
            raise ApiError(400, f"{of} has no logprobs. Leave 'include' out.", "include")
        if response_format != "json":
            raise ApiError(400, "logprobs need response_format=json.", "include")
    return bool(fields.many("include"))


def _require_features(fields: _Fields, card: ModelCard) -> None:
    """Refuses what would silently be poorer than asked for."""
    for param, features in (
        ("require_word_timestamps", {"word_timestamps"}),
        ("require_punctuation", {"punctuation", "punctuation_model"}),
    ):
        if fields.flag(param) and not features & card.capabilities:
            raise ApiError(400, f"{card.id} has none: choose another model, or leave {param!r} out.", param)


def _check_chunking(value: str) -> None:
    """Recordings are always cut by voice activity; only `auto` and the VAD's defaults mean the same here."""
    if value in ("", "auto"):
        return
    try:
        kind = json.loads(value).get("type")
    except (ValueError, AttributeError):
        kind = None
    if kind != "server_vad":
        raise ApiError(400, "chunking_strategy takes 'auto' or an object of type server_vad.", "chunking_strategy")

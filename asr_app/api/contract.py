"""The API's forms and answers as types, for its OpenAPI description. The tests hold real answers against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from asr_app.api.fields import FORMATS

_Recording = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Form(BaseModel):
    file: Annotated[_Recording, Field(description="Any recording that the page takes.")]
    model: Annotated[str, Field(description="A name of `GET /v1/models`, perhaps with a precision.")] = "whisper-1"
    language: Annotated[str, Field(description="The language that is spoken; detected without it.")] = ""
    languages: Annotated[list[str], Field(description="The language is detected among these.")] = []
    keywords: Annotated[list[str], Field(description="Hotwords, or rules `heard => meant`.")] = []
    prompt: Annotated[str, Field(description="Text before the recording.")] = ""
    require_word_timestamps: Annotated[bool, Field(description="400 if the model times no words.")] = False
    require_punctuation: Annotated[bool, Field(description="400 if the model gives no punctuation.")] = False
    chunking_strategy: Annotated[str, Field(description="`auto`, or a `server_vad` object.")] = "auto"
    temperature: Annotated[float, Field(description="No effect: decoding is greedy.")] = 0.0
    speakers: Annotated[str, Field(description="`auto`, or how many there are; `diarized_json` implies `auto`.")] = ""
    include: Annotated[list[Literal["logprobs"]], Field(description="For models that have them.")] = []


class JobForm(_Form):
    """Fields of a job. Lists may be sent as `name` or `name[]`, once for each value."""

    webhook: Annotated[str, Field(description="URL that is told when the job has ended.")] = ""


class TranscriptionForm(_Form):
    """Fields of a transcription, as OpenAI has them. Lists may be sent as `name` or `name[]`, once for each value."""

    response_format: Annotated[str, Field(json_schema_extra={"enum": list(FORMATS)})] = "json"
    timestamp_granularities: Annotated[
        list[Literal["segment", "word"]], Field(description="Need `response_format` verbose_json.")
    ] = ["segment"]
    stream: Annotated[bool, Field(description="Answer with server-sent events.")] = False


class Logprob(_Answer):
    """A word, with its marks and the space before it. `logprob` is that of its least likely token."""

    token: str
    bytes: list[int]
    logprob: float | None


class Usage(_Answer):
    """Seconds of audio."""

    type: Literal["duration"]
    seconds: int


class Language(_Answer):
    """A language by its code."""

    code: str


class Transcription(_Answer):
    """The answer of `json`. `logprobs` are there if they were asked for."""

    text: str
    languages: list[Language]
    usage: Usage
    logprobs: list[Logprob] | None = None


class Segment(_Answer):
    """A sentence or phrase. Fields that are not measured are null."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float | None
    compression_ratio: float
    no_speech_prob: float | None
    speaker: str | None = None


class Word(_Answer):
    """A word and its seconds."""

    word: str
    start: float
    end: float


class Verbose(_Answer):
    """The answer of `verbose_json`."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    usage: Usage
    segments: list[Segment] | None = None
    words: list[Word] | None = None


class SpokenSegment(_Answer):
    """A segment of one speaker, A, B, ... by their first words."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    text: str
    speaker: str


class Diarized(_Answer):
    """The answer of `diarized_json`."""

    task: Literal["transcribe"]
    duration: float
    text: str
    segments: list[SpokenSegment]
    usage: Usage


class Model(_Answer):
    """A model by its name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(_Answer):
    """All models on this disk, each by itself and at each precision."""

    object: Literal["list"]
    data: list[Model]


class WebhookState(_Answer):
    """The webhook of a job. `next_at` is the time of the next try, in seconds since 1970."""

    status: Literal["waiting", "delivered", "failed"]
    attempts: int
    next_at: int | None
    error: str | None


class Job(_Answer):
    """A job without its text. `done` and `total` are seconds of speech, or bytes while a model downloads."""

    id: str
    object: Literal["transcription.job"]
    status: Literal["queued", "running", "paused", "done", "failed", "cancelled"]
    stage: str | None
    created_at: int
    file: str
    model: str
    ahead: int
    done: float
    total: float
    eta_s: float | None
    duration_s: float | None
    error: str | None
    webhook: WebhookState | None


class TranscriptWord(_Answer):
    """A word and its seconds. `confidence` is the probability of its least likely token, from models that have it."""

    start: float
    end: float
    text: str
    confidence: float | None = None


class TranscriptSegment(_Answer):
    """A sentence or phrase. `change` is there if somebody, or another model, has changed it."""

    start: float
    end: float
    text: str
    words: list[TranscriptWord]
    speaker: str | None = None
    language: str | None = None
    tags: list[str] = []
    change: dict[str, str] | None = None


class Transcript(_Answer):
    """The result of a job in `json`: seconds, bytes, and the precision of the tensors that it ran on."""

    text: str
    segments: list[TranscriptSegment]
    model: str
    precision: dict[str, Any]
    device: str
    timestamps: Literal["model", "vad"]
    script: str | None = None
    short_windows: bool | None = None
    hotwords: list[dict[str, Any]] = []
    duration_s: float
    times: dict[str, float | None]
    rtf: float
    load_s: float
    memory: dict[str, int]
    doubts: list[dict[str, Any]]
    recording: dict[str, Any] | None


class Problem(_Answer):
    """`param` names the field that is wrong, `code` the reason for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(_Answer):
    """An error in OpenAI's form."""

    error: Problem


_ERRORS = {
    400: "A field is wrong; `param` names it.", 401: "No key.", 404: "There is no such model or job.",
    409: "The job is not at that point.", 413: "The recording is too large.", 415: "The file is no recording.",
    422: "There is no such action.", 429: "Too many jobs of the client wait; see Retry-After.",
    503: "Recognition failed.", 507: "The disk is full.",
}  # fmt: skip


def described(
    summary: str, answer: Any = None, *, status: int = 200, form: type[BaseModel] | None = None,
    errors: tuple[int, ...] = (), also: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Arguments of an APIRoute that answers by itself. `also` are other media types of the answer, each with a note."""
    good: dict[str, Any] = {"description": summary}
    if answer is not None:
        good["model"] = answer
    if also:
        good["content"] = {kind: {"schema": {"type": "string", "description": note}} for kind, note in also.items()}
    wrong = {error: {"model": Error, "description": _ERRORS[error]} for error in sorted({*errors, 401})}
    body = (
        {"required": True, "content": {"multipart/form-data": {"schema": form.model_json_schema()}}} if form else None
    )
    return {
        "summary": summary, "status_code": status, "response_model": None, "responses": {status: good, **wrong},
        "openapi_extra": {"requestBody": body} if body else None,
    }  # fmt: skip

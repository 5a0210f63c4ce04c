"""The routes of OpenAI's audio API. A request is a job like the page's, and is gone from the journal once answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from asr_app.api import answers, contract, fields
from asr_app.api.contract import described
from asr_app.api.intake import Intake
from asr_app.api.models import Offered, entry
from asr_app.api.states import UNBUFFERED
from asr_app.api.waiting import LOOK_S, Waiting
from asr_app.api_errors import ApiError
from asr_app.jobs import Jobs
from asr_app.observer import News, Observer


def routes(jobs: Jobs, offered: Offered, intake: Intake) -> list[BaseRoute]:
    """`/v1/audio/transcriptions`, `/v1/audio/translations`, `/v1/models` and `/v1/models/{id}`."""
    api = _Api(jobs, intake)

    async def transcriptions(request: Request) -> Response:
        return await api.answer(request, translate=False)

    async def translations(request: Request) -> Response:
        return await api.answer(request, translate=True)

    def models() -> Response:
        return JSONResponse({"object": "list", "data": list(offered.listed())})

    def model(name: str) -> Response:
        try:
            offered.find(name)
        except ApiError as error:
            return error.response()
        return JSONResponse(entry(name))

    return [
        APIRoute("/v1/audio/transcriptions", transcriptions, methods=["POST"], **_described("Transcribe a recording")),
        APIRoute(
            "/v1/audio/translations", translations, methods=["POST"], **_described("Translate a recording into English")
        ),
        APIRoute("/v1/models", models, **described("List the models", contract.ModelList)),
        APIRoute("/v1/models/{name:path}", model, **described("Look at a model", contract.Model, errors=(404,))),
    ]


def _described(summary: str) -> dict[str, Any]:
    texts = dict.fromkeys(("text/plain", "application/x-subrip", "text/vtt"), "Other values of `response_format`.")
    return described(
        summary, contract.Transcription | contract.Verbose | contract.Diarized, form=contract.TranscriptionForm,
        errors=(400, 404, 413, 415, 429, 503, 507), also=texts | {"text/event-stream": "The events of `stream`."},
    )  # fmt: skip


class _Api:
    """Turns requests into jobs, and waits for them."""

    def __init__(self, jobs: Jobs, intake: Intake) -> None:
        self._intake, self._waiting, self._observer = intake, Waiting(jobs), Observer(jobs.journal)

    async def answer(self, request: Request, translate: bool) -> Response:
        """The response to a request for a transcript or a translation."""
        try:
            asked, job = await self._intake.submitted(request, translate=translate)
        except ApiError as error:
            return error.response()
        if asked.stream:
            return StreamingResponse(
                self._events(asked, job), media_type="text/event-stream", headers=UNBUFFERED | answers.ignored(asked)
            )
        try:
            return await self._whole(request, asked, job)
        except ApiError as error:
            return error.response()
        finally:
            await self._waiting.discard(job)

    async def _whole(self, request: Request, asked: fields.Request, job: str) -> Response:
        """The answer once the job has ended. Raises ApiError if it failed, or if nobody waits for it any more."""
        transcript = await self._waiting.transcript(job, request.is_disconnected)
        body, media_type = answers.body(transcript, asked)
        return Response(body, 200, answers.headers(transcript, asked), media_type)

    async def _events(self, asked: fields.Request, job: str) -> AsyncIterator[str]:
        """Server-sent events: a delta a segment as it is recognised, the whole text last."""
        deltas, since = answers.Deltas(asked.logprobs), 0
        try:
            while True:
                news: News | None = await anyio.to_thread.run_sync(self._observer.news, job, since)
                if news is not None:
                    since = news.last
                    for event in deltas.take(news.segments):
                        yield _event(event)
                if news is None or news.status.finished:
                    break
                await anyio.sleep(LOOK_S)
            try:
                decoded = news is not None and news.status.seconds is not None
                transcript = await self._waiting.ended(job, decoded=decoded)
            except ApiError as error:
                yield _event({"type": "error"} | json.loads(bytes(error.response().body)))
                return
            if asked.response_format == "diarized_json":  # speakers are known once all of them have been heard
                for segment in answers.diarized_segments(transcript):
                    yield _event(segment)
            yield _event(deltas.done(transcript))
            yield "data: [DONE]\n\n"
        finally:
            await self._waiting.discard(job)


def _event(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"

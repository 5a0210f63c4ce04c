"""Jobs over HTTP, for long recordings: submit, look, listen, fetch the text in any format, pause, cancel, delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import anyio
import anyio.to_thread
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from asr_app.api import answers
from asr_app.api.intake import Intake
from asr_app.api_errors import ApiError
from asr_app.corrections.store import Corrections
from asr_app.errors import UserError
from asr_app.formats import FORMATS
from asr_app.jobs import Jobs
from asr_app.observer import News, Observer, Status

_LOOK_S = 0.2  # between two looks at a job that somebody listens to


def routes(jobs: Jobs, intake: Intake) -> list[BaseRoute]:
    """`POST /v1/jobs`; `GET` and `DELETE /v1/jobs/{id}`; `events`, `transcript`, `cancel`, `pause` and `continue` below it.

    A job's id is a secret of who submitted it.
    """
    observer, corrections = Observer(jobs.journal), Corrections(jobs.journal)

    async def submit(request: Request) -> Response:
        try:
            asked, job = await intake.submitted(request)
        except ApiError as error:
            return error.response()
        status = await anyio.to_thread.run_sync(observer.status, job)
        headers = {"Location": f"{request.url.path}/{job}"} | answers.ignored(asked)
        return JSONResponse(_state(status) if status else {"id": job}, 202, headers)

    def state(job: str) -> Response:
        status = observer.status(job)
        return _unknown() if status is None else JSONResponse(_state(status))

    async def events(job: str) -> Response:
        if await anyio.to_thread.run_sync(observer.status, job) is None:
            return _unknown()
        return StreamingResponse(_events(observer, job), media_type="text/event-stream")

    def transcript(job: str, format: str = "json") -> Response:
        if format not in FORMATS:
            known = ", ".join(FORMATS)
            return ApiError(400, f"There is no format {format!r}. Use one of: {known}.", "format").response()
        view = jobs.observe(job)
        if view is None:
            return _unknown()
        if (done := corrections.transcript(view)) is None:
            return ApiError(409, f"The job is {view.state}: there is no transcript.", None, "not_done").response()
        kind = FORMATS[format]
        return Response(kind.encode(done), media_type=kind.media_type)

    def hold(job: str, action: Literal["cancel", "pause", "continue"]) -> Response:
        try:
            {"cancel": jobs.cancel, "pause": jobs.pause, "continue": jobs.go_on}[action](job)
        except UserError as error:
            return ApiError(503, error.en).response()
        return state(job)

    def delete(job: str) -> Response:
        status = observer.status(job)
        if status is None:
            return _unknown()
        if not status.finished:
            return ApiError(409, "The job has not ended: cancel it first.", None, "not_done").response()
        jobs.journal.remove(job)
        return Response(status_code=204)

    return [
        APIRoute("/v1/jobs", submit, methods=["POST"], response_model=None),
        APIRoute("/v1/jobs/{job}", state, response_model=None),
        APIRoute("/v1/jobs/{job}", delete, methods=["DELETE"], response_model=None),
        APIRoute("/v1/jobs/{job}/events", events, response_model=None),
        APIRoute("/v1/jobs/{job}/transcript", transcript, response_model=None),
        APIRoute("/v1/jobs/{job}/{action}", hold, methods=["POST"], response_model=None),
    ]


def _state(status: Status) -> dict[str, Any]:
    return {
        "id": status.id, "object": "transcription.job", "status": status.state, "stage": status.stage or None,
        "created_at": int(status.created), "file": status.name, "model": status.model, "ahead": status.ahead,
        "done": round(status.done, 3), "total": round(status.total, 3), "eta_s": status.eta_s,
        "duration_s": status.seconds, "error": status.error.en if status.error else None,
    }  # fmt: skip


async def _events(observer: Observer, job: str) -> AsyncIterator[str]:
    """Server-sent events: `state` when it changes, `segment` for each one. The stream ends with the job.

    The id of an event is the number of the last chunk.
    """
    since, before = 0, ""
    while True:
        news: News | None = await anyio.to_thread.run_sync(observer.news, job, since)
        if news is None:  # it was deleted
            return
        since = news.last
        for one in news.segments:
            said = {"start": round(one.start_s, 3), "end": round(one.end_s, 3), "text": one.text}
            yield f"event: segment\nid: {since}\ndata: {json.dumps(said, ensure_ascii=False)}\n\n"
        state = json.dumps(_state(news.status), ensure_ascii=False)
        if state != before:
            before = state
            yield f"event: state\nid: {since}\ndata: {state}\n\n"
        if news.status.finished:
            return
        await anyio.sleep(_LOOK_S)


def _unknown() -> Response:
    return ApiError(404, "There is no such job. Jobs are deleted after seven days.", None, "job_not_found").response()

"""Jobs over HTTP, for long recordings: submit, look, listen, fetch the text in any format, pause, cancel, delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import Path, Query
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from asr_app.api import answers, contract
from asr_app.api.contract import Job, described
from asr_app.api.intake import Intake
from asr_app.api.states import UNBUFFERED, state
from asr_app.api.webhooks import Webhooks
from asr_app.api_errors import ApiError
from asr_app.corrections.store import Corrections
from asr_app.errors import UserError
from asr_app.formats import FORMATS
from asr_app.jobs import Jobs
from asr_app.observer import News, Observer

_ACTIONS = ("cancel", "pause", "continue")
_LOOK_S = 0.2  # between two looks at a job that somebody listens to


def routes(jobs: Jobs, intake: Intake, webhooks: Webhooks) -> list[BaseRoute]:
    """`POST /v1/jobs`; `GET` and `DELETE /v1/jobs/{id}`; `events`, `transcript`, `cancel`, `pause` and `continue` below it.

    A job's id is a secret of who submitted it.
    """
    observer, corrections = Observer(jobs.journal), Corrections(jobs.journal)

    async def submit(request: Request) -> Response:
        try:
            asked, job = await intake.submitted(request, webhooks=webhooks)
        except ApiError as error:
            return error.response()
        answer = await anyio.to_thread.run_sync(look, job)
        answer.status_code = 202
        answer.headers.update(
            {"Location": f"{request.scope.get('root_path', '')}/v1/jobs/{job}"} | answers.ignored(asked)
        )
        return answer

    def look(job: str) -> Response:
        status = observer.status(job)
        return _unknown() if status is None else JSONResponse(state(status) | {"webhook": webhooks.of(job)})

    async def events(job: str) -> Response:
        if await anyio.to_thread.run_sync(observer.status, job) is None:
            return _unknown()
        return StreamingResponse(_events(observer, job), headers=UNBUFFERED, media_type="text/event-stream")

    def transcript(
        job: str, format: Annotated[str, Query(json_schema_extra={"enum": list(FORMATS)})] = "json"
    ) -> Response:
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

    def hold(job: str, action: Annotated[str, Path(json_schema_extra={"enum": list(_ACTIONS)})]) -> Response:
        if action not in _ACTIONS:
            known = ", ".join(_ACTIONS)
            return ApiError(422, f"There is no action {action!r}. Use one of: {known}.", "action").response()
        try:
            {"cancel": jobs.cancel, "pause": jobs.pause, "continue": jobs.go_on}[action](job)
        except UserError as error:
            return ApiError(503, error.en).response()
        return look(job)

    def delete(job: str) -> Response:
        status = observer.status(job)
        if status is None:
            return _unknown()
        if not status.finished:
            return ApiError(409, "The job has not ended: cancel it first.", None, "not_done").response()
        jobs.journal.remove(job)
        return Response(status_code=204)

    return [
        APIRoute("/v1/jobs", submit, methods=["POST"], **described(
            "Submit a recording", Job, status=202, form=contract.JobForm, errors=(400, 404, 413, 429, 503, 507)
        )),
        APIRoute("/v1/jobs/{job}", look, **described("Look at a job", Job, errors=(404,))),
        APIRoute("/v1/jobs/{job}", delete, methods=["DELETE"], **described(
            "Delete a job that has ended, its recording and its text", status=204, errors=(404, 409)
        )),
        APIRoute("/v1/jobs/{job}/events", events, **described(
            "Listen to a job", errors=(404,), also={"text/event-stream": "`segment` for each sentence, `state` when it changes."}
        )),
        APIRoute("/v1/jobs/{job}/transcript", transcript, **described(
            "Fetch the text", contract.Transcript, errors=(400, 404, 409),
            also={kind.media_type: f"`format` {name}" for name, kind in FORMATS.items() if name != "json"},
        )),
        APIRoute("/v1/jobs/{job}/{action}", hold, methods=["POST"], **described(
            "Cancel, pause or continue a job", Job, errors=(404, 422, 503)
        )),
    ]  # fmt: skip


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
        now = json.dumps(state(news.status), ensure_ascii=False)
        if now != before:
            before = now
            yield f"event: state\nid: {since}\ndata: {now}\n\n"
        if news.status.finished:
            return
        await anyio.sleep(_LOOK_S)


def _unknown() -> Response:
    return ApiError(404, "There is no such job. Jobs are deleted after seven days.", None, "job_not_found").response()

"""`POST /asr` and `POST /detect-language`: two other servers' paths on the page's port.

FunASR's server and whisper-asr-webservice both have `/asr`. The name of the file's field tells them apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import BinaryIO

import anyio.to_thread
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from asr_app.api_errors import ApiError
from asr_app.clients import client
from asr_app.datatypes import Transcript
from asr_app.neighbours import funasr_http, whisper_webservice
from asr_app.neighbours.recognition import Recognition, Wanted
from asr_app.neighbours.recordings import Arrival, Pcm

_MOST_FIELDS = 50
_PIECE = 2**20  # bytes


def routes(recognition: Recognition) -> list[BaseRoute]:
    """`/asr` and `/detect-language`."""

    async def asr(request: Request) -> Response:
        async def answer(form: FormData) -> Response:
            if isinstance(file := form.get(whisper_webservice.FILE), UploadFile):
                asked = await anyio.to_thread.run_sync(whisper_webservice.read, request.query_params, recognition)
                transcript = await _transcript(recognition, request, file, asked.wanted)
                return whisper_webservice.answer(transcript, asked, file.filename or "")
            if isinstance(file := form.get(funasr_http.FILE), UploadFile):
                wanted = await anyio.to_thread.run_sync(funasr_http.read, form, recognition)
                return funasr_http.answer(await _transcript(recognition, request, file, wanted))
            return missing(funasr_http.FILE, whisper_webservice.FILE)

        return await _answered(request, answer)

    async def detect_language(request: Request) -> Response:
        async def answer(form: FormData) -> Response:
            if not isinstance(file := form.get(whisper_webservice.FILE), UploadFile):
                return missing(whisper_webservice.FILE)
            wanted = await anyio.to_thread.run_sync(whisper_webservice.detection, request.query_params, recognition)
            return whisper_webservice.language(await _transcript(recognition, request, file, wanted))

        return await _answered(request, answer)

    return [
        APIRoute("/asr", asr, methods=["POST"], response_model=None),
        APIRoute("/detect-language", detect_language, methods=["POST"], response_model=None),
    ]


def missing(*fields: str) -> Response:
    """The answer to a form without a file, as FastAPI's validation gives it, which both originals run on."""
    found = [{"type": "missing", "loc": ["body", field], "msg": "Field required", "input": None} for field in fields]
    return JSONResponse({"detail": found}, 422)


async def _answered(request: Request, answer: Callable[[FormData], Awaitable[Response]]) -> Response:
    """The answer to the request's form. Errors have FastAPI's form: `{"detail": ...}`."""
    try:
        async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
            return await answer(form)
    except HTTPException as error:  # Starlette's, for a malformed body
        return JSONResponse({"detail": f"The body is no form with a recording: {error.detail}"}, 400)
    except ApiError as error:
        return JSONResponse({"detail": error.message}, error.status, error.headers)


async def _transcript(recognition: Recognition, request: Request, file: UploadFile, wanted: Wanted) -> Transcript:
    arrival = recognition.arrival(Pcm() if wanted.is_raw else None)
    try:
        await anyio.to_thread.run_sync(_copy, file.file, arrival)
        who = client(request.headers.get("cookie", ""), request.client.host if request.client else "")
        return await recognition.transcript(
            arrival, file.filename or "", wanted.chosen, wanted.options, who, request.is_disconnected
        )
    finally:
        arrival.discard()


def _copy(file: BinaryIO, arrival: Arrival) -> None:
    while piece := file.read(_PIECE):
        arrival.write(piece)

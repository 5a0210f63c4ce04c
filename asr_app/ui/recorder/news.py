"""The recorder's requests: a piece of samples, a look at a recording, its captions, the end of one without a job."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from asr_app import clients
from asr_app.recorder.captions import Captions, Line, Told
from asr_app.recorder.captures import MOST_PIECE_S, RATES, Capture, Captures, Reason, Refused
from asr_app.ui.render import clock
from asr_app.ui.texts import t

_WORKLET = Path(__file__).resolve().parents[3] / "assets" / "record-worklet.js"
_MOST_TOGETHER = 16  # pieces of one request
_MOST_BYTES = int(2 * MOST_PIECE_S * RATES[1]) * _MOST_TOGETHER
_WAIT_S, _LOOK_S = 8.0, 0.03  # of a question for captions: until there are some, and how often it looks
_STATUS: Mapping[Reason, int] = {
    "malformed": 400, "unknown": 404, "ahead": 409, "finished": 410, "too_long": 413, "too_many": 429, "full": 507,
}  # fmt: skip


class Asked(BaseModel):
    """The recording that is meant. Its id is a secret of its browser: it stands in no address."""

    capture: Annotated[str, Field(max_length=64)]


class Listening(Asked):
    """A page's question for captions after the `seen` lines and the `version` of `series` that it shows."""

    language: Literal["en", "zh"]
    series: Annotated[str, Field(max_length=64)] = ""
    seen: Annotated[int, Field(ge=0, le=2**53)] = 0
    version: Annotated[int, Field(ge=-1, le=2**53)] = -1


def routes(captures: Captures, captions: Captions) -> list[BaseRoute]:
    """`/capture/piece` takes pieces in a row, as one body.

    The headers X-Capture, X-Piece, X-Rate and X-Sizes have the recording, the number of the first piece, the sample rate, and
    the bytes of each piece. It and `/capture/look` answer with the recording as it stands, or with the reason why not. `/capture/discard` deletes
    a recording. `/capture/captions` answers a `Listening` as soon as there is something new. `/record-worklet.js` is the part of the page's script that runs in the browser's audio thread.
    """

    async def piece(request: Request) -> Response:
        names = ("capture", "piece", "rate", "sizes")
        capture, first, rate, sizes = (request.headers.get(f"x-{name}", "") for name in names)
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        client = clients.client(request.headers.get("cookie", ""), request.client.host if request.client else "")
        try:
            added = await anyio.to_thread.run_sync(
                captures.add, capture, _number(first), _number(rate), _cut(body, sizes), client
            )
        except Refused as refused:
            return _refusal(refused)
        await anyio.to_thread.run_sync(captions.feed, added)
        return JSONResponse(_standing(added))

    def look(asked: Asked) -> Response:
        found = captures.find(asked.capture)
        return JSONResponse({"state": "unknown"} if found is None else _standing(found))

    def discard(asked: Asked) -> Response:
        try:
            captures.discard(asked.capture)
        except Refused as refused:
            return _refusal(refused)
        captions.end(asked.capture)
        return Response(status_code=204)

    async def listen(asked: Listening) -> Response:
        until = time.monotonic() + _WAIT_S
        while True:
            told = captions.told(asked.capture, asked.series, asked.seen)
            is_new = told is None or (told.series, told.version) != (asked.series, asked.version)
            if is_new or time.monotonic() > until:
                return JSONResponse(_told(told, asked.language))
            await asyncio.sleep(_LOOK_S)

    def worklet() -> Response:
        return FileResponse(_WORKLET, media_type="text/javascript")

    return [
        APIRoute("/capture/piece", piece, methods=["POST"], response_model=None),
        APIRoute("/capture/look", look, methods=["POST"], response_model=None),
        APIRoute("/capture/discard", discard, methods=["POST"], response_model=None),
        APIRoute("/capture/captions", listen, methods=["POST"], response_model=None),
        APIRoute("/record-worklet.js", worklet, response_model=None),
    ]


async def _body(request: Request) -> bytes:
    """The body, or as much of it as shows that it is too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            break
    return bytes(body)


def _cut(body: bytes, sizes: str) -> list[bytes]:
    """The pieces of these sizes; none if they are not the body's."""
    counts = [_number(size) for size in sizes.split(",")[: _MOST_TOGETHER + 1]]
    if len(counts) > _MOST_TOGETHER or min(counts) < 0 or sum(counts) != len(body):
        return []
    ends = list(itertools.accumulate(counts))
    return [body[end - count : end] for count, end in zip(counts, ends, strict=True)]


def _number(text: str) -> int:
    """The number in a header; -1 for anything else, which no piece has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _standing(capture: Capture) -> dict[str, object]:
    return {"state": capture.state, "pieces": capture.pieces, "samples": capture.samples, "job": capture.job}


def _told(told: Told | None, language: str) -> dict[str, Any]:
    if told is None:
        return {"series": "", "failure": ""}
    why = told.failure and t("recorder_captions_off", language, why=told.failure.text(language))
    return {
        "series": told.series, "version": told.version, "open": told.open, "rests": told.rests,
        "lines": [{"html": _line(line, language), "end": line.end} for line in told.lines],
        "failure": escape(why or ""),
    }  # fmt: skip


def _line(line: Line, language: str) -> str:
    if line.left_out_s:
        return f"<i>{t('recorder_captions_left_out', language, time=clock(line.left_out_s))}</i>"
    return escape(line.text)


def _refusal(refused: Refused) -> Response:
    return JSONResponse({"reason": refused.reason, "en": refused.en, "zh": refused.zh}, _STATUS[refused.reason])

"""Recordings and transcripts of jobs, by the job's id: the page needs no path of this machine for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from asr_app.archive import zipped
from asr_app.corrections.store import Corrections
from asr_app.door import audio_type
from asr_app.formats import FORMATS
from asr_app.journal import Journal
from asr_app.observer import Observer

DOUBT_URL = "docs/doubt.md"  # relative to the page and to the checkout
_CHECKOUT = Path(__file__).resolve().parent.parent
_ZIPPED = ("txt", "srt", "vtt", "json")
_MOST_ZIPPED = 100  # as many jobs as page.js keeps in its list


class Several(BaseModel):
    """The jobs whose transcripts are wanted. Their ids are secrets of one browser: they stand in no address."""

    jobs: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=_MOST_ZIPPED)]


def recording_url(job: str) -> str:
    """Relative to the page."""
    return f"recording/{job}"


def transcript_url(job: str, format: str) -> str:
    """Relative to the page. `format` is a key of FORMATS."""
    return f"transcript/{job}.{format}"


def routes(journal: Journal) -> list[BaseRoute]:
    """The routes behind the two URLs, whose answers are downloads (a player takes them as well), and the docs of doubt."""

    observer, corrections = Observer(journal), Corrections(journal)

    def recording(job: str) -> Response:
        status = observer.status(job)
        if status is None or not status.recording.is_file():
            raise HTTPException(404)
        return FileResponse(status.recording, media_type=audio_type(status.recording.name), filename=status.name)

    def transcript(job: str, format: str) -> Response:
        view = journal.view(job)
        done = corrections.transcript(view) if view else None
        if view is None or done is None or format not in FORMATS:
            raise HTTPException(404)
        kind = FORMATS[format]
        name = quote(f"{file_stem(view.name)}.{kind.suffix}")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(kind.encode(done), 200, headers, kind.media_type)

    def doubt() -> Response:
        return FileResponse(_CHECKOUT / DOUBT_URL, media_type="text/plain; charset=utf-8")

    def transcripts(asked: Several) -> Response:
        done = [status.id for status in observer.statuses(asked.jobs) if status.state == "done"]
        if not done:
            raise HTTPException(404)
        return StreamingResponse(zipped(_texts(journal, corrections, done)), media_type="application/zip")

    return [
        APIRoute(f"/{DOUBT_URL}", doubt, response_model=None),
        APIRoute("/transcript/zip", transcripts, methods=["POST"], response_model=None),
        APIRoute("/recording/{job}", recording, response_model=None),
        APIRoute("/transcript/{job}.{format}", transcript, response_model=None),
    ]


def _texts(
    journal: Journal, corrections: Corrections, jobs: Iterable[str]
) -> Iterator[tuple[str, Iterator[tuple[str, str | bytes]]]]:
    """The name and the texts of each job, read when its turn comes. One that is gone by then is left out."""
    for job in jobs:
        view = journal.view(job)
        if view is not None and (done := corrections.transcript(view)) is not None:
            yield file_stem(view.name), ((FORMATS[format].suffix, FORMATS[format].encode(done)) for format in _ZIPPED)


def file_stem(name: str) -> str:
    """The recording's name without its suffix and without what a file system may refuse."""
    return "".join(c if c.isalnum() or c in " -_." else "_" for c in Path(name).stem)[:80] or "transcript"

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
from asr_app.door import audio_type
from asr_app.formats import WRITERS, write
from asr_app.journal import Journal
from asr_app.observer import Observer

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_ZIPPED = ("txt", "srt", "vtt", "json")
_MOST_ZIPPED = 100  # as many jobs as page.js keeps in its list


class Several(BaseModel):
    """The jobs whose transcripts are wanted. Their ids are secrets of one browser: they stand in no address."""

    jobs: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=_MOST_ZIPPED)]


def recording_url(job: str) -> str:
    """Relative to the page."""
    return f"recording/{job}"


def transcript_url(job: str, format: str) -> str:
    """Relative to the page. `format` is a key of WRITERS."""
    return f"transcript/{job}.{format}"


def routes(journal: Journal) -> list[BaseRoute]:
    """The routes behind the two URLs. All they answer is a download; a player takes it as well."""

    observer = Observer(journal)

    def recording(job: str) -> Response:
        status = observer.status(job)
        if status is None or not status.recording.is_file():
            raise HTTPException(404)
        return FileResponse(status.recording, media_type=audio_type(status.recording.name), filename=status.name)

    def transcript(job: str, format: str) -> Response:
        view = journal.view(job)
        if view is None or view.transcript is None or format not in WRITERS:
            raise HTTPException(404)
        name = quote(f"{file_stem(view.name)}.{format}")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(write(view.transcript, format), 200, headers, _JSON if format == "json" else _TEXT)

    def transcripts(asked: Several) -> Response:
        done = [status.id for status in observer.statuses(asked.jobs) if status.state == "done"]
        if not done:
            raise HTTPException(404)
        return StreamingResponse(zipped(_texts(journal, done)), media_type="application/zip")

    return [
        APIRoute("/transcript/zip", transcripts, methods=["POST"], response_model=None),
        APIRoute("/recording/{job}", recording, response_model=None),
        APIRoute("/transcript/{job}.{format}", transcript, response_model=None),
    ]


def _texts(journal: Journal, jobs: Iterable[str]) -> Iterator[tuple[str, Iterator[tuple[str, str | bytes]]]]:
    """The name and the texts of each job, read when its turn comes. One that is gone by then is left out."""
    for job in jobs:
        view = journal.view(job)
        if view is not None and (done := view.transcript) is not None:
            yield file_stem(view.name), ((format, write(done, format)) for format in _ZIPPED)


def file_stem(name: str) -> str:
    """The recording's name without its suffix and without what a file system may refuse."""
    return "".join(c if c.isalnum() or c in " -_." else "_" for c in Path(name).stem)[:80] or "transcript"

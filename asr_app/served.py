"""Recordings and transcripts of jobs, by the job's id: the page needs no path of this machine for them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from asr_app.door import audio_type
from asr_app.formats import FORMATS
from asr_app.journal import Journal
from asr_app.observer import Observer


def recording_url(job: str) -> str:
    """Relative to the page."""
    return f"recording/{job}"


def transcript_url(job: str, format: str) -> str:
    """Relative to the page. `format` is a key of FORMATS."""
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
        if view is None or view.transcript is None or format not in FORMATS:
            raise HTTPException(404)
        kind = FORMATS[format]
        name = quote(f"{file_stem(view.name)}.{kind.suffix}")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(kind.encode(view.transcript), 200, headers, kind.media_type)

    return [
        APIRoute("/recording/{job}", recording, response_model=None),
        APIRoute("/transcript/{job}.{format}", transcript, response_model=None),
    ]


def file_stem(name: str) -> str:
    """The recording's name without its suffix and without what a file system may refuse."""
    return "".join(c if c.isalnum() or c in " -_." else "_" for c in Path(name).stem)[:80] or "transcript"

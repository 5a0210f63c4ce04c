"""Recordings and transcripts of jobs, by the job's id: the page needs no path of this machine for them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from asr_app.corrections.store import Corrections
from asr_app.door import audio_type
from asr_app.formats import FORMATS
from asr_app.journal import Journal
from asr_app.observer import Observer

DOUBT_URL = "docs/doubt.md"  # relative to the page and to the checkout
_CHECKOUT = Path(__file__).resolve().parent.parent


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

    return [
        APIRoute(f"/{DOUBT_URL}", doubt, response_model=None),
        APIRoute("/recording/{job}", recording, response_model=None),
        APIRoute("/transcript/{job}.{format}", transcript, response_model=None),
    ]


def file_stem(name: str) -> str:
    """The recording's name without its suffix and without what a file system may refuse."""
    return "".join(c if c.isalnum() or c in " -_." else "_" for c in Path(name).stem)[:80] or "transcript"

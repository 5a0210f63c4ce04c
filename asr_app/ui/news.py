"""The page's look at the server: one small POST, answered with what has changed since the last one.

assets/page.js asks and puts the answer into the page. A job's id is a secret of its browser: it stands in the body, so
that no log and no address has it.
"""

from __future__ import annotations

import dataclasses
import secrets
import zlib
from typing import Annotated, Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute

from asr_app.corrections.store import Corrections
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.observer import Observer, Status
from asr_app.startup import Preparer
from asr_app.ui import entries, hotwords, render, unsure
from asr_app.ui.texts import t
from asr_app.ui.watch import standing

_Id = Annotated[str, Field(max_length=64)]
_MOST_JOBS = 100  # in the list of one browser; page.js keeps as many


class Asked(BaseModel):
    """A page's request for updates. `jobs` are the ids of its list whose entries may change, with the tags of the
    entries it has.

    `job` is the job beside the list (empty for none), shown to chunk number `since`; `model` is the chosen model's key.
    """

    language: Literal["en", "zh"]
    model: Annotated[str, Field(max_length=4096)] = ""
    job: _Id = ""
    since: Annotated[int, Field(ge=0, le=2**53)] = 0
    jobs: Annotated[dict[_Id, _Id], Field(max_length=_MOST_JOBS)] = {}


class Held(BaseModel):
    """The job that is to be paused, or to go on."""

    job: _Id
    action: Literal["pause", "go-on"]


class Removal(BaseModel):
    """The job that is to be deleted."""

    job: _Id


def routes(jobs: Jobs, engines: Engines, preparer: Preparer) -> list[BaseRoute]:
    """`/news` answers an `Asked`; `/hold` pauses a job and lets it go on; `/remove` deletes the recording and the text of a job that has ended."""
    observer = Observer(jobs.journal)
    server = secrets.token_hex(4)  # another one after a restart: open pages load themselves anew

    def news(asked: Asked) -> Response:
        shown = _job(jobs, observer, preparer, asked) if asked.job else None
        listed, active = _listed(observer, asked)
        # The job's end may change what is known of the precisions.
        state = shown["state"] if shown else ""
        band = (standing(engines, preparer, asked.model), preparer.current, preparer.waiting, state, asked.job)
        busy = active or preparer.current is not None or (shown is not None and shown["state"] in ("queued", "running"))
        return JSONResponse({"server": server, "busy": busy, "band": tag(repr(band)), "job": shown, "jobs": listed})

    def remove(asked: Removal) -> Response:
        jobs.journal.remove(asked.job)
        return Response(status_code=204)

    def hold(asked: Held) -> Response:
        try:
            (jobs.pause if asked.action == "pause" else jobs.go_on)(asked.job)
        except UserError as error:
            return PlainTextResponse(f"{error.en} {error.zh}", 503)
        return Response(status_code=204)

    return [
        APIRoute("/news", news, methods=["POST"], response_model=None),
        APIRoute("/hold", hold, methods=["POST"], response_model=None),
        APIRoute("/remove", remove, methods=["POST"], response_model=None),
    ]


def _job(jobs: Jobs, observer: Observer, preparer: Preparer, asked: Asked) -> dict[str, Any] | None:
    """The job beside the list: HTML of its progress, of its new segments, and of its result once it has ended.

    None for a job that the journal does not know.
    """
    update = observer.news(asked.job, asked.since)
    if update is None:
        return None
    anew, corrections = False, Corrections(jobs.journal)
    if asked.since and update.status.finished and _names_speakers(jobs, asked.job):  # lines were cut among speakers
        anew, update = True, observer.news(asked.job, 0) or update
    segments = update.segments
    if anew or not asked.since:  # else they are new, and nobody has changed them
        segments = corrections.applied(asked.job, segments)
    status, language, result = update.status, asked.language, ""
    has_text = bool(asked.since or update.segments or update.waiting)
    held = bool(segments) and not status.finished and _names_speakers(jobs, asked.job)
    names = {one.label: one.name for one in corrections.speakers(asked.job) if one.name} if status.finished else {}
    if status.finished:  # the page asks no more
        view = jobs.observe(status.id)
        done = view.transcript if view else None
        if view is not None and view.error is not None:
            status = dataclasses.replace(status, state=view.state, error=view.error)
        downloads = render.downloads(status.id, done is not None, language) if has_text else ""
        result = (
            downloads
            + (unsure.legend(corrections.applied(status.id, done.segments), language) if done else "")
            + hotwords.section(done, language)
            + render.card(done, language)
            + render.recording(done, language)
        )
    current = preparer.current
    waits = current is not None and status.model == current.card.key
    return {
        "state": status.state,
        "finished": status.finished,
        "since": update.last,
        "hold": _hold(status, language),
        "progress": render.progress(status, waits, language),
        "anew": anew,
        "rows": render.rows(segments, language, "held" if held else "", names),
        "waiting": render.rows(update.waiting, language, "waiting"),
        "empty": "" if has_text else render.empty(status, language),
        "player": render.player(status, has_text),
        "result": result,
    }


def _names_speakers(jobs: Jobs, job: str) -> bool:
    """Whether the job names speakers, which cuts lines at its end."""
    try:
        task = jobs.journal.task(job)
    except UserError:  # a damaged job
        return False
    return task is not None and task.options.speakers


def _hold(status: Status, language: str) -> dict[str, str] | None:
    """Action and label of the button beside the progress; None once the job has ended."""
    if status.finished:
        return None
    action = "go-on" if status.state == "paused" else "pause"
    return {"action": action, "label": t(action.replace("-", "_"), language)}


def _listed(observer: Observer, asked: Asked) -> tuple[dict[str, Any], bool]:
    """The entries that are not as the page has them, None for an unknown job; and whether any job waits or runs."""
    statuses = observer.statuses(list(asked.jobs))
    known = {status.id for status in statuses}
    listed: dict[str, Any] = {job: None for job in asked.jobs if job not in known}
    for status in statuses:
        html = entries.entry(status, asked.language)
        if asked.jobs[status.id] != (current := tag(html)):
            listed[status.id] = {"html": html, "tag": current, "finished": status.finished}
    return listed, any(not status.rests for status in statuses)


def tag(text: str) -> str:
    """A short checksum of what a page shows, by which it says what it has."""
    return f"{zlib.crc32(text.encode()):08x}"

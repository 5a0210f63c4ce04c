"""The Compare tab's look at the server, and its votes. A comparison's id is a secret of its browser, as a job's is."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from asr_app.compare.comparisons import Comparison, Comparisons
from asr_app.jobs import Jobs
from asr_app.ui.compare import render
from asr_app.ui.entries import remover
from asr_app.ui.news import tag
from asr_app.ui.texts import t

_Id = Annotated[str, Field(max_length=64)]
_MOST_LISTED = 20


class Asked(BaseModel):
    """A page's question. `tag` is that of the contents it has; `listed` are its earlier comparisons."""

    language: Literal["en", "zh"]
    comparison: _Id = ""
    tag: _Id = ""
    listed: Annotated[list[_Id], Field(max_length=_MOST_LISTED)] = []


class Judged(BaseModel):
    """A vote on a place of the blind round; without a `choice`, its end."""

    comparison: _Id
    place: Annotated[int, Field(ge=0)] = 0
    choice: Literal["left", "right", "same", ""] = ""


class Removal(BaseModel):
    """The comparison that is to be deleted."""

    comparison: _Id


def routes(jobs: Jobs) -> list[BaseRoute]:
    """`/comparison` answers an `Asked`, `/judge` takes a vote, `/comparison/remove` deletes a comparison that has ended."""
    comparisons = Comparisons(jobs)

    def news(asked: Asked) -> Response:
        found = comparisons.find(asked.comparison) if asked.comparison else None
        answer: dict[str, Any] = {"known": found is not None, "finished": found is None or found.finished}
        if found is not None:
            answer["progress"] = render.arms_progress(found, asked.language)
            answer["player"] = render.player(found)
            # What is shown depends on this alone, and takes seconds to make of hours of speech.
            current = tag(repr((found.id, found.finished, found.blind, found.votes, asked.language)))
            if current != asked.tag:
                answer |= {"tag": current, "contents": _contents(comparisons, found, asked.language)}
        known = [(listed, comparisons.find(listed)) for listed in asked.listed]
        answer["listed"] = {id_: c and _entry(c, asked.language) for id_, c in known}
        return JSONResponse(answer)

    def judge(judged: Judged) -> Response:
        if judged.choice:
            comparisons.vote(judged.comparison, judged.place, judged.choice)
        else:
            comparisons.reveal(judged.comparison)
        return Response(status_code=204)

    def remove(asked: Removal) -> Response:
        comparisons.remove(asked.comparison)
        return Response(status_code=204)

    return [
        APIRoute("/comparison", news, methods=["POST"], response_model=None),
        APIRoute("/judge", judge, methods=["POST"], response_model=None),
        APIRoute("/comparison/remove", remove, methods=["POST"], response_model=None),
    ]


def _contents(comparisons: Comparisons, comparison: Comparison, language: str) -> str:
    """The blind round while it lasts, then the results; empty until all arms have ended."""
    if not comparison.finished:
        return ""
    compared = comparisons.compared(comparison)
    if compared is None:
        return f'<div class="transcript empty">{t("compare_too_few_done", language)}</div>'
    round_ = render.judging(comparison, compared, language) if comparison.blind else ""
    return round_ or render.results(comparison, compared, language)


def _entry(comparison: Comparison, language: str) -> str:
    """Name and arms of a comparison as a button that shows it; another one removes it once it has ended."""
    arms = ", ".join(escape(render.name_of(arm, comparison.arms)) for arm in comparison.arms)
    opens = f'<button class="open"><b>{escape(comparison.name)}</b><span>{arms}</span></button>'
    if not comparison.finished:
        return opens
    return opens + remover(comparison.name, language)

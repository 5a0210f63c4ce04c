"""The page's changes of lines: one POST each, answered with every line that the page does not show as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Annotated, Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from asr_app import clients
from asr_app.corrections.figures import tally
from asr_app.corrections.redo import Redos
from asr_app.corrections.references import References
from asr_app.corrections.store import Corrections, Overtaken
from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.observer import Observer
from asr_app.rows import UNREADABLE, unreadable
from asr_app.ui import speakers, unsure
from asr_app.ui.compare.tab import arm_of, choices
from asr_app.ui.corrections import render
from asr_app.ui.render import line as rendered_line
from asr_app.ui.texts import t

_CHANGES = ("correct", "confirm", "put_back", "undo", "redo", "rename")
_Number = Annotated[int, Field(ge=0, le=2**53)]


class Asked(BaseModel):
    """A change of line `line` of a job, or a look. `seen` is the line's last change that the page has, 0 for none.

    `shown` are the last changes of all its changed lines. `speaker` is the one to be called `text`. `arm` is the model and precision of a redo.
    """

    language: Literal["en", "zh"]
    job: Annotated[str, Field(max_length=64)]
    action: Literal["look", "correct", "confirm", "put_back", "undo", "redo", "cancel", "menu", "tally", "rename"] = (
        "look"
    )
    line: _Number = 0
    seen: _Number = 0
    text: Annotated[str, Field(max_length=100_000)] = ""
    speaker: Annotated[str, Field(max_length=16)] = ""
    arm: Annotated[str, Field(max_length=4096)] = ""
    shown: Annotated[dict[_Number, _Number], Field(max_length=100_000)] = {}


def routes(jobs: Jobs, engines: Engines, cards: Mapping[str, ModelCard]) -> list[BaseRoute]:
    """`/corrections` answers an `Asked`. `cards` are the models that the page offers."""
    corrections, redos, references = Corrections(jobs.journal), Redos(jobs), References(jobs.journal)
    observer = Observer(jobs.journal)

    def answer(asked: Asked, request: Request) -> Response:
        if asked.action == "tally":
            return JSONResponse({"tally": render.tally(tally(references.all()), asked.language)})
        told = {"menu": "", "refused": ""}
        try:
            try:
                told["menu"] = act(asked, request) or ""
            except Overtaken:
                told["refused"] = overtaken(asked)
            except UserError as error:
                told["refused"] = escape(error.text(asked.language))
            return JSONResponse(told | look(asked))
        except UNREADABLE as error:  # a damaged job
            why = escape(unreadable(error).text(asked.language))
            nothing = {"lines": {}, "redos": {}, "busy": False, "editor": "", "summary": "", "names": {}}
            nothing |= {"speakers": "", "legend": ""}
            return JSONResponse(told | nothing | {"refused": why})

    def act(asked: Asked, request: Request) -> str | None:
        """Makes the change. Returns the menu that was asked for."""
        job, line, seen = asked.job, asked.line, asked.seen
        if asked.action in _CHANGES and not is_whole(job):
            raise UserError(t("speakers_not_yet", "en"), t("speakers_not_yet", "zh"))
        if asked.action == "rename":
            corrections.rename(job, asked.speaker, asked.text, seen)
        elif asked.action == "correct":
            corrections.correct(job, line, asked.text, seen)
        elif asked.action == "confirm":
            corrections.confirm(job, line, seen)
        elif asked.action == "put_back":
            corrections.put_back(job, line, seen)
        elif asked.action == "undo":
            corrections.undo(job, seen)
        elif asked.action == "cancel":
            redos.cancel(job, line)
        elif asked.action == "redo":
            if asked.arm not in {value for _, value in choices(cards, engines)}:
                raise UserError("That model is not here any more. Reload the page.", "该模型已不可用，请刷新页面。")
            client = clients.client(request.headers.get("cookie", ""), request.client.host if request.client else "")
            redos.begin(job, line, seen, *arm_of(asked.arm, cards), client)
        elif asked.action == "menu":
            return render.menu(corrections.line(job, line), others(job), asked.language)
        return None

    def is_whole(job: str) -> bool:
        """Whether the lines of the job keep their numbers: speakers may cut them at its end."""
        status = observer.status(job)
        return status is None or status.finished or not ((task := jobs.journal.task(job)) and task.options.speakers)

    def others(job: str) -> list[tuple[str, str]]:
        """Names and values of the arms that a line of the job may be recognised again by; its own model's come first."""
        task = jobs.journal.task(job)
        if task is None:
            return []
        own = f"{task.precision.value} {task.model}"
        known = [(name, value) for name, value in choices(cards, engines) if value != own]
        return sorted(known, key=lambda choice: choice[1].partition(" ")[2] != task.model)

    def overtaken(asked: Asked) -> str:
        if asked.action in ("undo", "rename"):
            return t(f"{asked.action}_overtaken", asked.language)
        said = corrections.line(asked.job, asked.line).text or t("nothing_said", asked.language)
        return t("edit_overtaken", asked.language, said=f"<q>{escape(said)}</q>")

    def look(asked: Asked) -> dict[str, Any]:
        language = asked.language
        under_way = redos.settle(asked.job)
        lines = corrections.applied(asked.job, jobs.journal.segments(asked.job))
        numbers = [line.change.number if line.change else 0 for line in lines]
        counts = corrections.counts(asked.job)
        last = numbers.index(counts.last) if counts.last in numbers else 0
        people = corrections.speakers(asked.job)
        names = {one.label: one.name for one in people if one.name}
        return {
            "lines": {
                i: rendered_line(line, language, "", names)
                for i, line in enumerate(lines)
                if numbers[i] != asked.shown.get(i, 0)
            },
            "redos": {redo.line: render.redo(redo, language) for redo in under_way},
            "busy": any(not redo.status.finished for redo in under_way),
            "editor": render.editor(language),
            "speakers": speakers.chips(people, language),
            "names": {one.label: one.name or one.label for one in people},
            "legend": unsure.legend(lines, language),
            "summary": render.summary(counts, last, language) if lines else "",
        }  # fmt: skip

    return [APIRoute("/corrections", answer, methods=["POST"], response_model=None)]

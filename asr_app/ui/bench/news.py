"""The Benchmark tab's look at the server, its buttons and its downloads. A benchmark's id is a secret of its browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from asr_app.bench.benchmarks import Benchmarks
from asr_app.bench.records import Benchmark
from asr_app.bench.runner import Runner
from asr_app.errors import UserError
from asr_app.report.clips import clips_csv
from asr_app.report.files import as_json
from asr_app.report.markdown import markdown
from asr_app.report.page import page
from asr_app.ui import render as shared
from asr_app.ui.bench import render
from asr_app.ui.news import tag

_Id = Annotated[str, Field(max_length=64)]
_MOST_LISTED = 20
_FILES: Mapping[str, tuple[Callable[[Mapping[str, Any], str], str], str]] = {
    "report.html": (page, "text/html; charset=utf-8"),
    "report.md": (markdown, "text/markdown; charset=utf-8"),
    "results.json": (lambda results, _: as_json(results), "application/json"),
    "clips.csv": (lambda results, _: clips_csv(results), "text/csv; charset=utf-8"),
}


class Asked(BaseModel):
    """A page's question. `tag` is that of the contents it has; `listed` are its earlier benchmarks."""

    language: Literal["en", "zh"]
    benchmark: _Id = ""
    tag: _Id = ""
    listed: Annotated[list[_Id], Field(max_length=_MOST_LISTED)] = []


class Wish(BaseModel):
    """A click on a button of a benchmark."""

    benchmark: _Id
    wish: Literal["stop", "go-on", "remove"]


def routes(benchmarks: Benchmarks, runner: Runner) -> list[BaseRoute]:
    """`/benchmark` answers an `Asked`, `/benchmark/wish` takes a `Wish`, below `/benchmark/ID/` lie the downloads."""

    def find(benchmark: str) -> Benchmark | None:
        found = benchmarks.find(benchmark)
        return None if found is None or found.state == "draft" else found

    def news(asked: Asked) -> Response:
        found = find(asked.benchmark)
        answer: dict[str, Any] = {"known": found is not None, "finished": found is None or found.finished}
        if found is not None:
            progress = runner.progress if benchmarks.busy == found.id else None
            answer["progress"] = render.standing(found, progress, benchmarks.ahead(found), asked.language)
            current = tag(repr((found.id, found.state, benchmarks.stamp(found.id), asked.language)))
            if current != asked.tag:
                answer |= {"tag": current, "contents": _contents(benchmarks, found, asked.language)}
        known = [(listed, find(listed)) for listed in asked.listed]
        answer["listed"] = {id_: b and render.entry(b, asked.language) for id_, b in known}
        return JSONResponse(answer)

    def wish(asked: Wish) -> Response:
        wishes = {"stop": benchmarks.cancel, "go-on": benchmarks.go_on, "remove": benchmarks.remove}
        wishes[asked.wish](asked.benchmark)
        return Response(status_code=204)

    def download(benchmark: str, language: str, file: str) -> Response:
        results = benchmarks.results(benchmark) if find(benchmark) and file in _FILES else None
        if results is None:
            raise HTTPException(404)
        make, kind = _FILES[file]
        headers = {"Content-Disposition": f'attachment; filename="{file}"'}
        return Response(make(results, language), 200, headers, kind)

    return [
        APIRoute("/benchmark", news, methods=["POST"], response_model=None),
        APIRoute("/benchmark/wish", wish, methods=["POST"], response_model=None),
        APIRoute("/benchmark/{benchmark}/{language}/{file}", download, response_model=None),
    ]


def _contents(benchmarks: Benchmarks, benchmark: Benchmark, language: str) -> str:
    try:
        return render.results(benchmark, benchmarks.results(benchmark.id), language)
    except UserError as error:
        return shared.refusal(error, language)

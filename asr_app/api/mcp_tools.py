"""Tools for language models, by the Model Context Protocol: streamable HTTP at `/mcp`, with --mcp.

A recording comes as Base64 or as the id of a job, never as a path or a URL. The package `mcp` is no requirement of the app.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import inspect
import io
from collections.abc import Callable
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import FastAPI
from pydantic import Field
from starlette.routing import BaseRoute

from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.states import state
from asr_app.api_errors import ApiError
from asr_app.corrections.store import Corrections
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.formats import WRITERS
from asr_app.jobs import Jobs
from asr_app.languages import language_code
from asr_app.observer import Observer

PATH = "/mcp"
MOST_BYTES = 24 << 20  # of a recording
MOST_BODY = MOST_BYTES * 4 // 3 + (1 << 16)
_INSTALL = 'python -m pip install "mcp==2.3.0"'
_CLIENT = "mcp"  # all language models together take one turn in the queue
_LOOK_S = 0.2
_MOST_WAIT_S = 50.0  # clients give up after a minute

_in_thread = anyio.to_thread.run_sync
Lifespan = Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]


class Tools:
    """The functions behind the tools. They raise ApiError and UserError."""

    def __init__(self, jobs: Jobs, offered: Offered, intake: Intake) -> None:
        self._jobs, self._offered, self._intake = jobs, offered, intake
        self._observer, self._corrections = Observer(jobs.journal), Corrections(jobs.journal)

    def models(self) -> list[str]:
        """Names of the models on this server, each also at its precisions: `whisper-base@int8`."""
        return [entry["id"] for entry in self._offered.listed()]

    async def transcribe(
        self,
        recording: Annotated[str, Field(description=f"A recording in Base64, at most {MOST_BYTES >> 20} MB.")] = "",
        name: Annotated[str, Field(description="The name of its file, such as talk.m4a.")] = "recording",
        job: Annotated[str, Field(description="In place of a recording: a job whose recording is done again.")] = "",
        model: Annotated[str, Field(description="A name of list_models.")] = "whisper-1",
        language: Annotated[str, Field(description="The language that is spoken; detected without it.")] = "",
        wait_s: Annotated[float, Field(ge=0, le=_MOST_WAIT_S, description="Seconds to wait for the text.")] = 30.0,
    ) -> dict[str, Any]:
        """Transcribe speech. Returns the state of a new job, with its text if it is done in time; else ask for both later."""
        made = await _in_thread(self._submit, recording, name, job, model, language)
        now = await _in_thread(self.state, made)
        with anyio.move_on_after(wait_s):  # not in a thread: the page needs them
            while now["status"] in ("queued", "running"):
                await anyio.sleep(_LOOK_S)
                now = await _in_thread(self.state, made)
        return now | {"text": await _in_thread(self.text, made)} if now["status"] == "done" else now

    def state(self, job: Annotated[str, Field(description="The id of a job.")]) -> dict[str, Any]:
        """The state of a job: queued, running, paused, done, failed or cancelled; how far it is, and its error."""
        status = self._observer.status(job)
        if status is None:
            raise ApiError(404, "There is no such job.")
        return state(status)

    def text(
        self,
        job: Annotated[str, Field(description="The id of a job that is done.")],
        format: Annotated[str, Field(json_schema_extra={"enum": list(WRITERS)})] = "txt",
    ) -> str:
        """The text of a job that is done."""
        if format not in WRITERS:
            raise ApiError(400, f"There is no format {format!r}. Use one of: {', '.join(WRITERS)}.")
        view = self._jobs.observe(job)
        done = self._corrections.transcript(view) if view else None
        if done is None:
            raise ApiError(409, f"The job is {view.state}: there is no text." if view else "There is no such job.")
        return WRITERS[format](done)

    def _submit(self, recording: str, name: str, job: str, model: str, language: str) -> str:
        if bool(recording) == bool(job):
            raise ApiError(400, "Give either a recording in Base64 or the id of a job.")
        chosen, options = self._offered.find(model), Options(language=language_code(language) or None)
        if job:
            view = self._jobs.observe(job)
            if view is None:
                raise ApiError(404, "There is no such job.")
            return self._jobs.submit(
                view.recording, view.name, chosen.card.key, chosen.precision, options, client=_CLIENT
            )
        try:
            content = base64.b64decode(recording, validate=True)
        except (binascii.Error, ValueError):
            raise ApiError(400, "The recording is no Base64.") from None
        if len(content) > MOST_BYTES:
            raise ApiError(413, f"The recording has more than {MOST_BYTES >> 20} MB.")
        return self._intake.take(io.BytesIO(content), len(content), name, chosen, options, _CLIENT)


def served(tools: Tools) -> tuple[list[BaseRoute], Lifespan]:
    """The route of `/mcp`, and the lifespan that it needs. Raises UserError without the package."""
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.transport_security import TransportSecuritySettings
    except ImportError as error:
        raise UserError(
            f"--mcp needs the package mcp, which is not installed: .venv/bin/{_INSTALL}",
            f"--mcp 需要尚未安装的 mcp 包：.venv/bin/{_INSTALL}",
        ) from error
    server = MCPServer("speech-recognition", instructions="Transcribes recordings of speech.")
    for name, function in (
        ("list_models", tools.models), ("transcribe", tools.transcribe), ("job_state", tools.state), ("job_text", tools.text)
    ):  # fmt: skip
        server.add_tool(_tool(function), name)
    app = server.streamable_http_app(
        streamable_http_path=PATH, json_response=True, stateless_http=True, max_request_body_size=MOST_BODY,
        # The door has checked Host and Origin already.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )  # fmt: skip
    return list(app.routes), lambda _: server.session_manager.run()


def _tool(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, in a thread if it may block, its errors as the protocol's."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(function)
    async def tool(**arguments: Any) -> Any:
        try:
            if inspect.iscoroutinefunction(function):
                return await function(**arguments)
            return await _in_thread(functools.partial(function, **arguments))
        except ApiError as error:
            raise ToolError(error.message) from error
        except UserError as error:
            raise ToolError(error.en) from error

    return tool

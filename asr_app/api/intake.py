"""Takes a request's recording in: checks the fields, stores the file, queues the job."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request

from asr_app.api import fields
from asr_app.api.models import Offered
from asr_app.api_errors import ApiError
from asr_app.clients import client
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.turns import MOST_WAITING

_RETRY_S = 10  # told to a client that has too many jobs
_MOST_FIELDS = 300  # each hotword is one


class Intake:
    """Queues the jobs of requests.

    `admit` is called before anything of a request is read, and again before its job is queued. It may raise ApiError.
    """

    def __init__(self, jobs: Jobs, offered: Offered, admit: Callable[[], None] = lambda: None) -> None:
        self._jobs, self._offered, self._admit = jobs, offered, admit
        self._queueing = threading.Lock()  # so that no two requests are admitted to one place

    async def submitted(self, request: Request, *, translate: bool = False) -> tuple[fields.Request, str]:
        """The checked request and its job. Raises ApiError that answers the request."""
        await anyio.to_thread.run_sync(self._admit)
        who = client(request.headers.get("cookie", ""), request.client.host if request.client else "")
        if await anyio.to_thread.run_sync(self._jobs.journal.waiting, who) >= MOST_WAITING:
            raise ApiError(
                429,
                f"{MOST_WAITING} of your recordings are waiting already. Try again later.",
                None,
                "rate_limit_exceeded",
                _RETRY_S,
            )
        try:
            async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
                asked = await anyio.to_thread.run_sync(lambda: fields.read(form, self._offered, translate=translate))
                return asked, await anyio.to_thread.run_sync(self._submit, asked, who)
        except HTTPException as error:  # Starlette's, for a malformed body
            raise ApiError(400, f"The body is no form with a recording: {error.detail}") from error

    def _submit(self, asked: fields.Request, who: str) -> str:
        storage = self._jobs.journal.storage
        name = Path(asked.file.filename or "").name or "recording"
        folder = storage.uploads / secrets.token_hex(16)
        try:
            storage.require_room(asked.file.size or 0)
            folder.mkdir()
            kept = folder / f"recording{Path(name).suffix if Path(name).suffix[1:].isalnum() else ''}"
            with kept.open("wb") as file:
                shutil.copyfileobj(asked.file.file, file)
            with self._queueing:
                self._admit()
                return self._jobs.submit(
                    kept, name, asked.chosen.card.key, asked.chosen.precision, asked.options, client=who
                )
        except ApiError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ApiError(507, f"The recording could not be stored ({error.strerror}).") from error
        except UserError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ApiError(507, error.en) from error

"""Takes a request's recording in: checks the fields, stores the file, queues the job."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request

from asr_app.api import fields
from asr_app.api.models import Chosen, Offered
from asr_app.api.webhooks import Webhooks
from asr_app.api_errors import ApiError
from asr_app.clients import client
from asr_app.database import unusable
from asr_app.datatypes import Options
from asr_app.errors import NoRoom, QueueFull, TooLarge, UserError
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

    async def submitted(
        self, request: Request, *, translate: bool = False, webhooks: Webhooks | None = None
    ) -> tuple[fields.Request, str]:
        """The checked request and its job. With `webhooks` it may name one. Raises ApiError that answers the request."""
        await anyio.to_thread.run_sync(self._admit)
        who = client(request.headers.get("cookie", ""), request.client.host if request.client else "")
        if await anyio.to_thread.run_sync(self._jobs.journal.waiting, who) >= MOST_WAITING:
            raise too_many(f"{MOST_WAITING} of your recordings are waiting already. Try again later.")
        try:
            async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
                asked = await anyio.to_thread.run_sync(
                    lambda: fields.read(form, self._offered, translate=translate, is_job=webhooks is not None)
                )
                return asked, await anyio.to_thread.run_sync(self._submit, asked, who, webhooks)
        except HTTPException as error:  # Starlette's, for a malformed body
            raise ApiError(400, f"The body is no form with a recording: {error.detail}") from error

    def _submit(self, asked: fields.Request, who: str, webhooks: Webhooks | None) -> str:
        if webhooks and asked.webhook:
            webhooks.require(asked.webhook)
        upload = asked.file
        job = self.take(
            upload.file, upload.size or 0, upload.filename or "", asked.chosen, asked.options, who,
            is_request=webhooks is None,
        )  # fmt: skip
        if webhooks and asked.webhook:
            try:
                webhooks.add(job, asked.webhook)
            except sqlite3.OperationalError as error:
                with contextlib.suppress(UserError):  # its client may send it again
                    self._jobs.cancel(job)
                raise refusal(unusable(error)) from error
        return job

    def take(
        self, file: BinaryIO, size: int, name: str, chosen: Chosen, options: Options, who: str, *,
        is_request: bool = False,
    ) -> str:  # fmt: skip
        """Stores the recording in `file`, of `size` bytes, and queues its job for the client `who`. Raises ApiError."""
        storage, name = self._jobs.journal.storage, Path(name).name or "recording"
        folder = storage.uploads / secrets.token_hex(16)
        try:
            storage.require_room(size)
            folder.mkdir()
            kept = folder / f"recording{Path(name).suffix if Path(name).suffix[1:].isalnum() else ''}"
            with kept.open("wb") as stored:
                shutil.copyfileobj(file, stored)
            with self._queueing:
                self._admit()
                return self._jobs.submit(
                    kept, name, chosen.card.key, chosen.precision, options, client=who, is_request=is_request
                )
        except ApiError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ApiError(507, f"The recording could not be stored ({error.strerror}).") from error
        except UserError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise refusal(error) from error


def too_many(message: str) -> ApiError:
    """The answer to a client that has too much under way."""
    return ApiError(429, message, None, "rate_limit_exceeded", _RETRY_S)


def refusal(error: UserError) -> ApiError:
    """The answer to a recording that was not taken. The options of the job were checked before."""
    if isinstance(error, QueueFull):
        return too_many(error.en)
    if isinstance(error, TooLarge):
        return ApiError(413, error.en, "file")
    return ApiError(507 if isinstance(error, NoRoom) else 503, error.en)

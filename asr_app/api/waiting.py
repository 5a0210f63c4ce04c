"""Waits for the jobs of requests, and deletes them once they are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread

from asr_app.api_errors import ApiError
from asr_app.datatypes import Segment, Transcript
from asr_app.jobs import Jobs
from asr_app.journal import View
from asr_app.observer import News, Observer

LOOK_S = 0.1  # between two looks at a job
_END_S = 10.0  # waited for a cancelled job to end, so that it can be deleted


class Waiting:
    """Looks at the jobs of requests until they have ended."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._observer = jobs, Observer(jobs.journal)

    async def transcript(
        self, job: str, is_gone: Callable[[], Awaitable[bool]],
        on_segments: Callable[[Sequence[Segment]], Awaitable[None]] | None = None,
    ) -> Transcript:  # fmt: skip
        """The transcript once the job is done; each chunk's segments before, as they are recognised.

        Raises ApiError if the job failed, or if `is_gone` says that nobody waits for it.
        """
        since = 0
        while True:
            news: News | None = await anyio.to_thread.run_sync(self._observer.news, job, since)
            if news is not None and news.segments and on_segments is not None:
                await on_segments(news.segments)
            if news is None or news.status.finished:
                break
            if await is_gone():
                raise ApiError(499, "The client has gone.")
            since = news.last
            await anyio.sleep(LOOK_S)
        return await self.ended(job, decoded=news is not None and news.status.seconds is not None)

    async def ended(self, job: str, *, decoded: bool) -> Transcript:
        """The transcript of a job that has ended. Raises ApiError if it failed; 415 if it was not `decoded`."""
        return _done(await anyio.to_thread.run_sync(self._jobs.observe, job), decoded)

    async def discard(self, job: str) -> None:
        """Deletes the job, its recording and its text; cancels it before if its client has gone."""
        with anyio.move_on_after(_END_S, shield=True):
            status = await anyio.to_thread.run_sync(self._observer.status, job)
            if status is not None and not status.finished:
                await anyio.to_thread.run_sync(self._jobs.cancel, job)
            while status is not None and not status.finished:
                await anyio.sleep(LOOK_S)
                status = await anyio.to_thread.run_sync(self._observer.status, job)
            await anyio.to_thread.run_sync(self._jobs.journal.remove, job)


def _done(view: View | None, decoded: bool) -> Transcript:
    """The transcript of a job that is done. Raises ApiError for one that is not."""
    if view is not None and view.transcript is not None:
        return view.transcript
    message = view.error.en if view is not None and view.error else "The job was cancelled."
    if not decoded:
        raise ApiError(415, message, "file", "unsupported_format")
    raise ApiError(503, message)

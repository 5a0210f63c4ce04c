"""Recordings of other programs, recognised as jobs and deleted once they are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from asr_app.api.intake import refusal, too_many
from asr_app.api.models import ALIASES, Chosen, Offered
from asr_app.api.waiting import Waiting
from asr_app.api_errors import ApiError
from asr_app.audio import Limits
from asr_app.datatypes import ModelCard, Options, Segment, Transcript
from asr_app.errors import UserError
from asr_app.families.base import require
from asr_app.jobs import Jobs
from asr_app.languages import language_code
from asr_app.live.desk import Desk
from asr_app.live.events import Event
from asr_app.live.stream import Stream
from asr_app.neighbours.recordings import Arrival, Pcm, Room
from asr_app.turns import MOST_WAITING


@dataclass(frozen=True)
class Wanted:
    """A checked request. With `is_raw` its recording is samples of 16 bit at 16 kHz, mono, without a header."""

    chosen: Chosen
    options: Options
    is_raw: bool = False


class Recognition:
    """Takes recordings in, and waits for their transcripts."""

    def __init__(self, jobs: Jobs, desk: Desk, offered: Offered, limits: Limits) -> None:
        self.offered = offered
        self._jobs, self._desk, self._limits, self._waiting = jobs, desk, limits, Waiting(jobs)

    def room(self) -> Room:
        """Room for one recording."""
        return Room(self._jobs.journal.storage, self._limits.max_bytes)

    def arrival(self, pcm: Pcm | None = None) -> Arrival:
        """A recording to write to; of samples without a header with `pcm`."""
        return Arrival(self.room(), pcm)

    def live(self, wanted: Wanted, listener: Callable[[Event], None]) -> Stream:
        """A stream of live speech. Raises ApiError if too many are open."""
        try:
            return self._desk.open(wanted.chosen.card, wanted.chosen.precision, wanted.options, listener)
        except UserError as error:
            raise too_many(error.en) from error

    def chosen(self, name: str = "") -> Chosen:
        """The model of that name, by default the server's. Raises ApiError for one that is not here."""
        return self.offered.find(name or ALIASES[0])

    async def transcript(
        self, arrival: Arrival, name: str, chosen: Chosen, options: Options, client: str,
        is_gone: Callable[[], Awaitable[bool]],
        on_segments: Callable[[Sequence[Segment]], Awaitable[None]] | None = None,
    ) -> Transcript:  # fmt: skip
        """The transcript of a recording that is whole; each chunk's segments before. Nothing of the job is left.

        Raises ApiError for a job that is refused or fails, and where `is_gone` says that nobody waits for it.
        """
        job = await anyio.to_thread.run_sync(self._submit, arrival, name, chosen, options, client)
        try:
            return await self._waiting.transcript(job, is_gone, on_segments)
        finally:
            await self._waiting.discard(job)

    def _submit(self, arrival: Arrival, name: str, chosen: Chosen, options: Options, client: str) -> str:
        if self._jobs.journal.waiting(client) >= MOST_WAITING:
            raise too_many(f"{MOST_WAITING} of your recordings are waiting already. Try again later.")
        arrival.close()
        try:
            return self._jobs.submit(
                arrival.path, Path(name).name or "recording", chosen.card.key, chosen.precision, options, client=client,
                is_request=True,
            )  # fmt: skip
        except UserError as error:
            raise refusal(error) from error


def options_for(
    card: ModelCard, *, language: str = "", hotwords: Sequence[str] = (), prompt: str = "", itn: bool | None = None,
    translate: bool = False,
) -> Options:  # fmt: skip
    """The options of a client that does not know which model runs. Raises ApiError for those that cannot be.

    A language that the model knows but cannot be told, a prompt and `itn` have no effect where the model lacks them:
    clients of one model send them always.
    """
    code = "" if language.strip().lower() in ("", "auto") else language_code(language)
    if code and code not in card.languages:
        known = ", ".join(card.languages)
        raise ApiError(422, f"{card.id} does not know the language {code!r}. Choose one of: {known}.", "language")
    made = Options(
        hotwords=tuple(hotwords),
        language=code if code and "language" in card.capabilities else None,
        itn=itn if "itn" in card.capabilities else None,
        translate=translate,
        prompt=prompt if "prompt" in card.capabilities else "",
    )
    try:
        require(card, made)
    except UserError as error:
        raise ApiError(422, error.en) from error
    return made

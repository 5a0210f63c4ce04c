"""Recordings into transcripts: by one engine of this process. A failure is a result, not an exception."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol

from asr_app import pipeline
from asr_app.audio import Limits
from asr_app.batch.sources import Source
from asr_app.datatypes import ModelCard, Options, Transcript
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.hub import OnProgress
from asr_app.loading import Loaded
from asr_app.precision import Precision

log = logging.getLogger(__name__)

Outcome = Transcript | UserError


class Recogniser(Protocol):
    """Recognises recordings, in any order. Sources are taken as they are needed, so that little of them is begun."""

    def prepare(self) -> None:
        """Loads the model. Raises UserError if that cannot be done."""
        ...

    def outcomes(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Outcome]]:
        """Yields each source once, with its transcript or the reason why there is none."""
        ...


class Local:
    """One engine in this process. `limits` bound each recording."""

    def __init__(
        self, engines: Engines, card: ModelCard, precision: Precision, options: Options, limits: Limits,
        downloading: OnProgress | None = None,
    ) -> None:  # fmt: skip
        self._engines, self._card, self._precision = engines, card, precision
        self._options, self._limits, self._downloading = options, limits, downloading

    def prepare(self) -> None:
        """Loads the model, which then stays in memory. Raises UserError if that cannot be done."""
        with self._engines.use(self._card, self._precision, self._downloading):
            pass
        if self._options.speakers:
            with self._engines.speakers(self._card, self._downloading):
                pass

    def outcomes(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Outcome]]:
        """Yields each source in order."""
        for source in sources:
            with self._engines.use(self._card, self._precision) as loaded:
                outcome = self._outcome(source, loaded)
            yield source, outcome

    def _outcome(self, source: Source, loaded: Loaded) -> Outcome:
        at = partial(self._engines.use, self._card)
        try:
            speakers = partial(self._engines.speakers, self._card)
            return pipeline.transcribe(source.path, loaded, self._options, self._limits, at, speakers)
        except UserError as error:
            return error
        except Exception as error:  # the other recordings are still wanted; the traceback goes to the log
            log.exception("%r: recognition failed", source.name)
            what = type(error).__name__
            return UserError(
                f"Recognition failed ({what}). The traceback is in the log of this run. Try this recording alone, or "
                "another model.",
                f"识别失败（{what}）。详情见本次运行的日志。请单独尝试该录音，或换用其他模型。",
            )

"""The page's timer. Each look at the server sends what has changed since the page's last look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import View
from asr_app.precision import Precision
from asr_app.startup import Preparer
from asr_app.ui import arrival as band
from asr_app.ui import models, render
from asr_app.ui import result as right
from asr_app.ui.arrival import Arrival
from asr_app.ui.inputs import Inputs
from asr_app.ui.result import Result
from asr_app.ui.texts import LANGUAGES

POLL_S = 0.6  # while there is something to see
IDLE_POLL_S = 5.0


@dataclass(frozen=True)
class Shown:
    """What a page shows, as far as another look may change it. Kept on the server, one a page."""

    job: str = ""
    state: str = ""
    heard_s: float = 0.0  # to the end of the last segment
    language: str = ""
    model: str = ""
    resident: tuple[str, ...] = ()
    measured: int = 0
    busy: bool = False
    failed: bool = False
    home: str = ""
    on_its_way: str = ""


@dataclass(frozen=True)
class Watch:
    """The parts of the page and of the server that a look connects."""

    arrival: Arrival
    inputs: Inputs
    result: Result
    cards: Mapping[str, ModelCard]
    engines: Engines
    jobs: Jobs
    preparer: Preparer

    def connect(self, job_id: gr.BrowserState, language: gr.Radio, quiet: Mapping[str, Any]) -> None:
        """Starts the timer, and looks at once where the job, the model or the language changes."""
        shown = gr.State(Shown())
        timer = gr.Timer(POLL_S)
        model = self.inputs.models.model

        def look(job: str, label: str, before: Shown, key: str) -> dict[Any, Any]:
            view = self.jobs.observe(job) if job else None
            now = self._shown(job, view, LANGUAGES[label], key)
            out = self._moving(view, now)
            if now != before:
                out |= self._changed(view, before, now)
                out |= {shown: now, timer: gr.Timer(POLL_S if now.busy else IDLE_POLL_S)}
            return out

        watched = [
            *self.arrival.components, *self.result.components, model, *self.inputs.models.described, self.inputs.evidence,
            self.inputs.cancel, shown, timer,
        ]  # fmt: skip
        event: dict[str, Any] = dict(
            fn=look, inputs=[job_id, language, shown, model], outputs=watched, concurrency_limit=None, **quiet
        )
        timer.tick(**event, trigger_mode="once")  # a slow tunnel gets no second tick before the first is answered
        changes: list[Callable[..., Any]] = [job_id.change, model.change, language.change]
        gr.on(changes, **event, trigger_mode="always_last")

    def _shown(self, job: str, view: View | None, language: str, key: str) -> Shown:
        current = self.preparer.current
        return Shown(
            job=job,
            state=view.state if view else "",
            heard_s=view.segments[-1].end_s if view and view.segments else 0.0,
            language=language,
            model=key,
            resident=tuple(f"{x.card.key} {x.precision.requested.value}" for x in self.engines.resident()[:1]),
            measured=len(self.engines.evidence.of(key)),
            busy=current is not None or (view is not None and not view.finished),
            failed=self.preparer.failure is not None,
            home=self.preparer.home,
            on_its_way=current.card.key if current else "",
        )

    def _moving(self, view: View | None, now: Shown) -> dict[Any, Any]:
        """What moves from look to look: the bars of the job, and of the model that is on its way."""
        waits = view is not None and view.model == now.on_its_way
        out: dict[Any, Any] = {self.result.progress: render.progress(view, waits, now.language)}
        if now.on_its_way:
            out |= self._band(now)
        return out

    def _band(self, now: Shown) -> dict[Any, Any]:
        resident = self.engines.resident()
        return band.updates(self.arrival, self.preparer, resident, self.cards[now.model], now.language)

    def _changed(self, view: View | None, before: Shown, now: Shown) -> dict[Any, Any]:
        text = (now.job, now.state, now.heard_s, now.language) != (
            before.job, before.state, before.heard_s, before.language,
        )  # fmt: skip
        recording = now.job != before.job or (now.state == "failed") != (before.state == "failed")
        out = self._band(now) | right.updates(
            self.result, view, now.language, transcript_changed=text, recording_changed=recording
        )
        out[self.inputs.evidence] = self._evidence(now)
        out[self.inputs.cancel] = gr.update(interactive=view is not None and not view.finished)
        if (now.on_its_way, now.home, now.state) != (before.on_its_way, before.home, before.state):
            out[self.inputs.models.model] = self._listed(before, now)
            card = self.cards[now.model]
            described = models.describe(card, self.cards, self.engines.hub_name, now.language)
            out |= dict(zip(self.inputs.models.described, described, strict=True))
        return out

    def _listed(self, before: Shown, now: Shown) -> Any:
        """The update of the model's list: one more may be on the disk, and `home` may be another model."""
        update: dict[str, Any] = {"groups": models.groups(self.cards, self.engines.hub_name, now.language)}
        if before.home and now.home != before.home and now.model == before.home:
            update["value"] = now.home  # who has chosen another model keeps it
        return gr.update(**update)

    def _evidence(self, now: Shown) -> str:
        measured = self.engines.evidence.of(now.model)
        try:
            lite = self.engines.choose(self.cards[now.model], True, None)
        except UserError:  # every lower precision has failed its self-check: said beside the switch
            lite = None
        compared = self.jobs.journal.compare(now.model, self.engines.device, Precision.FP32, lite) if lite else None
        return render.evidence(compared, measured, lite, self.engines.evidence.busy, now.language)

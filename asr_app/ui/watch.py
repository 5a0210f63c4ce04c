"""Updates of Gradio's components for what happens on the server: the model that arrives, measurements, a job's end.

page.js looks at the server (news.py) and asks for these updates when there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from asr_app import speeds
from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.observer import Observer
from asr_app.precision import Precision
from asr_app.startup import Preparer
from asr_app.ui import arrival as band
from asr_app.ui import choices, models, options, presets, render
from asr_app.ui.arrival import Arrival
from asr_app.ui.compare import tab as compare
from asr_app.ui.inputs import Inputs
from asr_app.ui.texts import LANGUAGES


@dataclass(frozen=True)
class Standing:
    """State of the server, as far as the components show it. `measured` counts precisions of the chosen model."""

    resident: tuple[str, ...] = ()
    measured: int = 0
    busy_machine: bool = False
    failed: str = ""
    home: str = ""
    on_its_way: str = ""


def standing(engines: Engines, preparer: Preparer, model: str) -> Standing:
    """The present state, for a page on which the model of that key is chosen."""
    current, failure = preparer.current, preparer.failure
    return Standing(
        resident=tuple(f"{x.card.key} {x.precision.requested.value}" for x in engines.resident()[:1]),
        measured=len(engines.evidence.of(model)),
        busy_machine=engines.evidence.busy,
        failed=failure.card.key if failure else "",
        home=preparer.home,
        on_its_way=current.card.key if current else "",
    )


def _models_of(standing: Standing) -> tuple[Any, ...]:
    """Models that may have come to the disk meanwhile."""
    return standing.on_its_way, standing.home, standing.resident


@dataclass(frozen=True)
class _Shown:
    """State of the server, the model and the language that a page shows."""

    standing: Standing = Standing()
    model: str = ""
    language: str = ""


@dataclass(frozen=True)
class Watch:
    """The parts of the page and of the server that an update connects."""

    arrival: Arrival
    inputs: Inputs
    arms: gr.Dropdown
    cards: Mapping[str, ModelCard]
    engines: Engines
    jobs: Jobs
    preparer: Preparer
    default_precision: str

    def connect(
        self, job_id: gr.BrowserState, kept: gr.BrowserState, language: gr.Radio, quiet: Mapping[str, Any]
    ) -> None:
        """Updates the components where page.js asks for it, and where the job, the model or the language changes.

        All that depends on the chosen model is updated by this one event, which a page sends again only once it has the
        answer. So no late answer for the model chosen before stays.
        """
        before = gr.State(_Shown())
        refresh = gr.Button(visible="hidden", elem_id="refresh")
        model = self.inputs.models.model
        observer = Observer(self.jobs.journal)

        def look(job: str, label: str, shown: _Shown, key: str, choice: dict[str, Any]) -> dict[Any, Any]:
            now = _Shown(standing(self.engines, self.preparer, key), key, LANGUAGES[label])
            status = observer.status(job) if job else None
            out = self._updates(shown, now, choice)
            out[self.inputs.cancel] = gr.update(interactive=status is not None and not status.finished)
            return out | {before: now}

        watched = [
            *self.arrival.components, model, *self.inputs.models.described, self.inputs.preset,
            self.inputs.preset_info, self.inputs.precision, *self.inputs.options.components, self.inputs.evidence, self.inputs.cancel, self.arms, before,
        ]  # fmt: skip
        changes: list[Callable[..., Any]] = [refresh.click, job_id.change, model.change, language.change]
        gr.on(
            changes, look, [job_id, language, before, model, kept], watched, trigger_mode="always_last", **quiet,
        )  # fmt: skip

    def _updates(self, shown: _Shown, now: _Shown, kept: Mapping[str, Any]) -> dict[Any, Any]:
        card, language, inputs = self.cards[now.model], now.language, self.inputs
        out = band.updates(self.arrival, self.preparer, self.engines, card, language)
        out[inputs.evidence] = self._evidence(card, language)
        on_disk = _models_of(shown.standing) != _models_of(now.standing)
        chosen = (shown.model, shown.language) != (now.model, now.language)
        if on_disk:
            out[inputs.models.model] = self._listed(shown.standing, now.standing, card, language)
            out[self.arms] = gr.update(choices=compare.choices(self.cards, self.engines))
        if chosen:
            out[inputs.preset] = presets.update(kept, card, language)
            out[inputs.preset_info] = presets.described(presets.chosen(kept, card), card, language)
            out[inputs.precision] = choices.precision(kept, card, self.default_precision, language)
            out |= zip(inputs.options.components, options.fitted(card, language, kept), strict=True)
        if on_disk or chosen:
            described = models.describe(card, self.cards, self.engines.hub_name, language)
            out |= zip(inputs.models.described, described, strict=True)
        return out

    def _listed(self, before: Standing, now: Standing, card: ModelCard, language: str) -> Any:
        """The update of the model's list: one more may be on the disk, and `home` may be another model."""
        update: dict[str, Any] = {"groups": models.groups(self.cards, self.engines.hub_name, language)}
        if before.home and now.home != before.home and card.key == before.home:
            update["value"] = now.home  # who has chosen another model keeps it
        return gr.update(**update)

    def _evidence(self, card: ModelCard, language: str) -> str:
        measured = self.engines.evidence.of(card.key)
        try:
            lite = self.engines.choose(card, True, None)
        except UserError:  # every lower precision has failed its self-check: said beside the switch
            lite = None
        compared = (
            speeds.compare(self.jobs.journal, card.key, self.engines.device, Precision.FP32, lite) if lite else None
        )
        return render.evidence(compared, measured, lite, self.engines.evidence.busy, language)

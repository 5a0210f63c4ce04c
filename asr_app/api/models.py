"""Names of models in the API: `whisper-base`, `whisper-base@int8`, and OpenAI's names for the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asr_app import catalog, hub
from asr_app.api_errors import ApiError
from asr_app.datatypes import ModelCard
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.precision import Precision, refusal
from asr_app.speakers import source

_RETRY_S = 30  # told to a client while the model is being fetched
# Clients that let nobody choose a model send one of these.
ALIASES = ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")


@dataclass(frozen=True)
class Chosen:
    """A model and the precision at which a request runs."""

    card: ModelCard
    precision: Precision

    @property
    def name(self) -> str:
        return f"{self.card.id}@{self.precision.value}"


class Offered:
    """The models of the API: the start-up's and those on this disk. A request never starts a download.

    A name without a precision runs as the server was started: at FP32, at lite, or at the picked precision.
    """

    def __init__(self, engines: Engines, default: ModelCard, lite: bool, picked: Precision | None) -> None:
        self._engines, self._default, self._lite, self._picked = engines, default, lite, picked

    def cards(self) -> Mapping[str, ModelCard]:
        """The models by their names, the default first."""
        here = [card for card in catalog.CARDS.values() if hub.on_disk(card, self._engines.hub_name)]
        return {card.id: card for card in (self._default, *here)}

    def find(self, name: str) -> Chosen:
        """The model and precision of a `model` field. Raises ApiError for a name that is not offered."""
        wanted, at, precision = name.partition("@")
        cards = self.cards()
        card = self._default if wanted in ALIASES else cards.get(wanted)
        if card is None:
            known = ", ".join((*cards, *ALIASES))
            raise ApiError(
                404, f"There is no model {wanted!r} here. Choose one of: {known}.", "model", "model_not_found"
            )
        if card is self._default and not hub.on_disk(card, self._engines.hub_name):
            raise ApiError(
                503, f"{card.id} is not here yet: the server fetches it.", "model", "model_not_ready", _RETRY_S
            )
        try:
            picked = Precision.parse(precision) if at else self._picked if card is self._default else None
            return Chosen(card, self._engines.choose(card, self._lite, picked))
        except UserError as error:
            raise ApiError(404, error.en, "model", "model_not_found") from error

    def require_speakers(self, card: ModelCard, param: str) -> None:
        """Raises ApiError that names the field `param` if the speaker model is not on this disk."""
        if not source.on_disk(card, self._engines.hub_name):
            raise ApiError(
                400,
                "Speakers cannot be told apart: the speaker model (28 MB) is not on this disk, and a request fetches none. "
                "Transcribe one recording with speakers in the page or by `python -m asr_app transcribe --speakers`.",
                param,
                "speakers_not_available",
            )

    def listed(self) -> Iterator[dict[str, Any]]:
        """Entries of `GET /v1/models`: each model by itself and at each precision that runs here, then the aliases."""
        for card in self.cards().values():
            yield entry(card.id)
            for precision in card.precisions:
                if refusal(precision, catalog.recipes(card), card.precisions, self._engines.device) is None:
                    yield entry(f"{card.id}@{precision.value}")
        yield from (entry(alias) for alias in ALIASES)


def entry(name: str) -> dict[str, Any]:
    """A model object. `created` is unknown, and 0."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "local"}

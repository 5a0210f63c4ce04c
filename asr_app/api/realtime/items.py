"""Items of a session: each utterance's events in OpenAI's form, from its beginning to its transcript."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from asr_app.errors import UserError
from asr_app.live.events import Event, Failed, Final, Partial, SpeechStarted, SpeechStopped
from asr_app.text import is_spaceless, join

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def new_id(kind: str) -> str:
    """`item_...`, `event_...`, `sess_...`."""
    return f"{kind}_{secrets.token_hex(12)}"


@dataclass
class Item:
    """An utterance. `told` is the text of its deltas so far, `last` its last partial text."""

    id: str = field(default_factory=lambda: new_id("item"))
    is_committed: bool = False
    told: str = ""
    last: str = ""

    def delta(self, text: str) -> str:
        """The new text on which this partial text and the last one agree: a delta cannot be taken back."""
        agreed = _agreed(self.last, text)
        self.last = text
        if not agreed.startswith(self.told):
            return ""
        delta, self.told = agreed[len(self.told) :], agreed
        return delta

    def rest(self, transcript: str) -> str:
        """The end of the transcript that no delta told; empty where the deltas said something else."""
        return transcript[len(self.told) :] if transcript.startswith(self.told) else ""


class Items:
    """Turns the events of one stream into those of the protocol. `offset_ms` of audio came before the stream.

    Without `cuts` the client commits: utterances are numbered by its commits and clears.
    """

    def __init__(self, offset_ms: int, *, cuts: bool, beta: bool, last: str | None) -> None:
        self._offset_ms, self._cuts, self._beta = offset_ms, cuts, beta
        self._items: dict[int, Item] = {}
        self._turn = 0
        self.last = last  # the id of the last committed item

    @property
    def is_open(self) -> bool:
        """Whether an utterance has begun that is not committed."""
        return any(not item.is_committed for item in self._items.values())

    def committed(self) -> Iterator[dict[str, Any]]:
        """Events of the client's commit. With `cuts` the stream's own SpeechStopped brings them."""
        if not self._cuts:
            yield from self._commit(self._turn)
            self._turn += 1

    def cleared(self) -> None:
        """Forgets what is not committed."""
        self._items = {number: item for number, item in self._items.items() if item.is_committed}
        self._turn += 1

    def events(self, event: Event) -> Iterator[dict[str, Any]]:
        """The protocol's events for one of the stream, in order."""
        if isinstance(event, SpeechStarted):
            yield {
                "type": "input_audio_buffer.speech_started", "audio_start_ms": self._ms(event.start_s),
                "item_id": self._item(event.utterance).id,
            }  # fmt: skip
        elif isinstance(event, SpeechStopped):
            yield {
                "type": "input_audio_buffer.speech_stopped", "audio_end_ms": self._ms(event.end_s),
                "item_id": self._item(event.utterance).id,
            }  # fmt: skip
            yield from self._commit(event.utterance)
        elif isinstance(event, Partial):
            item = self._item(event.utterance)
            if delta := item.delta(event.text):
                yield _delta(item, delta)
        elif isinstance(event, Final):
            yield from self._completed(event)
        elif isinstance(event, Failed) and event.utterance is not None:
            yield from self._failed(event.utterance, event.error)

    def _completed(self, event: Final) -> Iterator[dict[str, Any]]:
        yield from self._commit(event.utterance)
        item = self._items.pop(event.utterance)
        transcript = join(segment.text for segment in event.segments)
        if rest := item.rest(transcript):
            yield _delta(item, rest)
        yield {
            "type": f"{_TRANSCRIPTION}.completed", "item_id": item.id, "content_index": 0, "transcript": transcript,
            "logprobs": None, "usage": {"type": "duration", "seconds": round(event.end_s - event.start_s, 3)},
        }  # fmt: skip

    def _failed(self, number: int, error: UserError) -> Iterator[dict[str, Any]]:
        if not self._cuts and number >= self._turn:  # a turn that was never committed, and is gone
            self._turn = number + 1
        yield from self._commit(number)
        yield {
            "type": f"{_TRANSCRIPTION}.failed", "item_id": self._items.pop(number).id, "content_index": 0,
            "error": {"type": "transcription_error", "code": "transcription_failed", "message": error.en, "param": None},
        }  # fmt: skip

    def _commit(self, number: int) -> Iterator[dict[str, Any]]:
        item = self._item(number)
        if item.is_committed:
            return
        item.is_committed, before, self.last = True, self.last, item.id
        shown = {
            "id": item.id, "object": "realtime.item", "type": "message", "status": "completed", "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }  # fmt: skip
        yield {"type": "input_audio_buffer.committed", "previous_item_id": before, "item_id": item.id}
        for kind in ("created",) if self._beta else ("added", "done"):
            yield {"type": f"conversation.item.{kind}", "previous_item_id": before, "item": shown}

    def _item(self, number: int) -> Item:
        return self._items.setdefault(number, Item())

    def _ms(self, seconds: float) -> int:
        return self._offset_ms + round(max(0.0, seconds) * 1000)


def _delta(item: Item, text: str) -> dict[str, Any]:
    return {
        "type": f"{_TRANSCRIPTION}.delta", "item_id": item.id, "content_index": 0, "delta": text, "logprobs": None,
    }  # fmt: skip


def _agreed(one: str, other: str) -> str:
    """The whole words at the start of both, without the marks after them."""
    pairs = zip(one, other, strict=False)
    agreed = "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    if any(_goes_on(text, len(agreed)) for text in (one, other)):
        while agreed and not agreed[-1].isspace() and not is_spaceless(agreed[-1]):
            agreed = agreed[:-1]
    while agreed and not agreed[-1].isalnum():
        agreed = agreed[:-1]
    return agreed


def _goes_on(text: str, at: int) -> bool:
    """Whether a word of a script with spaces goes on at this place."""
    return (
        0 < at < len(text)
        and not any(c.isspace() or is_spaceless(c) for c in text[at - 1 : at + 1])
        and text[at].isalnum()
    )

"""Events of a stream, in order. Seconds count from the stream's start; utterances are numbered from 0."""

from __future__ import annotations

from dataclasses import dataclass

from asr_app.datatypes import Segment
from asr_app.errors import UserError


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody began to speak at `start_s`, the padding before the first word included."""

    utterance: int
    start_s: float


@dataclass(frozen=True)
class Partial:
    """Text of the open utterance up to `end_s`. It replaces the utterance's last Partial."""

    utterance: int
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class SpeechStopped:
    """The utterance ended at `end_s`, the padding after the last word included."""

    utterance: int
    end_s: float


@dataclass(frozen=True)
class Final:
    """The utterance's last text, with marks. `segments` is empty if no words were spoken."""

    utterance: int
    start_s: float
    end_s: float
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Failed:
    """The utterance has no Final. With `utterance` None the stream has ended, and this is its last event."""

    utterance: int | None
    error: UserError


@dataclass(frozen=True)
class Ended:
    """The last event after `Stream.finish`: each utterance has its Final."""


Event = SpeechStarted | Partial | SpeechStopped | Final | Failed | Ended

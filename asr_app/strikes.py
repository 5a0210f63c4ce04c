"""Places where hotwords changed a transcript, as values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Strike:
    """A place where a hotword changed the text, from `start_s` to `end_s` (seconds, on the clock of its segment).

    `heard` is the text without the hotword, `meant` the text with it. `meant` begins at character `at` of the segment's
    text; `at` is -1 where it is not in the text. `hotword` is the user's line. It is empty for a change that the model
    made beside its hotwords.
    """

    start_s: float
    end_s: float
    heard: str
    meant: str
    hotword: str
    at: int = -1

    def shifted(self, by_s: float) -> Strike:
        """The same strike `by_s` later."""
        return replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s)

    def as_row(self) -> list[Any]:
        """For the journal's JSON; `Strike(*row)` is the inverse."""
        return [self.start_s, self.end_s, self.heard, self.meant, self.hotword, self.at]


@dataclass(frozen=True)
class HotwordEffect:
    """The effect of one line of hotwords on a transcript; without `strikes` it had none.

    `found` counts how often the text has the word. `way` is the way in which the line works: "rule" (`heard => meant`),
    "pinyin", "spelling", "model" (the model takes hotwords), or "none" for a bare word that cannot be matched by sound.
    """

    hotword: str
    way: str
    found: int
    strikes: tuple[Strike, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For the JSON of the transcript and of the journal."""
        return {
            "hotword": self.hotword, "way": self.way, "found": self.found,
            "strikes": [
                {"start": round(s.start_s, 3), "end": round(s.end_s, 3), "heard": s.heard, "meant": s.meant}
                for s in self.strikes
            ],
        }  # fmt: skip

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> HotwordEffect:
        """Inverse of `as_dict`; the strikes have no place in a text."""
        strikes = tuple(Strike(s["start"], s["end"], s["heard"], s["meant"], data["hotword"]) for s in data["strikes"])
        return HotwordEffect(data["hotword"], data["way"], data["found"], strikes)

"""The speakers of a recording: the option that asks for them, and those that were found, as a value and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asr_app.errors import UserError

MOST_SPEAKERS = 15
OFF, AUTO = "off", "auto"


def parse_count(text: str) -> tuple[bool, int | None]:
    """Whether speakers are told apart, and their number; None leaves the number to the clustering.

    `text` is "off", "auto" or a number. Raises UserError for anything else.
    """
    said = text.strip().lower()
    if said in ("", OFF, "false"):
        return False, None
    if said in (AUTO, "true"):
        return True, None
    if not (said.isascii() and said.isdigit() and 1 <= int(said) <= MOST_SPEAKERS):
        raise UserError(
            f"Speakers: {text[:40]!r} is not a number from 1 to {MOST_SPEAKERS}. Use a number, or {AUTO}.",
            f"说话人：{text[:40]!r} 不是 1 到 {MOST_SPEAKERS} 的整数。请输入数字，或使用 {AUTO}。",
        )
    return True, int(said)


@dataclass(frozen=True)
class People:
    """The speakers that were found: S1, S2, ... in the order in which they first speak.

    `names` are those that a person gave to them in the page. `asked` is the number that was asked for, None if it was
    left open. `model` is the model of the voices, at FP32 with `weight_bytes` in memory.
    """

    labels: tuple[str, ...]
    model: str
    weight_bytes: int
    asked: int | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, label: str) -> str:
        """The name to show for a label."""
        return self.names.get(label, label)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON of the transcript and of the journal."""
        return {
            "found": list(self.labels), "names": dict(self.names), "asked": self.asked, "model": self.model,
            "precision": "fp32", "weight_bytes": self.weight_bytes,
        }  # fmt: skip

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> People:
        """Inverse of `as_dict`."""
        return People(tuple(data["found"]), data["model"], data["weight_bytes"], data["asked"], dict(data["names"]))

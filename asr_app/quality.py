"""The quality of a recording, and what its user should know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something about a recording that its user should know; `code` names a text of the page, `figures` fill it.

    Codes: "quiet", "over_full_scale", "clipped", "narrow_band", "noisy", "no_sound", "mostly_silent",
    "cancelling_channels", "silent_channels", "tracks", "other_track", "late_start", "holes", "breaks_off".
    """

    code: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Recording:
    """Quality of a recording, measured while decoding: levels in dBFS before levelling.

    `speech_db` is the active level (ITU-T P.56) and None for digital silence, `noise_db` the level of the quietest
    tenth, `bandwidth_hz` the upper end of the spectrum (at most 8000), `silence` the share of pauses, 0 to 1.
    """

    speech_db: float | None
    noise_db: float | None
    bandwidth_hz: int | None
    silence: float
    findings: tuple[Finding, ...] = ()

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio. It is too low for a recording without pauses, which show the noise."""
        return None if self.speech_db is None or self.noise_db is None else round(self.speech_db - self.noise_db, 1)

    def as_dict(self) -> dict[str, Any]:
        """Fields for the JSON of the transcript and of the journal."""
        return {
            "speech_db": self.speech_db,
            "noise_db": self.noise_db,
            "snr_db": self.snr_db,
            "bandwidth_hz": self.bandwidth_hz,
            "silence": self.silence,
            "findings": [{"code": f.code, **f.figures} for f in self.findings],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Recording:
        """Inverse of `as_dict`."""
        findings = tuple(Finding(f["code"], {k: v for k, v in f.items() if k != "code"}) for f in data["findings"])
        return Recording(data["speech_db"], data["noise_db"], data["bandwidth_hz"], data["silence"], findings)

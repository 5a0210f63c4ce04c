"""Finds where speech begins and ends in a stream, by the probability of speech in each frame of 32 ms."""

from __future__ import annotations

from dataclasses import dataclass

from asr_app.datatypes import SAMPLE_RATE
from asr_app.vad import FRAME

_FRAME_S = FRAME / SAMPLE_RATE
ONSET_FRAMES = 3  # in a row: a spoken digit can be this short
_HYSTERESIS = 0.15  # silence begins below the threshold by this much, and ends at the threshold


def frames(seconds: float) -> int:
    """The number of frames nearest to `seconds`, at least 1."""
    return max(1, round(seconds / _FRAME_S))


@dataclass(frozen=True)
class Ending:
    """An utterance ends after `silence_s` without speech, and keeps `padding_s` of sound before and after its speech.

    A frame is speech from the probability `threshold` on.
    """

    threshold: float = 0.5
    silence_s: float = 0.5
    padding_s: float = 0.3


AT_PAUSES = Ending()


class Endpointer:
    """Takes the probabilities in order. `silent` counts the frames of silence since the last speech."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self.speaking = False
        self.silent = self._onset = 0

    def take(self, probability: float) -> bool:
        """Whether speech begins or ends with this frame: `speaking` has changed."""
        if probability >= self._ending.threshold:
            self._onset, self.silent = self._onset + 1, 0
        elif self.silent or probability < self._ending.threshold - _HYSTERESIS:
            self._onset, self.silent = 0, self.silent + 1
        long_enough = frames(self._ending.silence_s)
        changed = self.silent >= long_enough if self.speaking else self._onset >= ONSET_FRAMES
        if changed:
            self.speaking, self._onset = not self.speaking, 0
        return changed

    def reset(self) -> None:
        """Forgets the speech so far, as after the end of an utterance."""
        self.speaking, self._onset, self.silent = False, 0, 0

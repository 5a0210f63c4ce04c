"""The whole way from a recording and its sentences to sentences with speakers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asr_app.datatypes import Audio, Chunk, Segment
from asr_app.speakers.campplus import CamPlusPlus
from asr_app.speakers.clusters import cluster
from asr_app.speakers.turns import Turn, attributed, turns_of
from asr_app.speakers.windows import samples_of, windows_of


def speech_in(chunks: Sequence[Chunk]) -> list[tuple[float, float]]:
    """Start and end of each stretch of speech in the recording, in seconds. Stretches that touch are one."""
    spans: list[tuple[float, float]] = []
    for start_s, end_s in ((chunk.start_s + a, chunk.start_s + b) for chunk in chunks for a, b in chunk.speech):
        if spans and start_s <= spans[-1][1] + 1e-6:
            spans[-1] = (spans[-1][0], end_s)
        else:
            spans.append((start_s, end_s))
    return spans


def find_turns(
    audio: Audio, spans: Sequence[tuple[float, float]], model: CamPlusPlus, count: int | None,
    done: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Turn]:  # fmt: skip
    """The turns of the speakers in `spans` of speech. Two people who speak at once count as one of them.

    `count` is the number of speakers, None if it is not known. `done` is told the windows that are done and all of
    them, and may raise Cancelled. Without a stretch of 0.3 s or more there are no turns but one.
    """
    windows = windows_of(spans)
    if not windows:
        return [Turn(spans[0][0], spans[-1][1], 0)] if spans else []
    cut = (samples_of(window, audio.samples) for window in windows)
    embeddings = model.embed(cut, lambda n: done(n, len(windows)))
    return turns_of(windows, cluster(embeddings, count).tolist())


def tell_apart(
    audio: Audio, chunks: Sequence[Chunk], segments: Sequence[Segment], model: CamPlusPlus, count: int | None,
    done: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[list[Segment]]:  # fmt: skip
    """The pieces of each segment with their speakers. `chunks` are all that the recording was cut into."""
    return attributed(segments, find_turns(audio, speech_in(chunks), model, count, done))

"""Jobs in a journal that no model has run, for tests of what becomes of their lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asr_app.datatypes import Options, Segment, StageTimes, Transcript, Word
from asr_app.journal import Journal
from asr_app.precision import Precision, PrecisionReport

MODEL = "demo-paraformer"


def timed(start_s: float, text: str, each_s: float = 0.5) -> Segment:
    """A segment whose words, at the spaces, have `each_s` seconds each."""
    words = [Word(start_s + i * each_s, start_s + (i + 1) * each_s, word) for i, word in enumerate(text.split())]
    return Segment(start_s, start_s + max(1, len(words)) * each_s, text, tuple(words))


def done(
    journal: Journal, job: str, segments: Sequence[Segment], precision: Precision = Precision.INT8, *, model: str = MODEL,
    digest: str = "", options: Options | None = None, recording: Path | None = None,
) -> str:  # fmt: skip
    """A job that is done, with these segments, each of a chunk of its own. Returns its id."""
    kept = recording or journal.recordings / f"{job}.wav"
    journal.add(job, f"{job}.wav", kept, model, precision, options or Options(), digest=digest)
    for segment in segments:
        journal.write_chunk(job, segment.end_s, [segment], (), 1.0, 1.0, 0.0, StageTimes())
    held = {"weights": 1, "peak_rss": 1}
    report = PrecisionReport(precision, ())
    journal.finish(job, Transcript(tuple(segments), model, report, "cpu", 60.0, StageTimes(), held))
    return job

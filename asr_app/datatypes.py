"""The frozen values that flow through the app, from a file's samples to its transcript."""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asr_app.people import People
from asr_app.precision.enum import Precision
from asr_app.precision.report import PrecisionReport
from asr_app.quality import Recording
from asr_app.sources import Source
from asr_app.strikes import HotwordEffect, Strike
from asr_app.text import join

SAMPLE_RATE = 16_000  # Hz; every array of samples in the app has this rate


@dataclass(frozen=True)
class Audio:
    """A decoded recording: float32 samples `(n,)` in [-1, 1] at 16 kHz, and a name to show.

    `mapped` is the memory-mapped file of the samples, if any. They are never written to. `recording` is the quality of
    the file; None for samples that were not decoded from a file.
    """

    samples: np.ndarray
    name: str
    mapped: mmap.mmap | None = None
    recording: Recording | None = None

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def leave_memory(self) -> None:
        """Drops the mapped samples from memory. The next access reads them from the file again. Thread-safe."""
        if self.mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self.mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Chunk:
    """One stretch of speech, no longer than the family takes. `start_s` counts from the file's start.

    `speech` are the start and end of each span of speech that the VAD found in it, in seconds from the chunk's start.
    """

    start_s: float
    samples: np.ndarray
    speech: tuple[tuple[float, float], ...] = ()

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Word:
    """A Mandarin character or a Latin word, without punctuation; seconds from the start of chunk or file.

    `confidence` is the probability, 0 to 1, that the decoder gave to the word's least likely token; None from a model
    that gives none. It is no probability that the word is right (docs/doubt.md). `strike` is that of
    a model's own hotwords which begins at this word, until its sentence is complete.
    """

    start_s: float
    end_s: float
    text: str
    confidence: float | None = None
    strike: Strike | None = None

    def shifted(self, by_s: float) -> Word:
        """The same word `by_s` later."""
        strike = self.strike and self.strike.shifted(by_s)
        return Word(self.start_s + by_s, self.end_s + by_s, self.text, self.confidence, strike)


@dataclass(frozen=True)
class Change:
    """The last change of a line, number `number` of the journal.

    `kind` is "corrected" or "confirmed" (by a person), "redone" (by the model and precision named in `by`), or
    "original" if the text of the job's model was put back. `original` is that text.
    """

    number: int
    kind: str
    original: str
    by: str = ""

    def as_dict(self) -> dict[str, str]:
        """Fields for the JSON of the transcript."""
        return {"kind": self.kind, "model_said": self.original, **({"by": self.by} if self.by else {})}


@dataclass(frozen=True)
class Segment:
    """A sentence or phrase, as subtitles show it. `words` is empty if the model gives no word times.

    `strikes` are the places where hotwords changed it. `change` is None for the text of the job's model that nobody has
    changed.
    """

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    language: str | None = None
    tags: tuple[str, ...] = ()
    strikes: tuple[Strike, ...] = ()
    change: Change | None = None

    def shifted(self, by_s: float) -> Segment:
        """The same segment `by_s` later: from chunk time to file time."""
        words = tuple(w.shifted(by_s) for w in self.words)
        strikes = tuple(s.shifted(by_s) for s in self.strikes)
        return dataclasses.replace(
            self, start_s=self.start_s + by_s, end_s=self.end_s + by_s, words=words, strikes=strikes
        )


@dataclass(frozen=True)
class StageTimes:
    """Seconds of wall clock in each stage of one job. Loading is never hidden in recognition."""

    queue_s: float = 0.0
    decode_s: float = 0.0
    vad_s: float = 0.0
    load_s: float = 0.0
    warmup_s: float = 0.0
    asr_s: float = 0.0
    punctuation_s: float = 0.0
    speakers_s: float = 0.0
    first_text_s: float | None = None  # from the start of the work (not of the wait) to the first words

    @property
    def work_s(self) -> float:
        """Seconds of work on the recording: decoding to speakers, without waiting or loading."""
        return self.decode_s + self.vad_s + self.asr_s + self.punctuation_s + self.speakers_s

    @property
    def total_s(self) -> float:
        return self.queue_s + self.load_s + self.warmup_s + self.work_s


@dataclass(frozen=True)
class Options:
    """The options of a job. A family refuses those that its card's capabilities lack. None leaves the choice to the
    model.

    `itn` writes numbers in digits, `translate` translates into English. `prompt` is a possible preceding text, whose
    style and spelling the model continues. `short_windows` lets a model with encoder windows of a fixed length encode
    only as much as a chunk needs. `languages` limits language detection to those codes; empty is all. `script` is that
    of Chinese text: "simplified", "traditional" or "as-heard"; None is the language's default. Without `retries` a
    chunk is decoded only once: for measuring and checking, not for users. `hotwords` are lines: `heard => meant`, or a
    bare word, for the model if its card has "hotwords", else for a rule by sound. `cuts` are the longest chunk and the
    longest pause inside one in seconds, in place of the model's own: models that are compared share them. `stretch` is
    the start and the end in seconds of the only part that is recognised; None is the whole recording. `emotions` keeps
    the model's labels of emotion; without it, only labels of sound events stay. `speakers` names the speaker of each
    segment; `speaker_count` is their number, None if it is not known. Every model has these two.
    """

    hotwords: tuple[str, ...] = ()
    language: str | None = None
    itn: bool | None = None
    translate: bool = False
    prompt: str = ""
    short_windows: bool = False
    retries: bool = True
    languages: tuple[str, ...] = ()
    script: str | None = None
    cuts: tuple[float, float] | None = None
    stretch: tuple[float, float] | None = None
    emotions: bool = False
    speakers: bool = False
    speaker_count: int | None = None


@dataclass(frozen=True)
class Doubt:
    """A chunk, or a stretch of it, whose first result is not to be trusted.

    `reason` is "not_finite", "loop", "empty" (no words in a chunk with speech) or "unheard" (no words in a stretch of
    it with speech). `redone_at` is the precision of the text; None if it could not be recognised again, so that the
    first text stays. An unheard stretch is recognised again at the same precision, alone and levelled.
    """

    start_s: float
    end_s: float
    reason: str
    redone_at: Precision | None


@dataclass(frozen=True)
class Transcript:
    """The result of a job.

    `memory` holds bytes: `weights` in memory, `disk` of the files they are loaded from, `peak_rss` of the process,
    `peak_added` of the peak above what the process held without the model, on CUDA `peak_device`. `given_back` is set
    if other models were unloaded for this one. `load_s` is what loading and warm-up of the model took, whichever job
    waited for it. `script` is that of the Chinese text, None without
    any. `short_windows` is True if the encoder got only as much as each chunk needed, None for a model without that
    choice. `hotwords` are the effects of the lines that were asked for. `speakers` is None if nobody asked for them. `timestamps` is the source of the times: the "model", or the "vad" for a model without times, whose
    sentences share a stretch of speech by their letters.
    """

    segments: tuple[Segment, ...]
    model_id: str
    precision: PrecisionReport
    device: str
    audio_s: float
    times: StageTimes
    memory: Mapping[str, int] = field(default_factory=dict)
    timestamps: str = "model"
    doubts: tuple[Doubt, ...] = ()
    script: str | None = None
    recording: Recording | None = None
    short_windows: bool | None = None
    load_s: float = 0.0
    hotwords: tuple[HotwordEffect, ...] = ()
    speakers: People | None = None

    @property
    def text(self) -> str:
        return join(s.text for s in self.segments)

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work a second of audio."""
        return self.times.work_s / self.audio_s if self.audio_s else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The JSON of the command line, the downloads and the journal."""
        return {
            "text": self.text,
            "segments": [
                {
                    "start": round(s.start_s, 3),
                    "end": round(s.end_s, 3),
                    "text": s.text,
                    "words": [
                        {"start": round(w.start_s, 3), "end": round(w.end_s, 3), "text": w.text}
                        | ({} if w.confidence is None else {"confidence": round(w.confidence, 3)})
                        for w in s.words
                    ],
                    **({"speaker": s.speaker} if s.speaker else {}),
                    **({"language": s.language} if s.language else {}),
                    **({"tags": list(s.tags)} if s.tags else {}),
                    **({"change": s.change.as_dict()} if s.change and s.change.kind != "original" else {}),
                }
                for s in self.segments
            ],
            "model": self.model_id,
            "precision": {"requested": self.precision.requested.value, "effective": self.precision.as_dict()},
            "device": self.device,
            "timestamps": self.timestamps,
            **({"script": self.script} if self.script else {}),
            **({} if self.short_windows is None else {"short_windows": self.short_windows}),
            **({"hotwords": [effect.as_dict() for effect in self.hotwords]} if self.hotwords else {}),
            **({"speakers": self.speakers.as_dict()} if self.speakers else {}),
            "duration_s": round(self.audio_s, 3),
            "times": {k: None if v is None else round(v, 4) for k, v in dataclasses.asdict(self.times).items()}
            | {"total_s": round(self.times.total_s, 4)},
            "rtf": round(self.rtf, 5),
            "load_s": round(self.load_s, 3),
            "memory": dict(self.memory),
            "doubts": [
                {
                    "start": round(d.start_s, 3),
                    "end": round(d.end_s, 3),
                    "reason": d.reason,
                    "redone_at": d.redone_at and d.redone_at.value,
                }
                for d in self.doubts
            ],
            "recording": self.recording and self.recording.as_dict(),
        }


@dataclass(frozen=True)
class ModelCard:
    """The catalog's entry for a model, known before a byte of it is loaded.

    `sources` maps the roles of a family ("model", and perhaps "vad", "punctuation") to their sources, in the order in
    which they are tried. `directory`, if set, is a local folder or file that replaces the "model" source. Speech is
    packed into chunks of at most `max_chunk_s` over pauses of at most `max_gap_s`, and recognised `chunks_a_batch` at a
    time. With `retry_stretches` speech without words is recognised again, since a decoder may skip quiet speech between
    loud. The first half precision in `precisions` is that of lite mode on a GPU. `capabilities` are the options and
    features: "language", "languages" (detection among some only), "itn", "hotwords", "prompt", "translate",
    "word_timestamps", "confidence" (of words), "punctuation" (its own), "punctuation_model" (by another model),
    "emotion", "events". `good_for` names the text of the page about the model's languages and uses.
    """

    id: str
    family: str
    title: str
    sources: Mapping[str, tuple[Source, ...]]
    size_mb: int
    languages: tuple[str, ...]
    licence: str
    max_chunk_s: float
    precisions: tuple[Precision, ...]
    capabilities: frozenset[str]
    note: str = ""
    good_for: str = ""
    vad: str = "silero"
    max_gap_s: float = 0.6
    chunks_a_batch: int = 1
    retry_stretches: bool = False
    directory: str | None = None

    @property
    def key(self) -> str:
        """The name by which jobs, engines and evidence know the model: its id, or the path of a local folder."""
        return self.directory or self.id

"""Turns sentences and voices into corpora on disk: log-mel features for training, samples for evaluation.

A corpus is a folder with `features.npy` (float16, every utterance's frames one after another) and `index.jsonl`
(the fields of `Utterance`). It is made once per seed and size, then reused.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import random
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from asr_app.datatypes import SAMPLE_RATE
from training import augment, voices
from training.vocabulary import EN_DIGITS, Sentence, draw, draw_english

# Shares of English single digits, the shortest words and those real people are tested on: real voices are further from
# a synthesiser's than one synthesiser's are from another's, so that training hears many more of them than the sets do.
_SINGLE_DIGITS_HEARD, _SINGLE_DIGITS_ASKED = 0.2, 0.08

WHISPER_SCALE = 2.0**30  # power of samples of 16 bits over that of samples in [-1, 1]
Features = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Utterance:
    """A sentence in the corpus: `frames` of log-mel from frame `start` of the `part`-th of its arrays."""

    language: str
    text: str
    start: int
    frames: int
    prosody: str = "neutral"
    part: int = 0

    @property
    def tokens(self) -> list[str]:
        return Sentence(self.language, self.text).tokens


@dataclass(frozen=True)
class Corpus:
    features: tuple[np.ndarray, ...]  # each float16 (frames, 80), memory-mapped
    utterances: list[Utterance]

    def mel(self, u: Utterance) -> torch.Tensor:
        """Natural-log mel energies, float32 `(u.frames, 80)`."""
        return torch.from_numpy(self.features[u.part][u.start : u.start + u.frames].astype(np.float32))

    def more_of(self, times: int, wanted: Callable[[Utterance], bool]) -> Corpus:
        """The corpus with the `wanted` utterances repeated `times` more."""
        return Corpus(self.features, self.utterances + times * [u for u in self.utterances if wanted(u)])

    def joined(self, other: Corpus) -> Corpus:
        """Both corpora as one."""
        moved = [dataclasses.replace(u, part=u.part + len(self.features)) for u in other.utterances]
        return Corpus(self.features + other.features, self.utterances + moved)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Features of FunASR's front end before stacking and normalising: float32 `(frames, 80)`, 10 ms apart."""
    from funasr.frontends.wav_frontend import WavFrontend

    frontend = WavFrontend(dither=0.0, lfr_m=1, lfr_n=1)
    features, _ = frontend(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    return features[0].numpy()


def whisper_log_mel(samples: np.ndarray) -> np.ndarray:
    """Whisper's filters on the scale of `log_mel` (natural log, samples of 16 bits), before its clamp and shift."""
    from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

    x = torch.from_numpy(samples.astype(np.float32))
    spectrum = torch.stft(x, N_FFT, HOP_LENGTH, window=torch.hann_window(N_FFT), return_complex=True)
    power = mel_filters("cpu", augment.N_MELS) @ spectrum[..., :-1].abs().square()
    return (power.clamp(min=1e-10) * WHISPER_SCALE).log().T.contiguous().numpy()


def sentences(
    count: int,
    seed: int,
    *,
    held_out: bool | None,
    single_digits: float,
    draw_one: Callable[[random.Random], Sentence] = draw,
) -> Iterator[Sentence]:
    """`count` sentences; `held_out` True: only texts kept from training, False: only others, None: any.

    `single_digits` is the share of single English digits among those drawn, before held-out ones are removed.
    """
    r = random.Random(seed)
    while count:
        sentence = Sentence("en", r.choice(EN_DIGITS) + ".") if r.random() < single_digits else draw_one(r)
        if held_out is None or sentence.held_out == held_out:
            count -= 1
            yield sentence


def training_sentences(count: int, seed: int) -> list[Sentence]:
    """Sentences of a corpus of `count` utterances. A third of them is additional English.

    English, with seven accents by two synthesisers and longer words, had 6 % errors when Mandarin had 1 %.
    """
    more = count // 3
    any_language = sentences(count - more, seed, held_out=False, single_digits=_SINGLE_DIGITS_HEARD)
    english = sentences(more, seed + 1, held_out=False, single_digits=0.0, draw_one=draw_english)
    return [*any_language, *english]


@dataclass(frozen=True)
class _Job:
    sentence: Sentence
    prosody: str
    features: Features
    seed: int


def _training_utterance(job: _Job) -> tuple[_Job, np.ndarray]:
    torch.set_num_threads(1)
    voice = voices.draw_voice(random.Random(job.seed), job.sentence.language, held_out=False, prosody=job.prosody)
    samples = augment.augment_samples(voices.speak(job.sentence.spoken, voice), np.random.default_rng(job.seed))
    return job, job.features(samples).astype(np.float16)


def training_corpus(folder: Path, count: int, seed: int = 1, features: Features = log_mel) -> Corpus:
    """Corpus of `count` augmented utterances of training texts in training voices, made in `folder` if missing."""
    jobs = [(s, "neutral") for s in training_sentences(count, seed)]
    return _made(folder, jobs, seed, features)


def prosody_corpus(folder: Path, count: int, seed: int = 2) -> Corpus:
    """Corpus of `count` utterances in the manners of `voices.PROSODY`, in turns, made in `folder` if missing."""
    texts = sentences(count, seed, held_out=False, single_digits=0.0)
    return _made(folder, list(zip(texts, itertools.cycle(voices.PROSODY), strict=False)), seed, log_mel)


def _made(folder: Path, said: list[tuple[Sentence, str]], seed: int, features: Features) -> Corpus:
    index, store = folder / "index.jsonl", folder / "features.npy"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [_Job(s, prosody, features, seed * 10_000_000 + i) for i, (s, prosody) in enumerate(said)]
        rows, blocks, start = [], [], 0
        with multiprocessing.get_context("spawn").Pool() as pool:
            made = pool.imap_unordered(_training_utterance, jobs, chunksize=64)
            for job, mel in tqdm(made, total=len(jobs), desc="speech", file=sys.stderr):
                rows.append(Utterance(job.sentence.language, job.sentence.text, start, len(mel), job.prosody))
                blocks.append(mel)
                start += len(mel)
        np.save(store, np.concatenate(blocks))
        index.write_text("".join(json.dumps(dataclasses.asdict(u)) + "\n" for u in rows), encoding="utf-8")
    utterances = [Utterance(**json.loads(line)) for line in index.read_text(encoding="utf-8").splitlines()]
    return Corpus((np.load(store, mmap_mode="r"),), utterances)


def evaluation_set(count: int, *, held_out_voices: bool, seed: int = 7) -> Iterator[tuple[Sentence, np.ndarray]]:
    """Clean speech for evaluation: new sentences in trained voices, or any sentence in voices never trained on.

    Yields the sentence and its samples with a quarter of a second of faint noise around them, at 16 kHz.
    """
    held_out = None if held_out_voices else True
    texts = sentences(count, seed, held_out=held_out, single_digits=_SINGLE_DIGITS_ASKED)
    for i, sentence in enumerate(texts):
        key = zlib.crc32(f"{seed}/{held_out_voices}/{i}".encode())
        samples = voices.speak(
            sentence.spoken, voices.draw_voice(random.Random(key), sentence.language, held_out_voices)
        )
        samples = samples / max(1e-6, float(np.abs(samples).max())) * 0.5
        noise = np.random.default_rng(key).normal(0, 1e-3, len(samples) + SAMPLE_RATE // 2)
        yield sentence, (np.pad(samples, SAMPLE_RATE // 4) + noise).astype(np.float32)


def write_evaluation_set(folder: Path, count: int, *, held_out_voices: bool) -> None:
    """Writes an `evaluation_set` to `folder`: a FLAC an utterance, and refs.tsv. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "refs.tsv").open("w", encoding="utf-8") as table:
        made = evaluation_set(count, held_out_voices=held_out_voices)
        for i, (sentence, samples) in enumerate(tqdm(made, total=count, file=sys.stderr, disable=None)):
            soundfile.write(folder / f"{i:05}.flac", samples, SAMPLE_RATE)
            table.write(f"{i:05}.flac\t{sentence.language}\t{sentence.spoken}\n")

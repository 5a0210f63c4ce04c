"""Conversations of known speakers, put together from recordings of one speaker each.

Each turn has the same loudness, and one noise lies under the whole, so that no speaker is known by either. The
recordings still differ in microphone, room and language.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_app import vad
from asr_app.audio import Limits, decode
from asr_app.datatypes import SAMPLE_RATE, Audio

Turns = tuple[tuple[float, float, str], ...]  # start and end in seconds, and the speaker
Say = Callable[[np.random.Generator], np.ndarray]  # the next utterance of a speaker; empty after the last one
Voice = Callable[[], Say]  # the utterances from the first one on

_LEVEL = 0.05  # root mean square of a turn
_NOISE_DB = -35.0  # of the turns
_PAUSE_S = (0.15, 0.8)
_MANY, _FEW = (3, 6), (2, 3)  # turns of a speaker: with many recordings, and with one clip


@dataclass(frozen=True)
class Mixture:
    """A conversation: samples `(n,)` at 16 kHz, and the stretches of speech by speaker."""

    name: str
    samples: np.ndarray
    turns: Turns

    @property
    def speakers(self) -> int:
        return len({speaker for _, _, speaker in self.turns})


def mixtures(data: Path, tuning: bool, each: int) -> Iterator[Mixture]:
    """`each` mixtures of 1 to 5 speakers of each kind. Those for tuning share no Common Voice clip with the others."""
    rng = np.random.default_rng(1 if tuning else 2)
    known, clips = _known(data, tuning), _clips(data, tuning)
    digits = {name: say for name, say in known.items() if name.startswith("digits")}
    kinds: tuple[tuple[str, Sequence[Mapping[str, Voice]], tuple[int, int], Sequence[int]], ...] = (
        ("known", (known,), _MANY, range(1, len(known) + 1)),
        ("digits", (digits,), _MANY, range(1, len(digits) + 1)),
        ("mandarin", (clips["zh-CN"],), _FEW, range(1, 6)),
        ("english", (clips["en"],), _FEW, range(1, 6)),
        ("languages", tuple(clips.values()), _FEW, range(2, 6)),
    )
    for kind, pools, turns, counts in kinds:
        for count in counts:
            for number in range(each):
                voices = _chosen(rng, pools, count)
                yield _mixed(f"{kind} {count} #{number}", voices, turns, rng)


def _chosen(rng: np.random.Generator, pools: Sequence[Mapping[str, Voice]], count: int) -> dict[str, Say]:
    """`count` speakers: of different pools if there are several, so that nobody is chosen twice under two names."""
    if len(pools) == 1:
        names = rng.choice(sorted(pools[0]), count, replace=False)
        return {name: pools[0][name]() for name in names.tolist()}
    found: dict[str, Say] = {}
    for i in rng.choice(len(pools), count, replace=False):
        name = str(rng.choice(sorted(pools[i])))
        found[name] = pools[i][name]()
    return found


def _mixed(name: str, voices: Mapping[str, Say], turns: tuple[int, int], rng: np.random.Generator) -> Mixture:
    order: list[str] = []
    due = [voice for voice in voices for _ in range(int(rng.integers(turns[0], turns[1] + 1)))]
    rng.shuffle(due)
    for voice in due:  # a speaker does not follow himself where that can be helped
        at = next((i for i in range(len(order), -1, -1) if voice not in order[max(0, i - 1) : i + 1]), len(order))
        order.insert(at, voice)
    pieces: list[np.ndarray] = []
    spoken: list[tuple[float, float, str]] = []
    length = 0
    for voice in order:
        said = voices[voice](rng)
        if not len(said):
            continue
        said = said * (_LEVEL / max(1e-6, float(np.sqrt(np.mean(np.square(said))))))
        pause = np.zeros(int(SAMPLE_RATE * rng.uniform(*_PAUSE_S)), np.float32)
        spans = vad.speech_spans(Audio(said.astype(np.float32), voice))
        spoken += [(length / SAMPLE_RATE + s.start_s, length / SAMPLE_RATE + s.end_s, voice) for s in spans]
        pieces += [said, pause]
        length += len(said) + len(pause)
    samples = np.concatenate(pieces)
    samples = samples + rng.standard_normal(len(samples)) * _LEVEL * 10 ** (_NOISE_DB / 20)
    return Mixture(name, np.clip(samples, -1, 1).astype(np.float32), tuple(spoken))


def _known(data: Path, tuning: bool) -> dict[str, Voice]:
    """Speakers with many recordings. The two halves have other recordings of them, and other speakers of digits."""
    people = ("george", "jackson") if tuning else ("lucas", "nicolas")
    found: dict[str, Voice] = {
        f"digits {name}": _digits(sorted((data / "fsdd").glob(f"?_{name}_*.wav"))) for name in people
    }
    if not tuning:
        found["reader"] = _read(_samples(data / "long" / "LJ001.opus"))
        found["president"] = _read(_samples(data / "clips" / "jfk.flac"))
    half = [path for path in sorted((data / "aishell_s0150").glob("*.flac")) if _is_tuning(path) == tuning]
    found["aishell"] = _sentences(half)
    return found


def _clips(data: Path, tuning: bool) -> dict[str, dict[str, Voice]]:
    """Common Voice's clips by language. Each is taken for a speaker of its own; two may be of one person."""
    found: dict[str, dict[str, Voice]] = {}
    for folder in sorted((data / "speech").iterdir()):
        if folder.is_dir() and folder.name not in (
            "zh-HK",
            "yue",
            "zh-TW",
        ):  # else a mixture might have two of one language
            paths = [path for path in sorted(folder.iterdir()) if _is_tuning(path) == tuning]
            found[folder.name] = {f"{folder.name}/{path.stem}": _clip(path) for path in paths}
    return found


def _is_tuning(path: Path) -> bool:
    return zlib.crc32(path.name.encode()) % 2 == 0


def _samples(path: Path) -> np.ndarray:
    return decode(path, name=path.name, limits=Limits()).samples


def _digits(paths: Sequence[Path]) -> Voice:
    def say(rng: np.random.Generator) -> np.ndarray:
        gap = np.zeros(int(0.12 * SAMPLE_RATE), np.float32)
        chosen = rng.choice(len(paths), int(rng.integers(4, 9)), replace=False)
        return np.concatenate([piece for i in chosen for piece in (_samples(paths[i]), gap)])

    return lambda: say


def _sentences(paths: Sequence[Path]) -> Voice:
    def say(rng: np.random.Generator) -> np.ndarray:
        chosen = rng.choice(len(paths), int(rng.integers(1, 3)), replace=False)
        return np.concatenate([_samples(paths[i]) for i in chosen])

    return lambda: say


def _read(samples: np.ndarray) -> Voice:
    """Pieces of 2 to 6 s of a long recording."""

    def say(rng: np.random.Generator) -> np.ndarray:
        length = int(SAMPLE_RATE * rng.uniform(2, 6))
        start = int(rng.integers(0, max(1, len(samples) - length)))
        return samples[start : start + length]

    return lambda: say


def _clip(path: Path) -> Voice:
    """Halves or thirds of a clip's speech."""

    def pieces() -> list[np.ndarray]:
        samples = _samples(path)
        spans = vad.speech_spans(Audio(samples, path.name))
        if not spans:
            return []
        speech = samples[int(spans[0].start_s * SAMPLE_RATE) : int(spans[-1].end_s * SAMPLE_RATE)]
        return np.array_split(speech, max(2, len(speech) // (2 * SAMPLE_RATE)))

    def voice() -> Say:
        rest = iter(pieces())
        return lambda _: next(rest, np.zeros(0, np.float32))

    return voice

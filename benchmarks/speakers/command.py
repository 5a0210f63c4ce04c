"""`python -m benchmarks speakers`: error of speakers on mixtures, and on a conversation with a reference."""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import vad
from asr_app.audio import Limits, decode
from asr_app.datatypes import Audio, ModelCard
from asr_app.devices import usable_cores
from asr_app.speakers import campplus, source
from asr_app.speakers.campplus import CamPlusPlus
from asr_app.speakers.diarize import find_turns
from benchmarks.speakers.error import error_rate
from benchmarks.speakers.mixtures import Mixture, Turns, mixtures

_COLLAR_S = 0.25


@dataclass(frozen=True)
class Measured:
    """One mixture: its kind, its true and its found number of speakers, rates of error, seconds of speech and of work.

    `known_error` is with the true number given.
    """

    kind: str
    speakers: int
    found: int
    error: float
    collared: float
    known_error: float
    speech_s: float
    work_s: float


def speakers(args: argparse.Namespace) -> int:
    """Prints a table by kind of mixture and by number of speakers, and one line of JSON last."""
    card: ModelCard = source.CARD
    model = campplus.load(source.locate(card, args.hub), "cpu", usable_cores())
    measured = [_measure(mixture, model) for mixture in _mixtures(args)]
    rows = {"all": measured}
    for one in measured:
        rows.setdefault(one.kind, []).append(one)
        rows.setdefault(f"{one.speakers} speakers", []).append(one)
    table = {name: _row(of) for name, of in rows.items()}
    print(f"{model.name}: {len(measured)} mixtures, {sum(m.speech_s for m in measured) / 60:.0f} minutes of speech")
    print(f"{'':<14}{'mixtures':>9}{'DER':>8}{'collar':>8}{'given N':>9}{'N right':>9}{'RTF':>8}")
    for name, row in table.items():
        print(
            f"{name:<14}{row['mixtures']:>9}{row['error']:>8.1%}{row['collared']:>8.1%}{row['known']:>9.1%}"
            f"{row['right']:>9.0%}{row['rtf']:>8.3f}"
        )
    print(json.dumps(table))
    return 0


def _mixtures(args: argparse.Namespace) -> Iterator[Mixture]:
    if args.recording:
        samples = decode(args.recording, name=args.recording.name, limits=Limits()).samples
        yield Mixture(args.recording.stem, samples, _rttm(args.recording.with_suffix(".rttm")))
    else:
        yield from mixtures(args.data, args.tuning, args.each)


def _rttm(path: Path) -> Turns:
    """The turns of an RTTM file: the fields of a line are SPEAKER, file, channel, start, seconds, -, -, speaker."""
    rows = [line.split() for line in path.read_text().splitlines() if line.startswith("SPEAKER")]
    return tuple((float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows)


def _measure(mixture: Mixture, model: CamPlusPlus) -> Measured:
    audio = Audio(mixture.samples, mixture.name)
    spans = [(span.start_s, span.end_s) for span in vad.speech_spans(audio)]
    began = time.perf_counter()
    found = find_turns(audio, spans, model, None)
    work_s = time.perf_counter() - began
    given = find_turns(audio, spans, model, mixture.speakers)
    turns, known = ([(t.start_s, t.end_s, t.speaker) for t in told] for told in (found, given))
    return Measured(
        mixture.name.split()[0], mixture.speakers, len({t.speaker for t in found}), error_rate(mixture.turns, turns),
        error_rate(mixture.turns, turns, _COLLAR_S), error_rate(mixture.turns, known),
        sum(end - start for start, end, _ in mixture.turns), work_s,
    )  # fmt: skip


def _row(measured: Sequence[Measured]) -> dict[str, float]:
    """Figures over mixtures, weighted by their speech."""
    speech_s = sum(one.speech_s for one in measured)
    sums: defaultdict[str, float] = defaultdict(float)
    for one in measured:
        sums["error"] += one.error * one.speech_s / speech_s
        sums["collared"] += one.collared * one.speech_s / speech_s
        sums["known"] += one.known_error * one.speech_s / speech_s
        sums["right"] += (one.found == one.speakers) / len(measured)
        sums["rtf"] += one.work_s / speech_s
    return {"mixtures": len(measured), **sums}


def add_speaker_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), metavar="FOLDER", help="recordings of one speaker each"
    )
    parser.add_argument("--each", type=int, default=4, help="mixtures of each kind and number of speakers; default 4")
    parser.add_argument("--tuning", action="store_true", help="the half of the data on which the distance was chosen")
    parser.add_argument("--recording", type=Path, metavar="FILE", help="a conversation, with its .rttm beside it")
    parser.add_argument("--hub", default="auto")
    parser.set_defaults(run=speakers)

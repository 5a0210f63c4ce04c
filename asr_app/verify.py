"""Runs models at each of their precisions and says what holds: for people with a network, who can have the real ones.

A row of the table is a model at a precision. "pass" is: its files are there, every key of the checkpoint fits, the
numbers it computes are finite, and it writes text that does not loop; else the row says which of them fails. Beside it
stand its error on clips whose words are known, its speed and its memory, for whoever reads it to judge.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import catalog, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import ModelCard, Options
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES, expected, understood_by
from asr_app.hub import OnProgress
from asr_app.loading import load
from asr_app.memory import give_back_memory
from asr_app.precision import Precision, refusal
from asr_app.scoring import score

# A recording and what may be written for it: words as spoken and, where a model cannot be asked for those, in digits.
Clips = list[tuple[Path, tuple[str, ...]]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """`problem` is why the rest is missing, or what the self-check found; empty when all is well."""

    model: str
    precision: str
    problem: str = ""
    load_s: float = 0.0
    error: float | None = None
    rtf: float = 0.0
    weights_mb: float = 0.0
    peak_mb: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.problem


HEAD = f"{'model':<22} {'precision':<9} {'result':<7} {'load':>7} {'error':>8} {'RTF':>8} {'weights':>9} {'peak':>8}"


def line(row: Row) -> str:
    """A row as a line of the table."""
    start = f"{row.model:<22} {row.precision:<9} {'pass' if row.passed else 'FAIL':<7}"
    if row.error is None:
        return f"{start} {row.problem}"
    figures = f"{row.load_s:>5.1f} s {row.error:>8.2%} {row.rtf:>8.4f} {row.weights_mb:>6.1f} MB {row.peak_mb:>5.0f} MB"
    return f"{start} {figures}  {row.problem}".rstrip()


def examples() -> Clips:
    """The clips of example/ with their words."""
    return [(EXAMPLES / name, (entry["text"], entry["written"])) for name, entry in expected().items()]


def as_spoken(card: ModelCard) -> Options:
    """What asks for words as references have them: as they are spoken."""
    return Options(itn=False) if "itn" in card.capabilities else Options()


def references(folder: Path) -> Clips:
    """Recordings of `folder` whose words are known: by NAME.txt beside NAME.wav, or by transcripts.tsv.

    A line of transcripts.tsv begins with the file's name and ends with its text. Raises UserError where neither is.
    """
    table = folder / "transcripts.tsv"
    if table.is_file():
        rows = [text.split("\t") for text in table.read_text(encoding="utf-8").splitlines()]
        found: Clips = [(folder / row[0], (row[-1],)) for row in rows if len(row) > 1 and (folder / row[0]).is_file()]
    else:
        sounds = [p for p in sorted(folder.glob("*")) if p.suffix != ".txt" and p.with_suffix(".txt").is_file()]
        found = [(p, (p.with_suffix(".txt").read_text(encoding="utf-8").strip(),)) for p in sounds]
    if not found:
        raise UserError(
            f"{folder.name}: no recordings with references are there. Put NAME.txt beside each NAME.wav, or a "
            "transcripts.tsv with a file name and a text in each line.",
            f"{folder.name}：没有带参考文本的录音。请在每个 NAME.wav 旁放 NAME.txt，或提供每行含文件名和文本的 transcripts.tsv。",
        )
    return found


def verify(
    cards: Sequence[ModelCard],
    precisions: Sequence[Precision] | None,
    clips: Clips,
    device: str,
    threads: int,
    hub: str,
    on_progress: OnProgress | None = None,
    cache: Path | None = None,
) -> Iterator[Row]:
    """A row for each of `cards` at each of `precisions` that it has (None: all); each is given back before the next."""
    for card in cards:
        allowed = catalog.precisions(card, device)
        own = [c for c in clips if c[0].parent != EXAMPLES or c[0].name in understood_by(card)]
        for precision in allowed if precisions is None else precisions:
            problem = refusal(precision, catalog.recipes(card), allowed, device)
            if problem is None:
                yield _row(card, precision, own, device, threads, hub, on_progress, cache)
                give_back_memory()
            elif precisions is not None:
                yield Row(card.id, precision.label, problem.en)


def nearest(texts: Sequence[str], heard: str) -> str:
    """That of `texts` which what was `heard` comes nearest to."""
    return min(texts, key=lambda text: score([(text, heard)]).rate)


def _row(
    card: ModelCard,
    precision: Precision,
    clips: Clips,
    device: str,
    threads: int,
    hub: str,
    on_progress: OnProgress | None,
    cache: Path | None,
) -> Row:
    try:
        loaded = load(card, precision, device, threads, hub, on_progress, cache)
        found = [(texts, pipeline.transcribe(path, loaded, as_spoken(card), Limits())) for path, texts in clips]
    except UserError as error:
        return Row(card.id, precision.label, error.en)
    except Exception as error:  # the others are still wanted
        log.exception("%s at %s", card.id, precision.label)
        return Row(card.id, precision.label, f"{type(error).__name__}: {error}")
    audio_s = sum(transcript.audio_s for _, transcript in found)
    return Row(
        card.id,
        precision.label,
        loaded.check.reason,
        loaded.load_s,
        score((nearest(texts, transcript.text), transcript.text) for texts, transcript in found).rate,
        sum(transcript.times.work_s for _, transcript in found) / max(audio_s, 1e-9),
        loaded.precision.weight_bytes / 1e6,
        max(transcript.memory["peak_rss"] for _, transcript in found) / 1e6,
    )

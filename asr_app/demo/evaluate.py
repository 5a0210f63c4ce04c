"""Error of a demo model at every precision: new sentences in trained voices, any in unheard ones, real people's digits.

Utterances go to the engine one by one, as a chunk of the pipeline does; there is no VAD and no punctuation between.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asr_app import audio, catalog
from asr_app.datatypes import SAMPLE_RATE
from asr_app.demo.corpus import evaluation_set
from asr_app.demo.vocabulary import EN_DIGITS, ZH_DIGITS
from asr_app.engines import Engines, pick_device, usable_cores
from asr_app.families.base import as_spoken
from asr_app.precision import Precision
from asr_app.scoring import paired_bootstrap, score

Set = list[tuple[str, np.ndarray]]


def synthetic(count: int, *, held_out_voices: bool) -> Set:
    """`count` references with their samples."""
    made = evaluation_set(count, held_out_voices=held_out_voices)
    return [(s.spoken, x) for s, x in tqdm(made, total=count, desc="speech", file=sys.stderr, disable=None)]


def _padded(path: Path) -> np.ndarray:
    """A recording as samples of even level with an eighth of a second of silence around: these are cut very close."""
    samples = audio.decode(path).samples
    return np.pad(samples / max(1e-6, float(np.abs(samples).max())) * 0.5, SAMPLE_RATE // 8).astype(np.float32)


def real_digits(data: Path) -> Iterator[tuple[str, Set]]:
    """Sets of real people's digits, where `data` has them: fsdd (English, single), aishell_s0150 (Mandarin strings)."""
    fsdd = sorted((data / "fsdd").glob("*.wav"))
    if fsdd:
        yield "real English digits", [(EN_DIGITS[int(p.name[0])], _padded(p)) for p in fsdd]
    table = data / "aishell_s0150" / "transcripts.tsv"
    if table.is_file():
        rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
        spoken = [(row[0], row[2]) for row in rows if re.fullmatch(f"[{ZH_DIGITS}幺]+", row[2])]
        yield "real Mandarin digits", [(text, _padded(table.parent / name)) for name, text in spoken]


def run(model: str, count: int, precisions: list[str] | None, data: Path | None) -> None:
    """Prints a table for people and, last, one line of JSON for scripts."""
    card = catalog.find(model)
    device = pick_device("auto")
    engines = Engines(device, usable_cores(), "modelscope")
    sets = {
        "trained voices, new sentences": synthetic(count, held_out_voices=False),
        "unheard voices": synthetic(count, held_out_voices=True),
    }
    if data is not None:
        sets |= dict(real_digits(data))
    wanted = [Precision.parse(p) for p in precisions] if precisions else list(card.precisions)
    if Precision.FP32 in wanted:
        wanted.sort(key=lambda p: p is not Precision.FP32)  # what the others are compared with comes first
    options = as_spoken(card)
    rows: list[dict[str, object]] = []
    full: dict[str, list[int]] = {}
    for precision in wanted:
        with engines.use(card, precision) as loaded:
            for name, pairs in sets.items():
                heard = [loaded.engine.transcribe([x], options)[0] for _, x in pairs]
                texts = [" ".join(s.text for s in segments) for segments in heard]
                scores = [score([(reference, text)]) for (reference, _), text in zip(pairs, texts, strict=True)]
                errors, units = [s.errors for s in scores], [s.units for s in scores]
                row: dict[str, object] = {
                    "precision": precision.value, "set": name, "utterances": len(pairs),
                    "error": round(sum(errors) / max(1, sum(units)), 5),
                    "weights_mb": round(loaded.precision.weight_bytes / 1e6, 2),
                }  # fmt: skip
                if precision is Precision.FP32:
                    full[name] = errors
                elif name in full:
                    delta, low, high = paired_bootstrap(full[name], errors, units)
                    row |= {"delta": round(delta, 5), "low": round(low, 5), "high": round(high, 5)}
                rows.append(row)
                change = f"  {row['delta']:+.3%} [{row['low']:+.3%}, {row['high']:+.3%}]" if "delta" in row else ""
                print(f"{precision.label:<5} {name:<30} {len(pairs):>5}  {row['error']:.2%}{change}", flush=True)
    print(json.dumps({"model": card.id, "device": device, "rows": rows}))

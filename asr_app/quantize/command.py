"""`python -m asr_app quantize`: makes a variant ahead of time, by the family's recipe or by one from a search."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr_app import catalog, config
from asr_app.corrections.export import export
from asr_app.corrections.references import References
from asr_app.datatypes import ModelCard
from asr_app.devices import usable_cores
from asr_app.errors import UserError
from asr_app.hub import OnProgress
from asr_app.journal import Journal
from asr_app.loading import load_from, locate, variant_of
from asr_app.precision import Precision, refusal, tuned, variants
from asr_app.precision.evidence import processor
from asr_app.quantize import calibration, carry
from asr_app.quantize.search import SearchResult, Trial, search
from asr_app.quantize.trials import Trials

_DEVICE = "cpu"  # the search compares arithmetics of the CPU; a variant for CUDA only stores weights
_HEAD = f"{'arithmetic':<12} {'layers high':>11} {'loss':>9} {'RTF':>8} {'weights':>10}"


def quantize(args: argparse.Namespace, language: str, downloading: OnProgress) -> int:
    """Runs the command. Returns 2 if no recipe is within the criterion. Raises UserError for wrong arguments."""
    card, precision = catalog.find(args.model), Precision.parse(args.precision)
    problem = refusal(precision, catalog.recipes(card), card.precisions, _DEVICE)
    if problem is not None or precision is Precision.FP32:
        raise problem or UserError(
            "FP32 is the model as it is; there is nothing to make. Choose bf16, fp16 or int8.",
            "FP32 即原始模型，无需制作。请选择 bf16、fp16 或 int8。",
        )
    if args.output:
        carry.refuse_used(args.output)
    recordings = _speech(args, card)
    folders, cache = locate(card, args.hub, downloading), config.cache()
    threads = config.threads(args) or usable_cores()
    reason = None
    if recordings:
        reason = _tune(card, folders, precision, threads, recordings, args.max_loss, cache)
    with _bar() as bar:
        loaded = load_from(
            folders, card, precision, _DEVICE, threads, cache, lambda done, total: _show(bar, "making", done, total)
        )
    counted = loaded.precision
    print(f"{card.id}: {counted.effective}, {counted.weight_bytes / 1e6:.1f} MB, loaded in {loaded.load_s:.1f} s")
    if not loaded.check.passed:
        print(f"self-check failed: {loaded.check.reason}")
        return 1
    if args.output:
        variant, _ = variant_of(folders, card, precision, _DEVICE, cache)
        carry.write(card.family, folders, variant, precision, args.output)
        print(f"to carry: {args.output} (use it with --model)")
    if reason is not None:
        print(f"error: {reason.text(language)}", file=sys.stderr)
        return 2
    return 0


def _speech(args: argparse.Namespace, card: ModelCard) -> list[calibration.Recording]:
    """The speech to search on: that of --calibration, or the lines of --corrections with their texts; else none."""
    if not args.corrections:
        return calibration.read(args.calibration, card) if args.calibration else []
    with tempfile.TemporaryDirectory(prefix="asr-corrections-") as work:
        lines = export(References(Journal(config.home())).all(), Path(work))
        return calibration.read(lines.manifest, card)


def _tune(
    card: ModelCard, folders: dict[str, Path], precision: Precision, threads: int,
    recordings: list[calibration.Recording], max_loss: float, cache: Path,
) -> UserError | None:  # fmt: skip
    """Searches and stores the best recipe with its evidence. Returns the reason if it misses the criterion."""
    weights = variants.weights(folders, cache)
    recipe = catalog.recipes(card)[precision, _DEVICE]
    with tempfile.TemporaryDirectory(prefix="asr-quantize-") as work, _bar() as bar:
        trials = Trials(
            card, folders, precision, recipe, threads, recordings, Path(work),
            lambda what, done, total: _show(bar, what, done, total),
        )  # fmt: skip
        spoken = [r.texts[0] if r.texts else text for r, text in zip(recordings, trials.texts, strict=True)]
        sample = calibration.balance(recordings, spoken)
        bar.clear()
        print(_describe(sample))
        against = "errors against references" if trials.with_references else "disagreement with FP32"
        print(f"loss: {against}; criterion: at most {max_loss:.3%}\n{_HEAD}")
        print(f"{'FP32':<12} {'all':>11} {'':>9} {trials.rtf:>8.4f} {trials.weights_mb:>7.1f} MB", flush=True)

        def measure(candidate: Any) -> Trial:
            trial = trials.measure(candidate)
            bar.clear()
            print(_line(trial), flush=True)
            return trial

        result = search(measure, trials.arithmetics, trials.ranking, max_loss)
        evidence = {
            "model": card.id, "precision": precision.value, "loss": against, "max_loss": max_loss,
            "met": not result.reason, "reason": result.reason, "calibration": sample,
            "fp32": {"rtf": trials.rtf, "weights_mb": trials.weights_mb}, **_machine(threads), **_evidence(result),
        }  # fmt: skip
        chosen = trials.recipe(result.best.candidate)
        folder = tuned.folder_of(cache, card.family, weights, precision, _DEVICE)
        stored = tuned.store(folder, result.best.candidate.high, chosen.ranges, evidence)
    print(f"best: {_line(result.best)}\nrecipe and evidence: {stored}")
    if not result.reason:
        return None
    return UserError(
        f"The criterion is not met: {result.reason}. The best recipe was kept; allow more with --max-loss, or use bf16.",
        f"未达到精度标准（--max-loss {max_loss:.3%}）。已保留最佳方案；可放宽 --max-loss，或使用 bf16。",
    )


def _line(trial: Trial) -> str:
    high = len(trial.candidate.high)
    return (
        f"{trial.candidate.arithmetic:<12} {high:>11} {trial.loss:>+9.3%} {trial.rtf:>8.4f} {trial.weights_mb:>7.1f} MB"
    )


def _describe(sample: dict[str, Any]) -> str:
    shares = {k: ", ".join(f"{name} {share:.0%}" for name, share in sample[k].items()) for k in ("scripts", "noise")}
    return (
        f"calibration: {sample['recordings']} recordings, {sample['speech_s']:.0f} s of speech; letters: "
        f"{shares['scripts']}; recordings: {shares['noise']}"
    )


def _evidence(result: SearchResult) -> dict[str, Any]:
    def fields(trial: Trial) -> dict[str, Any]:
        candidate = trial.candidate
        return {
            "arithmetic": candidate.arithmetic, "high": list(candidate.high), "loss": trial.loss, "rtf": trial.rtf,
            "weights_mb": trial.weights_mb,
        }  # fmt: skip

    return {"trials": [fields(t) for t in result.trials], "best": fields(result.best)}


def _machine(threads: int) -> dict[str, Any]:
    names = ("torch", "onnxruntime", "funasr", "openai-whisper")
    return {
        "machine": {"processor": processor(), "threads": threads},
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def _bar() -> tqdm:
    return tqdm(file=sys.stderr, disable=None, leave=False, bar_format="{desc} {bar} {n_fmt}/{total_fmt} {elapsed}")


def _show(bar: tqdm, what: str, done: int, total: int) -> None:
    bar.set_description_str(what, refresh=False)
    bar.total, bar.n = total, done
    bar.refresh()

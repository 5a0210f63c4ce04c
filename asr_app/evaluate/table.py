"""Figures as tables to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from asr_app.evaluate.figures import ALL, ArmFigures, Difference, Group
from asr_app.scoring import CHARACTERS, base_language

_HEAD = (
    f"{'arm':<30} {'result':<6} {'clips':>5} {'error':>8} {'deleted':>8} {'from FP32, points':>24} {'RTF':>7} "
    f"{'CPU s':>8} {'load':>7} {'weights':>9} {'memory':>8}"
)


def tables(model: str, arms: Sequence[ArmFigures], same: dict[str, int] | None) -> Iterator[str]:
    """Lines of all tables for one model: a row an arm, then a row a language."""
    yield f"{model}: error in all, and what it took"
    yield _HEAD
    yield from (_row(arm) for arm in arms)
    languages = list(dict.fromkeys(language for arm in arms for language in arm.groups))
    ran = [arm for arm in arms if arm.groups]
    if any(language != ALL for language in languages):
        by_language: Sequence[tuple[str, Callable[[Group], str]]] = (
            ("error, % (CER of zh, yue, ja, th; WER of the others)", lambda g: f"{g.error.rate:.2%}"),
            ("deleted, %", lambda g: f"{g.error.deletions / max(1, g.error.units):.2%}"),
            (
                "error from FP32, points, with the 95 % interval of the paired difference",
                lambda g: _points(g.difference),
            ),
        )
        for title, cell in by_language:
            yield from _grid(title, ran, languages, cell)
    losses = [arm for arm in ran if arm.groups[ALL].loss is not None]
    if losses:
        yield from _grid("loss of the reference text, nats a token", losses, languages, _loss)
        yield from _grid(
            "loss from FP32, % of it, with the 95 % interval of the paired difference", losses, languages, _loss_change
        )
    if same is not None:
        yield ""
        yield (
            f"given the same samples, FP32 writes openai-whisper's text in {same['same']} of {same['clips']} clips whose "
            f"ladder ended at temperature 0 ({same['above_temperature_0']} ended above it)"
        )


def _row(arm: ArmFigures) -> str:
    problem = arm.result.problem
    start = f"{arm.name:<30} {'FAIL' if problem else 'pass':<6}"
    group = arm.groups.get(ALL)
    if group is None:
        return f"{start} {problem}"
    started = arm.result.started
    load, weights = (f"{started.load_s:.1f} s", started.weights_mb) if started else ("", None)
    size = "" if weights is None else f"{weights:.0f} MB"
    return (
        f"{start} {group.clips:>5} {group.error.rate:>8.2%} {group.error.deletions / max(1, group.error.units):>8.2%} "
        f"{_points(group.difference):>24} {arm.seconds / max(arm.audio_s, 1e-9):>7.4f} {arm.cpu_s:>8.1f} {load:>7} "
        f"{size:>9} {arm.result.peak_mb:>5.0f} MB  {problem}"
    ).rstrip()


def _grid(
    title: str, arms: Sequence[ArmFigures], languages: Sequence[str], cell: Callable[[Group], str]
) -> Iterator[str]:
    """A row a language, a column an arm, each as wide as its widest cell."""
    columns = []
    for arm in arms:
        cells = [cell(arm.groups[language]) if language in arm.groups else "" for language in languages]
        name = arm.name.removeprefix("peer:")
        width = max(map(len, (name, *cells)))
        columns.append([text.rjust(width) for text in (name, *cells)])
    if not any(text.strip() for column in columns for text in column[1:]):
        return
    counts = [max((arm.groups[la].clips for arm in arms if la in arm.groups), default=0) for la in languages]
    heads = ["language".ljust(14) + "clips".rjust(6)]
    heads += [
        f"{language + ('' if language == ALL or base_language(language) not in CHARACTERS else ' (CER)'):<14}{count:>6}"
        for language, count in zip(languages, counts, strict=True)
    ]
    yield ""
    yield title
    for row in zip(heads, *columns, strict=True):
        yield "  ".join(row).rstrip()


def _points(difference: Difference | None) -> str:
    if difference is None:
        return ""
    return f"{100 * difference.delta:+.2f} [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"


def _loss(group: Group) -> str:
    return "" if group.loss is None else f"{group.loss:.4f}"


def _loss_change(group: Group) -> str:
    change, full = group.loss_difference, group.fp32_loss
    if change is None or not full:
        return ""
    delta, low, high = (100 * value / full for value in (change.delta, change.low, change.high))
    return f"{delta:+.2f} [{low:+.2f}, {high:+.2f}]"

"""The articles' tables in Markdown, each article's figures beside those of results.json.

Machines, audio and often models differ. So each table says which weights and which machine ours are, and has ratios to
FP32, which alone can be compared.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_app.catalog import CARDS
from asr_app.evaluate.figures import ALL
from asr_app.precision import Precision
from asr_app.report.articles import ARTICLES, CLIP_S, Article, Figure
from asr_app.report.labels import label
from asr_app.report.markdown import clips_line, plain, table_lines
from asr_app.report.sections import Table, language_name, megabytes, points, seconds

Entry = Mapping[str, Any]


class Weights(enum.Enum):
    """The kind of weights that were measured, beside the article's model. Values are labels."""

    PUBLISHED = "weights_published"
    SMALLER = "weights_smaller"
    OTHER = "weights_other"
    DEMO = "weights_demo"
    FOLDER = "weights_folder"


@dataclass(frozen=True)
class Run:
    """One model's entry of a results.json. `asked` is the model as it was named to `bench`: an id, or a path."""

    results: Entry
    model: Entry
    asked: str

    @property
    def family(self) -> str:
        """The family, or nothing where neither the entry nor the catalog knows it."""
        known = CARDS.get(self.asked)
        return str(self.model.get("family") or (known.family if known else ""))

    def weights(self, article: Article) -> Weights:
        """The kind of weights, by the name that was asked for: a folder may have any name."""
        card, wanted = CARDS.get(self.asked), CARDS[article.model]
        if card is None:
            return Weights.FOLDER
        if card.note == "demo":
            return Weights.DEMO
        if card.id == wanted.id:
            return Weights.PUBLISHED
        return Weights.SMALLER if card.size_mb < wanted.size_mb else Weights.OTHER

    def arm(self, precision: Precision) -> Entry | None:
        """The arm at `precision`; for FP16 the BF16 one, where there is no other."""
        arms = {arm["arm"]: arm for arm in self.model["arms"]}
        if precision is Precision.FP16 and precision.value not in arms:
            precision = Precision.BF16
        return arms.get(precision.value)


@dataclass(frozen=True)
class _Value:
    """A figure, None where there is none, and words that belong to it."""

    value: float | None
    words: tuple[str, ...] = ()

    def shown(self, row: Figure | str) -> str:
        """`0.41 s (clip of 10.5 s)`, or the words alone."""
        words = "; ".join(self.words)
        if self.value is None:
            return words
        return f"{_shown(row, self.value)} ({words})" if words else _shown(row, self.value)


def article_tables(files: Sequence[Entry], language: str) -> str:
    """The four tables in Markdown, each for every entry of its family in the values of results.json."""
    return "\n".join(_lines([run for results in files for run in _runs(results)], language)) + "\n"


def _runs(results: Entry) -> Iterator[Run]:
    # An unfinished benchmark has fewer entries than models.
    for asked, model in zip(results["request"]["models"], results["models"], strict=False):
        yield Run(results, model, asked)


def _lines(runs: Sequence[Run], language: str) -> Iterator[str]:
    yield f"# {label('articles', language)}"
    yield ""
    yield plain(label("articles_note", language))
    for article in ARTICLES:
        title = CARDS[article.model].title
        yield ""
        yield f"## {plain(title)}"
        yield ""
        machine = article.machine or label("not_given", language)
        yield plain(label("article_line", language, title=title, machine=machine))
        own = [run for run in runs if run.family == article.family]
        for run in own:
            yield from table_lines(_table(article, run, language))
        if not own:
            yield from table_lines(_table(article, None, language))
            yield ""
            yield f"    python -m asr_app bench {article.model} --data {label('folder', language)}"
    for run in runs:
        if run.family not in {article.family for article in ARTICLES}:
            yield ""
            yield plain(label("no_family", language, model=run.model["model"]))


def _table(article: Article, run: Run | None, language: str) -> Table:
    rows = []
    for row in _rows(article, run):
        theirs = article.given.get(row, {})
        full = _ours(run, row, Precision.FP32, language).value
        for precision in article.precisions:
            given, ours = theirs.get(precision), _ours(run, row, precision, language)
            rows.append((
                _row_name(row, language), precision.label,
                label("not_given", language) if given is None else _shown(row, given),
                _gain(row, theirs.get(Precision.FP32), given, precision),
                ours.shown(row),
                _gain(row, full, ours.value, precision),
            ))  # fmt: skip
    keys = ("figure", "arm", "article", "article_gain", "ours", "ours_gain")
    title = label("ours_none", language) if run is None else run.model["model"]
    return Table(title, [label(key, language) for key in keys], rows, _note(article, run, language))


def _rows(article: Article, run: Run | None) -> Sequence[Figure | str]:
    """The rows of a table: its figures, or the languages of either side and all of them together."""
    if article.rows:
        return article.rows
    arms = run.model["arms"] if run else []
    spoken = dict.fromkeys((*article.given, *(name for arm in arms for name in arm["languages"])))
    spoken.pop(ALL, None)
    return [*spoken, ALL]


def _ours(run: Run | None, row: Figure | str, precision: Precision, language: str) -> _Value:
    """Our figure, with its precision where that is not the row's."""
    arm = run.arm(precision) if run else None
    nothing = _Value(None, (label("not_measured", language),))
    if arm is None:
        return nothing
    if arm["problem"]:  # the clips before that are not all clips
        return _Value(None, (label("arm_failed", language),))
    value = _of_texts(arm, row, language) or _of_speed(arm["speed"], row, language) or nothing
    return value if arm["arm"] == precision.value else _Value(value.value, (str(arm["arm"]).upper(), *value.words))


def _of_texts(arm: Entry, row: Figure | str, language: str) -> _Value | None:
    """Errors and sizes; None for another row, and for a language without clips."""
    if row is Figure.DISK:
        return _Value(arm["disk_mb"])
    if row is Figure.WEIGHTS:
        return None if arm["weights_mb"] is None else _Value(arm["weights_mb"])
    group = arm["languages"].get(ALL if row is Figure.ERROR else row)
    if group is None:
        return None
    difference = points(group.get("difference_from_fp32"), group["clips"])
    return _Value(group["error"], (label("points", language, points=difference),) if difference else ())


def _of_speed(speed: Entry | None, row: Figure | str, language: str) -> _Value | None:
    """Times, memory and requests a second; None where they were not measured."""
    if not speed or speed["problem"]:
        return None
    if row is Figure.LATENCY:
        return _Value(speed["latency_s"]["mean"])
    if row is Figure.COLD_START:
        return _Value(speed["cold_start_s"])
    if row is Figure.MEMORY:
        kind, value = ("device_memory", speed["device_mb"]) if speed["device_mb"] else ("resident", speed["peak_mb"])
        return _Value(value, (label(kind, language),))
    if row is Figure.REQUESTS and speed["users"]:
        most = speed["users"][-1]
        return _Value(most["clips_per_s"], (label("with_users", language, users=most["users"]),))
    if row is Figure.TEN_SECONDS:
        nearest = min(speed["by_clip"], key=lambda clip: abs(clip["audio_s"] - CLIP_S))
        words = label("clip_of", language, seconds=nearest["audio_s"])
        return _Value(statistics.median(nearest["seconds"]), (words,))
    return None


def _gain(row: Figure | str, before: float | None, now: float | None, precision: Precision) -> str:
    """Times as good as FP32; empty for FP32 itself and where one of the two is not known or zero."""
    if precision is Precision.FP32 or not before or not now:
        return ""
    better = isinstance(row, Figure) and row.more_is_better
    return f"{now / before if better else before / now:.2f}"


def _shown(row: Figure | str, value: float) -> str:
    if isinstance(row, str) or row is Figure.ERROR:
        return f"{value:.2%}"
    if row in (Figure.MEMORY, Figure.WEIGHTS, Figure.DISK):
        return megabytes(value)
    return f"{value:.2f}" if row is Figure.REQUESTS else seconds(value)


def _row_name(row: Figure | str, language: str) -> str:
    return label(f"figure_{row.value}", language) if isinstance(row, Figure) else language_name(row, language)


def _note(article: Article, run: Run | None, language: str) -> str:
    """The weights, machine and audio of our figures, and the reasons of the arms that failed."""
    if run is None:
        return label("how_to_measure", language)
    made, model = run.results["recipe"], run.model
    parts = [label(run.weights(article).value, language, model=model["model"], wanted=article.model)]
    if model["problem"]:
        return " ".join((*parts, label("failed_model", language, problem=model["problem"])))
    parts.append(label("weights_hash", language, hash=model["weights"]))
    parts.append(
        label(
            "measured_on", language, made=run.results["made"][:10], processor=made["processor"],
            threads=made["threads"], device=made["device"], clips=clips_line(run.results, language),
        )
    )  # fmt: skip
    for arm in model["arms"]:
        problem = arm["problem"] or (arm["speed"] or {}).get("problem")
        parts += [f"{str(arm['arm']).upper()}: {problem}."] if problem else []
    return " ".join(parts)

"""From a comparison to the HTML of its tab. Everything that a user or a model wrote is escaped here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

import numpy as np

from asr_app import catalog
from asr_app.compare import blind
from asr_app.compare.blind import Place, Side
from asr_app.compare.comparisons import Arm, Compared, Comparison
from asr_app.compare.difference import Step, count, cue_shift
from asr_app.compare.units import Unit
from asr_app.datatypes import Transcript
from asr_app.scoring import score
from asr_app.served import recording_url
from asr_app.text import is_spaceless
from asr_app.ui.render import bar, clock, duration, megabytes, progress, stages
from asr_app.ui.texts import t

_SIGNIFICANT = 0.05


def name_of(arm: Arm, among: Sequence[Arm]) -> str:
    """The arm's name beside the others: the precision alone where all have one model."""
    if len({other.model for other in among}) == 1:
        return arm.precision.label
    return f"{catalog.find(arm.model).title.partition(' (')[0]} · {arm.precision.label}"


def arms_progress(comparison: Comparison, language: str) -> str:
    """A line an arm until all have ended; then only those that have failed."""
    lines = []
    for arm in comparison.arms:
        status, name = arm.status, escape(name_of(arm, comparison.arms))
        if status is None:
            lines.append(f'<p class="notice">{name}: {t("compare_state_removed", language)}</p>')
        elif status.state in ("failed", "cancelled"):
            lines.append(f"<p><b>{name}</b></p>{progress(status, False, language)}")
        elif status.state == "done":
            if not comparison.finished:
                lines.append(bar(name_of(arm, comparison.arms), t("state_done", language), 1.0))
        else:
            said = t("compare_state_queued", language, ahead=status.ahead) if status.state == "queued" else (
                t(status.stage or "loading", language)
            )  # fmt: skip
            share = status.done / status.total if status.total else 0.0 if status.state == "queued" else None
            lines.append(bar(f"{name_of(arm, comparison.arms)} · {said}", "", share))
    return "".join(lines)


def player(comparison: Comparison) -> str:
    """The recording, as the first arm's job has it."""
    source = next((arm.job for arm in comparison.arms if arm.status and arm.status.recording.exists()), "")
    return (
        f'<audio id="compare-player" controls preload="metadata" src="{recording_url(source)}"></audio>'
        if source
        else ""
    )


def judging(comparison: Comparison, compared: Compared, language: str) -> str:
    """The next place of the blind round; empty when all are judged."""
    done = len(comparison.votes)
    if done >= len(compared.places):
        return ""
    place = compared.places[done]
    play = (
        f'<button class="seek play" data-start="{place.start_s:.3f}" data-end="{place.end_s:.3f}">'
        f"▶ {t('judge_play', language)}</button>"
    )
    sides = "".join(
        f'<div class="side"><p>{_side(side, language)}</p>{_ballot(done, choice, t("judge_this", language))}</div>'
        for side, choice in zip(place.sides, ("left", "right"), strict=True)
    )
    title = t("judge_title", language, n=done + 1, total=len(compared.places))
    return (
        f'<section class="card judge"><h3>{title}</h3>{play}<div class="sides">{sides}</div>'
        f'<div class="downloads">{_ballot(done, "same", t("judge_same", language))}'
        f'<button class="reveal">{t("judge_end", language)}</button></div></section>'
    )


def _ballot(place: int, choice: str, label: str) -> str:
    return f'<button class="vote" data-place="{place}" data-choice="{choice}">{label}</button>'


def _side(side: Side, language: str) -> str:
    own = escape(side.own.strip()) or f"<i>{t('judge_nothing', language)}</i>"
    return f"… {escape(side.before)}<mark>{own}</mark> {escape(side.after)} …"


def results(comparison: Comparison, compared: Compared, language: str) -> str:
    """The sentence, a card for each arm, and the differences of each arm from the first one."""
    judged = list(zip(compared.places, comparison.votes, strict=False))
    parts = [_summary(compared, judged, language), _cards(comparison, compared, judged, language)]
    differing = [(n, steps) for n, steps in enumerate(compared.steps, 1) if any(s.kind != "equal" for s in steps)]
    for n, steps in differing:
        parts.append(_differences(compared, n, steps, n == differing[0][0], language))
    return "".join(parts)


def _summary(compared: Compared, judged: Sequence[tuple[Place, str]], language: str) -> str:
    names = [name_of(arm, compared.arms) for arm in compared.arms]
    units = compared.units[0]
    kind = _kind(units, language)
    length = clock(_transcript(compared, 0).audio_s)
    said = [t("compare_on", language, length=length, name=f"<b>{escape(compared.views[0].name)}</b>")]
    for n, steps in enumerate(compared.steps, 1):
        different, total = count(steps), max(1, len(units))
        key = "compare_differs" if different else "compare_equals"
        said.append(t(
            key, language, arm=escape(names[n]), first=escape(names[0]), n=f"{different:,}", total=f"{len(units):,}",
            units=kind, percent=f"{different / total:.2%}",
        ))  # fmt: skip
        verdict = blind.verdict(judged, n)
        if seen := verdict.first + verdict.other + verdict.ties:
            key = "compare_difference" if verdict.p < _SIGNIFICANT else "compare_no_difference"
            meaning = t(key, language, p=f"{verdict.p:.2g}")
            said.append(t(
                "compare_judged", language, n=seen, a=verdict.first, b=verdict.other, c=verdict.ties,
                first=escape(names[0]), arm=escape(names[n]), meaning=meaning,
            ))  # fmt: skip
    return f'<p class="notice summary" role="status">{" ".join(said)}</p>'


def _kind(units: Sequence[Unit], language: str) -> str:
    spaceless = sum(is_spaceless(unit.key[:1]) for unit in units if unit.key)
    return t("compare_characters" if 2 * spaceless > len(units) else "compare_words", language)


def _transcript(compared: Compared, n: int) -> Transcript:
    done = compared.views[n].transcript
    assert done is not None  # of an arm that is done
    return done


def _cards(comparison: Comparison, compared: Compared, judged: Sequence[tuple[Place, str]], language: str) -> str:
    names = [name_of(arm, compared.arms) for arm in compared.arms]
    longest = max(_transcript(compared, n).times.work_s for n in range(len(names)))
    cards = []
    for n, name in enumerate(names):
        done = _transcript(compared, n)
        figures = list(_figures(comparison, compared, n, names[0], judged, language))
        cells = "".join(f"<div><dt>{escape(head)}</dt><dd>{escape(value)}</dd></div>" for head, value in figures)
        cards.append(
            f'<section class="card arm"><h3>{escape(name)}</h3><dl>{cells}</dl>'
            f"{stages(done.times, language, longest)}</section>"
        )
    return f'<div class="arms">{"".join(cards)}</div>'


def _figures(
    comparison: Comparison, compared: Compared, n: int, first: str, judged: Sequence[tuple[Place, str]], language: str
) -> Iterator[tuple[str, str]]:
    """The heads and values of an arm's card."""
    done, full = _transcript(compared, n), _transcript(compared, 0)
    if comparison.reference:
        counted = score([(comparison.reference, done.text)])
        yield t("compare_error", language), f"{counted.rate:.2%} ({counted.errors:,} / {counted.units:,})"
    if n:
        agreement = 1 - count(compared.steps[n - 1]) / max(1, len(compared.units[0]))
        yield t("compare_agreement", language, first=first), f"{max(0.0, agreement):.2%}"
    rtf = f"{done.rtf:.4f}"
    faster = f"{full.rtf / done.rtf:.2f}" if done.rtf else "–"
    yield t("compare_speed", language), t("compare_times", language, rtf=rtf, x=faster) if n else rtf
    if compared.latencies[n]:
        middle, late = np.percentile(compared.latencies[n], [50, 95])
        yield t("compare_chunk", language), f"{duration(float(middle))} / {duration(float(late))}"
    yield t("compare_load", language), duration(done.load_s)
    yield t("compare_memory", language), megabytes(done.memory.get("peak_added", 0))
    yield t("compare_disk", language), megabytes(done.memory.get("disk", 0))
    yield t("compare_dtypes", language), done.precision.effective
    if not n:
        return
    shift = cue_shift(compared.units[0], compared.units[n], compared.steps[n - 1], full.segments, done.segments)
    if shift.median_s is not None and shift.p95_s is not None:
        gone = f" · {t('compare_cues_gone', language, n=shift.gone)}" if shift.gone else ""
        yield t("compare_cues", language), f"{1000 * shift.median_s:.0f} / {1000 * shift.p95_s:.0f} ms{gone}"
    verdict = blind.verdict(judged, n)
    if verdict.first + verdict.other:
        yield t("compare_votes", language), f"{verdict.other} : {verdict.first}"


def _differences(compared: Compared, n: int, steps: Sequence[Step], is_open: bool, language: str) -> str:
    """A fold with the lines of the first arm, the differences of arm `n` in them."""
    first, arm = (escape(name_of(compared.arms[i], compared.arms)) for i in (0, n))
    pieces = _pieces(compared.units[0], compared.units[n], steps, (first, arm), language)
    lines = []
    for cue, some in groupby(pieces, key=lambda piece: piece[0]):
        html = list(some)
        segments = compared.views[0].segments
        at_s = segments[cue].start_s if segments else 0.0
        same = "" if any(changed for _, changed, _ in html) else " same"
        lines.append(
            f'<div class="line{same}"><button class="seek" data-start="{at_s:.3f}">{clock(at_s)}</button>'
            f"<p>{''.join(text for _, _, text in html)}</p></div>"
        )
    edits = sum(step.kind != "equal" for step in steps)
    title = t("compare_lines", language, arm=arm, first=first, n=edits)
    return (
        f'<details class="differences" {"open" if is_open else ""}><summary>{title}</summary>'
        f'<p class="key">{t("compare_legend", language, arm=arm, first=first)} '
        f'<label><input type="checkbox" class="all-lines"> {t("compare_all_lines", language)}</label></p>'
        f'<div class="lines">{"".join(lines)}</div></details>'
    )


def _pieces(
    first: Sequence[Unit], other: Sequence[Unit], steps: Sequence[Step], names: tuple[str, str], language: str
) -> Iterator[tuple[int, bool, str]]:
    """The first text with the edits in it: index of the cue, whether it is an edit, HTML."""
    for step in steps:
        own, theirs = first[slice(*step.first)], other[slice(*step.other)]
        if step.kind == "equal":
            for cue, units in groupby(own, key=lambda unit: unit.cue):
                yield cue, False, escape("".join(unit.text for unit in units))
            continue
        cue = own[0].cue if own else first[max(0, step.first[0] - 1)].cue if first else 0
        old, new = ("".join(unit.text for unit in units).strip() for units in (own, theirs))
        both = [*own, *theirs]
        start_s, end_s = min(unit.start_s for unit in both), max(unit.end_s for unit in both)
        label = t(
            "compare_hear", language, at=clock(start_s), first=names[0], old=escape(old), arm=names[1], new=escape(new)
        )
        texts = (f"<del>{escape(old)}</del>" if old else "") + (f"<ins>{escape(new)}</ins>" if new else "")
        yield (
            cue,
            True,
            (
                f'<button class="seek edit" data-start="{max(0.0, start_s - 0.3):.3f}" data-end="{end_s + 0.3:.3f}" '
                f'aria-label="{label}" title="{label}">{texts}</button> '
            ),
        )

"""HTML of a line's menu, of lines that are recognised again, and of what the corrections say."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from asr_app import catalog
from asr_app.corrections.figures import Tally
from asr_app.corrections.redo import Redo
from asr_app.corrections.store import Counts, model_name
from asr_app.datatypes import Segment
from asr_app.ui.render import short_name
from asr_app.ui.texts import t

_FEW = 30  # lines: with fewer, one more or less moves the figure by several points


def arm_name(model: str, precision_label: str) -> str:
    """`Whisper base · FP32`; a local folder by its name."""
    known = catalog.CARDS.get(model)
    return f"{short_name(known) if known else model_name(model)} · {precision_label}"


def menu(line: Segment, choices: Sequence[tuple[str, str]], language: str) -> str:
    """The menu of a line. `choices` are names and values of models at precisions."""
    parts = []
    if change := line.change:
        if change.kind != "original":
            said = t("model_said", language, said=change.original or t("nothing_said", language))
            parts.append(f"<p>{escape(said)}</p>")
        parts.append(f'<button class="act" data-action="undo">{t("line_undo", language)}</button>')
        if change.kind not in ("original", "confirmed"):
            parts.append(f'<button class="act" data-action="put_back">{t("line_original", language)}</button>')
    if choices:
        options = "".join(f'<option value="{escape(value)}">{escape(name)}</option>' for name, value in choices)
        parts.append(
            f"<label>{t('redo_by', language)} <select>{options}</select></label>"
            f'<button class="act" data-action="redo">{t("redo_start", language)}</button>'
        )
    else:
        parts.append(f"<p>{t('redo_none', language)}</p>")
    return f'<div class="menu" role="group" aria-label="{escape(t("line_more", language))}">{"".join(parts)}</div>'


def redo(found: Redo, language: str) -> str:
    """A line under the line that is recognised again, or for which that failed."""
    by, status = arm_name(found.model, found.precision.label), found.status
    if status.state == "failed":
        assert status.error is not None
        said = t("redo_failed", language, by=by, why=status.error.text(language))
        kind, label = "notice bad", t("redo_dismiss", language)
    else:
        stage = (
            t("compare_state_queued", language, ahead=status.ahead)
            if status.state == "queued"
            else t(status.stage or "loading", language)
        )
        said, kind, label = t("redo_runs", language, by=by, stage=stage), "notice", t("cancel", language)
    return (
        f'<div class="redo {kind}" role="status"><span>{escape(said)}</span>'
        f'<button class="act" data-action="cancel">{label}</button></div>'
    )


def editor(language: str) -> str:
    """The field in which a line is corrected, with its buttons."""
    return (
        f'<div class="edit"><textarea rows="1" aria-label="{escape(t("edit_text", language))}"></textarea>'
        f'<div class="buttons"><button class="save">{t("edit_save", language)}</button>'
        f'<button class="leave">{t("edit_leave", language)}</button></div>'
        f'<p class="said-elsewhere" role="alert" hidden></p></div>'
    )


def summary(counts: Counts, line: int, language: str) -> str:
    """The numbers of changed lines, and a button that takes back the last change, which is one of `line`."""
    said = [
        t(f"changes_{kind}", language, n=n)
        for kind, n in (
            ("corrected", counts.corrected),
            ("confirmed", counts.confirmed),
            ("redone", counts.redone),
            ("renamed", counts.renamed),
        )
        if n
    ]
    undo = (
        f'<button id="undo" data-line="{line}" data-n="{counts.last}">↶ {t("changes_undo", language)}</button>'
        if counts.last
        else ""
    )
    told = t("comma", language).join(said) or t("changes_hint", language)
    return f'<div class="changes">{undo}<span role="status">{told}</span></div>'


def tally(counted: Tally, language: str) -> str:
    """The table of errors by model and precision, with the lines they stand on; empty without any."""
    if not counted.figures:
        return ""
    rows = "".join(
        f"<tr><th>{escape(arm_name(figure.model, figure.precision.label))}</th><td>{figure.score.rate:.2%}</td>"
        f"<td>{t('tally_of', language, right=f'{figure.right:,}', units=f'{figure.score.units:,}')}</td>"
        f"<td>{figure.lines:,}</td></tr>"
        for figure in counted.figures
    )
    heads = "".join(f"<th>{t(f'tally_{head}', language)}</th>" for head in ("model", "error", "right", "lines"))
    basis = t(
        "tally_basis_one" if counted.recordings == 1 else "tally_basis", language, corrected=f"{counted.corrected:,}",
        confirmed=f"{counted.confirmed:,}", recordings=counted.recordings,
    )  # fmt: skip
    notes = [basis]
    if not counted.same_lines:
        notes.append(t("tally_differ", language))
    if counted.corrected + counted.confirmed < _FEW:
        notes.append(t("tally_few", language))
    return (
        f'<section class="tally"><h3>{t("tally_title", language)}</h3>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table><p>{' '.join(notes)}</p></section>"
    )

"""From a job as observed to the HTML of the page. Everything a user or a model wrote is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from types import MappingProxyType

from asr_app.datatypes import Doubt, ModelCard, Segment, StageTimes, Transcript
from asr_app.errors import UserError
from asr_app.observer import Status
from asr_app.precision import Evidence, Precision
from asr_app.quality import Finding, Recording
from asr_app.served import recording_url, transcript_url
from asr_app.speeds import Speeds
from asr_app.ui import speakers, unsure
from asr_app.ui.corrections.tools import line_tools
from asr_app.ui.marked import marked
from asr_app.ui.texts import t

_WORK = ("decode", "vad", "asr", "punctuation", "speakers")
_WAITS = ("queue", "load", "warmup")
_DOWNLOADS = ("txt", "srt", "vtt", "vtt-words", "lrc", "docx", "json")
_NAMES = {"vtt-words": "words.vtt"}  # formats that are named otherwise than in the command line
_FULL_BAND_HZ = 6_000  # few voices reach further, and no recognition needs it
# A tag without a picture, as of an emotion that is no news, is not shown; the downloads have them all.
_PICTURES = {
    "happy": "😊", "sad": "😔", "angry": "😡", "fearful": "😰", "disgusted": "🤢", "surprised": "😮", "bgm": "🎼",
    "applause": "👏", "laughter": "😀", "cry": "😭", "sneeze": "🤧", "cough": "😷", "breath": "😮‍💨",
}  # fmt: skip


def clock(seconds: float) -> str:
    """`75` -> `1:15`, `3700` -> `1:01:40`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def megabytes(count: float) -> str:
    """`5.6 MB`, `145 MB`, `2.1 GB`, of a count of bytes."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count < 1e8 else f"{count / 1e6:.0f} MB"


def short_name(card: ModelCard) -> str:
    """The title without what it says in parentheses."""
    return card.title.partition(" (")[0]


def duration(seconds: float) -> str:
    """Three digits at most: `12 ms`, `3.4 s`, `2:05`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else clock(seconds)


def evidence(
    compared: Speeds | None,
    measured: Mapping[Precision, Evidence],
    lite: Precision | None,
    busy: bool,
    language: str,
) -> str:
    """The measurements of both sides of the switch, on the user's recordings if there are any at both.

    Never a promise. A precision that failed its self-check is named, and cannot be picked.
    """
    if lite is None:
        said = t("no_lite", language)
    elif compared is not None:
        count = t("on_recordings", language, n=compared.recordings)
        said = _compared(lite, compared.ratio, compared.rtfs, compared.weight_bytes, count, language)
    elif (full := measured.get(Precision.FP32)) and (low := measured.get(lite)) and low.speed:
        smaller = 1 - low.weight_bytes / full.weight_bytes
        spread = low.speed
        sentence = speed_sentence(spread.low, spread.median, spread.high, smaller, language)
        said = f"{t('measured', language)} {lite.label} {sentence} <small>({t('on_examples', language)})</small>"
    else:
        said = speed_unknown(busy, language)
    failed = {precision: entry.reason for precision, entry in measured.items() if entry.reason}
    reasons = "".join(
        f"<p>{precision.label}: {escape(t('self_check', language, reason=reason))}</p>"
        for precision, reason in failed.items()
    )
    return f'<div class="evidence"><p>{said}</p>{reasons}{_out_of_reach(failed)}</div>'


def speed_sentence(low: float, median: float, high: float, smaller: float, language: str) -> str:
    """The lite side compared with the full one, measured in alternation on this machine.

    `low`, `median` and `high` are of the ratio of speeds, above 1 where lite is faster; `smaller` is the share of the
    full size that is saved, 0 to 1. The two are as fast if the spread holds 1, or the median rounds to it.
    """
    if low <= 1 <= high or round(median, 1) == 1:
        speed = t("speed_same", language)
    else:
        key = "speed_faster" if median > 1 else "speed_slower"
        speed = t(key, language, x=f"{median:.1f}", low=f"{low:.1f}", high=f"{high:.1f}")
    size = t("smaller", language, p=f"{100 * smaller:.0f}")
    return t("both", language, speed=speed, size=size)


def speed_unknown(busy: bool, language: str) -> str:
    """The text before there is a measurement that counts."""
    return t("speed_busy" if busy else "speed_measuring", language)


def _compared(
    lite: Precision, speed: float, rtfs: tuple[float, float], sizes: tuple[int, int], on: str, language: str
) -> str:
    said = t("faster" if speed >= 1 else "slower", language, x=f"{speed:.2f}")
    saved = t("smaller", language, p=f"{100 * (1 - sizes[1] / sizes[0]):.0f}")
    figures = f"<small>(RTF {rtfs[1]:.4f} / {rtfs[0]:.4f}, {on})</small>"
    return f"{t('measured', language)} {lite.label} {said}, {saved} {figures}"


def _out_of_reach(precisions: Iterable[Precision]) -> str:
    """A style that greys these choices out: the radio has none of its own for a single one."""
    chosen = ", ".join(f'#precision label:has(input[value="{p.value}"])' for p in precisions)
    return f"<style>{chosen} {{ opacity: 0.45; pointer-events: none; }}</style>" if chosen else ""


def refusal(error: UserError, language: str) -> str:
    """The reason why a submission or a cancellation was refused."""
    return f'<div class="notice bad" role="alert">{escape(error.text(language))}</div>'


def progress(status: Status, waits: bool, language: str) -> str:
    """State, bar and time left of the job. `waits`: its model is on its way, which the page shows elsewhere."""
    if status.state == "failed":
        assert status.error is not None
        return f'<div class="notice bad" role="alert"><b>{t("failed", language)}.</b> {escape(status.error.text(language))}</div>'
    if status.state == "cancelled":
        return f'<div class="notice" role="status">{t("cancelled", language)}</div>'
    if status.state == "done":
        return ""
    if status.error is not None:
        return (
            f'<div class="notice bad" role="alert">{escape(status.name)}: {escape(status.error.text(language))}</div>'
        )
    if status.state == "paused":
        share = status.done / status.total if status.total else 0.0
        return bar(f"{status.name} · {t('state_paused', language)}", "", share)
    if status.state == "queued":
        return bar(f"{status.name} · {t('queued', language, ahead=status.ahead)}", "", 0.0)
    if waits and status.stage in ("loading", "downloading", "quantising"):
        return bar(f"{status.name} · {t('on_its_way', language)}", "", 0.0)
    label = f"{status.name} · {t(status.stage or 'loading', language)}"
    return bar(label, _how_far(status, language), status.done / status.total if status.total else None)


def _how_far(status: Status, language: str) -> str:
    """The figures of a running job: speech, bytes or steps."""
    if status.stage == "downloading":
        return share_of_bytes(status.done, status.total, language)
    if status.stage != "recognising" or not status.total:
        return f"{min(1.0, status.done / status.total):.0%}" if status.total else ""
    figures = f"{clock(status.done)} / {clock(status.total)}"
    return figures if status.eta_s is None else figures + " · " + t("left", language, time=clock(status.eta_s))


def share_of_bytes(done: float, total: float, language: str) -> str:
    """`43.0 MB of 145 MB`; only what has arrived where the total is unknown."""
    return t("of", language, done=megabytes(done), total=megabytes(total)) if total else megabytes(done)


def bar(label: str, figures: str, share: float | None) -> str:
    """A line with a bar below it. `share` is 0 to 1; None is work without an end in sight."""
    percent = 100 * min(1.0, share or 0.0)
    value = "" if share is None else f' aria-valuenow="{percent:.0f}"'
    return (
        f'<div class="progress"><div class="line"><span>{escape(label)}</span>'
        f"<span>{escape(figures)}</span></div>"
        f'<div class="bar" role="progressbar" aria-label="{escape(label)}" '
        f'aria-valuemin="0" aria-valuemax="100"{value}><div style="width:{percent:.1f}%"></div></div></div>'
    )


def rows(
    segments: Iterable[Segment], language: str, kind: str = "", names: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Segments as lines. `kind` is one more class of theirs. Neither "waiting" ones, which may still change, nor "held"
    ones, which may be cut among speakers at the job's end, can be corrected. `names` are those of speakers."""
    return "".join(line(s, language, kind, names) for s in segments)


def line(
    segment: Segment, language: str, kind: str = "", names: Mapping[str, str] = MappingProxyType({})
) -> str:  # fmt: skip
    """A line: a button that plays it, who speaks, its text, which a click makes editable (correct.js), and what may be
    done with it. `data-n` is the number of its last change.
    """
    change = segment.change
    at = clock(segment.start_s)
    said = f'{_labels(segment, language)}<span class="words">{marked(segment, language)}</span>'
    if not segment.text:
        said += f'<i class="nothing">{t("nothing_said", language)}</i>'
    if kind in ("waiting", "held"):
        said = f'<span class="said">{said}</span>'
    else:
        hint, doubts = escape(t("edit_line", language)), unsure.description(segment, language)
        said = f'<span class="said" role="button" tabindex="0" title="{hint}"{doubts}>{said}</span>{line_tools(change, language)}'
    return (
        f'<div class="segment {kind}" data-start="{segment.start_s:.3f}" data-end="{segment.end_s:.3f}" '
        f'data-n="{change.number if change else 0}"><button class="play" aria-label="{t("play_line", language, at=at)}">'
        f"<time>{at}</time></button>{speakers.label(segment.speaker, names, language)}{said}</div>"
    )


def empty(status: Status, language: str) -> str:
    """The text in place of a transcript, for a job without segments."""
    keys = {"failed": "empty_page", "cancelled": "", "done": "no_speech"}
    key = keys.get(status.state, "soon")
    return t(key, language) if key else ""


def _labels(segment: Segment, language: str) -> str:
    """Emotion and events of the segment as pictures, named for those who hover over them or do not see them."""
    shown = [(t(f"tag_{tag}", language), _PICTURES[tag]) for tag in segment.tags if tag in _PICTURES]
    return "".join(f'<i class="tag" role="img" aria-label="{name}" title="{name}">{p}</i> ' for name, p in shown)


def player(status: Status, has_text: bool) -> str:
    """The recording itself with a line of subtitle under it; page.js moves the subtitle and answers the segments."""
    if not status.recording.exists() or (status.state == "failed" and not has_text):
        return ""
    source = recording_url(status.id)
    return f'<audio id="player" controls preload="metadata" src="{source}"></audio><p id="subtitle" aria-hidden="true"></p>'


def downloads(job: str, done: bool, language: str) -> str:
    """A button that copies the text; for a job that is done, a link for each format.

    `download` keeps the page: without it, a click would end the page's event stream.
    """
    links = "".join(
        f'<a id="download-{f}" href="{transcript_url(job, f)}" download>{_NAMES.get(f, f)}</a>' for f in _DOWNLOADS
    )
    copy = f'<button id="copy">{t("copy", language)}</button>'
    compare = f'<button id="compare-here">{t("compare_here", language)}</button>'
    return f'<div class="downloads">{copy}{links + compare if done else ""}</div>'


def _weights(done: Transcript) -> str:
    """The size in all and, where it is mixed, by the dtype it is stored in."""
    stored = sorted(done.precision.stored.items(), key=lambda item: -item[1])
    mixed = ", ".join(f"{name} {count / 1e6:.1f}" for name, count in stored)
    return megabytes(done.memory["weights"]) + (f" ({mixed})" if len(stored) > 1 else "")


def _doubt(doubt: Doubt, language: str) -> str:
    """`0:12 loop → BF16`: where, why, and the precision of the text that took its place."""
    redone = f"→ {doubt.redone_at.label}" if doubt.redone_at else t("doubt_kept", language)
    return f"{clock(doubt.start_s)} {t('doubt_' + doubt.reason, language)} {redone}"


def card(done: Transcript | None, language: str) -> str:
    """The latency card: every stage's time, RTF, effective precision and memory of this very job."""
    if done is None:
        return ""
    times = done.times
    figures = [
        ("card_audio", duration(done.audio_s)),
        ("card_total", duration(times.work_s)),
        ("card_rtf", f"{done.rtf:.4f}"),
        ("card_first", duration(times.first_text_s) if times.first_text_s is not None else "–"),
        ("card_precision", done.precision.effective),
        ("card_weights", _weights(done)),
        ("card_peak", megabytes(done.memory["peak_rss"])),
    ]
    if "peak_device" in done.memory:
        figures.append(("card_device_peak", megabytes(done.memory["peak_device"])))
    if "given_back" in done.memory:
        figures.append(("card_given_back", megabytes(done.memory["given_back"])))
    if done.short_windows is not None:
        figures.append(("windows", t("windows_short" if done.short_windows else "windows_full", language)))
    if done.doubts:
        figures.append(("card_doubts", "; ".join(_doubt(d, language) for d in done.doubts)))
    if done.speakers is not None:
        figures.append(("card_speakers", speakers.figure(done.speakers, language)))
    if done.timestamps == "vad":
        figures.append(("card_timestamps", t("timestamps_vad", language)))
    cells = "".join(f"<div><dt>{t(k, language)}</dt><dd>{escape(v)}</dd></div>" for k, v in figures)
    # Waiting and loading stand apart: beside them the work itself would be a sliver of the bar.
    waits = [(s, getattr(times, f"{s}_s")) for s in _WAITS]
    before = " · ".join(t(f"stage_{s}", language) + " " + duration(v) for s, v in waits)
    waited = f'<p class="waits">{t("before", language)} {before}</p>'
    head = f"{escape(done.model_id)} · {done.precision.requested.label} · {escape(done.device)}"
    return f'<section class="card"><h3>{head}</h3><dl>{cells}</dl>{stages(times, language)}{waited}</section>'


def stages(times: StageTimes, language: str, longest_s: float = 0.0) -> str:
    """A bar of the seconds in each stage of the work, with its legend. The full width is `longest_s`, or their sum."""
    spent = {stage: getattr(times, f"{stage}_s") for stage in _WORK}
    whole = longest_s or sum(spent.values()) or 1.0
    bar = "".join(f'<i class="{s}" style="width:{100 * v / whole:.2f}%"></i>' for s, v in spent.items() if v)
    legend = "".join(
        f'<span><i class="{s}"></i>' + t(f"stage_{s}", language) + f" {duration(v)}</span>"
        for s, v in spent.items()
        if v
    )
    return f'<div class="stages">{bar}</div><div class="legend">{legend}</div>'


def recording(done: Transcript | None, language: str) -> str:
    """The quality of the recording: one line, and below it a list of what is wrong, what was done, what to do."""
    if done is None or done.recording is None:
        return ""
    recording = done.recording
    faults = [f for f in recording.findings if f.code != "tracks"]
    verdict = "" if faults else t("recording_good", language)
    line = f"<b>{t('recording', language)}</b> {escape(verdict + _measured(recording, language))}"
    items = "".join(
        f'<li data-code="{escape(f.code)}">{escape(_finding(f, language))}</li>' for f in recording.findings
    )
    return f'<section class="recording"><p>{line}</p>{f"<ul>{items}</ul>" if items else ""}</section>'


def _measured(recording: Recording, language: str) -> str:
    """`-20 dBFS, 45 dB signal to noise, full bandwidth, 23 % pauses`, without what could not be measured."""
    if recording.speech_db is None:
        return t("recording_silent", language)
    parts = [f"{recording.speech_db:.0f} dBFS", t("recording_snr", language, db=f"{recording.snr_db:.0f}")]
    if recording.bandwidth_hz is not None:
        full = recording.bandwidth_hz >= _FULL_BAND_HZ
        khz = f"{recording.bandwidth_hz / 1000:g}"
        parts.append(t("recording_full_band", language) if full else t("recording_band", language, khz=khz))
    parts.append(t("recording_pauses", language, percent=f"{100 * recording.silence:.0f}"))
    return t("comma", language).join(parts)


def _finding(finding: Finding, language: str) -> str:
    figures = {k: f"{v:g}" for k, v in finding.figures.items()}
    return t(f"finding_{finding.code}", language, **figures)

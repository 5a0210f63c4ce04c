"""Folders of recordings with references: this app's own tables, Kaldi, LibriSpeech, AISHELL, Common Voice."""

from __future__ import annotations

from pathlib import Path

from asr_app.datasets.base import AUDIO, Collector, Dataset, Reason, lines_of, rows_of
from asr_app.datasets.manifests import common_voice, is_common_voice, tab_separated

_COMMON_VOICE = ("test.tsv", "validated.tsv")


def folder_of(folder: Path) -> Dataset:
    """The dataset of `folder`, in the first layout that is there. It may have no recordings."""
    for name in ("refs.tsv", "transcripts.tsv"):
        table = folder / name
        if table.is_file():
            return tab_separated(table, rows_of(table), three=name == "refs.tsv", last=name == "transcripts.tsv")
    for name in _COMMON_VOICE:
        table = folder / name
        if table.is_file() and is_common_voice(rows_of(table)):
            return common_voice(table)
    if (folder / "wav.scp").is_file() and (folder / "text").is_file():
        return _kaldi(folder)
    if (folder / "transcript").is_dir() and (folder / "wav").is_dir():
        return _aishell(folder)
    if any(folder.rglob("*.trans.txt")):
        return _librispeech(folder)
    return _text_beside(folder)


def _text_beside(folder: Path) -> Dataset:
    """NAME.txt beside NAME.wav."""
    collector = Collector(folder, "NAME.txt")
    named = set()
    for path in sorted(folder.glob("*")):
        text = path.with_suffix(".txt")
        if path.suffix != ".txt" and path.is_file() and text.is_file():
            collector.add(path.name, "\n".join(lines_of(text)))
            named.add(text)
    for text in sorted(folder.glob("*.txt")):
        if text not in named:
            collector.leave_out(text.name, Reason.NO_AUDIO)
    collector.without_reference(folder, deep=False)
    return collector.done()


def _kaldi(folder: Path) -> Dataset:
    """Kaldi's data folder: wav.scp (id, file) and text (id, words), perhaps utt2lang (id, language)."""
    collector = Collector(folder, "Kaldi")
    languages = _by_id(folder / "utt2lang", collector) if (folder / "utt2lang").is_file() else {}
    files, texts = _by_id(folder / "wav.scp", collector), _by_id(folder / "text", collector, may_be_empty=True)
    for utterance, (text, line) in texts.items():
        if utterance not in files:
            collector.leave_out(utterance, Reason.NO_AUDIO, "text", line)
            continue
        language = languages.get(utterance, ("", 0))[0]
        collector.add(files[utterance][0], text, language, table="wav.scp", line=files[utterance][1])
    for utterance, (_, line) in files.items():
        if utterance not in texts:
            collector.leave_out(utterance, Reason.NO_REFERENCE, "wav.scp", line)
    return collector.done()


def _by_id(table: Path, collector: Collector, *, may_be_empty: bool = False) -> dict[str, tuple[str, int]]:
    """The rest of each line and its number, by the line's first word."""
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines_of(table), 1):
        if not line.strip():
            continue
        name, *rest = line.split(maxsplit=1)
        if rest or may_be_empty:
            found.setdefault(name, (rest[0].strip() if rest else "", number))
        else:
            collector.leave_out(name, Reason.BROKEN, table.name, number)
    return found


def _librispeech(folder: Path) -> Dataset:
    """LibriSpeech: SPEAKER-CHAPTER.trans.txt (id, words) beside ID.flac, at any depth. English."""
    collector = Collector(folder, "LibriSpeech")
    for table in sorted(folder.rglob("*.trans.txt")):
        for utterance, (text, line) in _by_id(table, collector, may_be_empty=True).items():
            collector.add(f"{utterance}.flac", text, "en", table=table.name, line=line, base=table.parent)
    collector.without_reference(folder)
    return collector.done()


def _aishell(folder: Path) -> Dataset:
    """AISHELL: transcript/*.txt (id, words), and recordings anywhere in wav/. Mandarin."""
    collector = Collector(folder, "AISHELL")
    files = {path.stem: path for path in sorted((folder / "wav").rglob("*")) if path.suffix.lower() in AUDIO}
    for table in sorted((folder / "transcript").glob("*.txt")):
        for utterance, (text, line) in _by_id(table, collector, may_be_empty=True).items():
            if utterance in files:
                name = files[utterance].relative_to(folder).as_posix()
                collector.add(name, text, "zh", table=table.name, line=line)
            else:
                collector.leave_out(utterance, Reason.NO_AUDIO, table.name, line)
    collector.without_reference(folder / "wav")
    return collector.done()

"""Writes a transcript as the text of a file. A format is one function in WRITERS."""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr_app.datatypes import Segment, Transcript, Word
from asr_app.errors import UserError
from asr_app.text import graphemes, is_phrased, is_spaceless, words_of_phrases

MAX_CUE_WIDTH = 84  # two lines of 42 Latin characters or of 21 Mandarin ones, which are twice as wide
_PAUSES = ",.;:!?，。；：！？、"
_CLINGING = ("Pc", "Pd", "Pe", "Pf", "Po")  # punctuation that belongs to the word before it
_JUST_BEFORE = 0.5  # a character's end lies this much before the next one's start, which may be a pause later


def write(transcript: Transcript, format: str) -> str:
    """The transcript as the text of a `format` file. Raises UserError with the choices."""
    return writer(format)(transcript)


def writer(format: str) -> Callable[[Transcript], str]:
    """The function that makes the text of a `format` file. Raises UserError with the choices."""
    if format not in WRITERS:
        choices = ", ".join(WRITERS)
        raise UserError(
            f"Unknown format {format!r}. Choose one of: {choices}.", f"未知格式 {format!r}。可选：{choices}。"
        )
    return WRITERS[format]


def _txt(transcript: Transcript) -> str:
    return "".join(f"{_one_line(s.text)}\n" for s in transcript.segments if s.text.strip())


def _srt(transcript: Transcript) -> str:
    # SRT has no escapes, and a line with an arrow would be read as times.
    return "\n".join(
        f"{number}\n{_clock(c.start_ms, ',')} --> {_clock(c.end_ms, ',')}\n{c.text.replace('-->', '→')}\n"
        for number, c in enumerate(_cues(transcript), start=1)
    )


def _vtt(transcript: Transcript) -> str:
    return "WEBVTT\n" + "".join(
        f"\n{_clock(c.start_ms, '.')} --> {_clock(c.end_ms, '.')}\n{_escaped(c.text)}\n" for c in _cues(transcript)
    )


def _json(transcript: Transcript) -> str:
    return json.dumps(transcript.as_dict(), ensure_ascii=False, indent=2) + "\n"


def _tsv(transcript: Transcript) -> str:
    rows = (
        f"{round(s.start_s * 1000)}\t{round(s.end_s * 1000)}\t{_one_line(s.text)}\n"
        for s in transcript.segments
        if s.text.strip()
    )
    return "start\tend\ttext\n" + "".join(rows)


WRITERS: Mapping[str, Callable[[Transcript], str]] = {"txt": _txt, "srt": _srt, "vtt": _vtt, "json": _json, "tsv": _tsv}


@dataclass(frozen=True)
class _Cue:
    start_ms: int
    end_ms: int
    text: str


def _cues(transcript: Transcript) -> Iterator[_Cue]:
    """Subtitles of the transcript. Each starts no earlier than the previous one ends, and lasts at least 1 ms."""
    earliest = 0
    for segment in transcript.segments:
        for start_s, end_s, text in _split(segment):
            start = max(earliest, round(start_s * 1000))
            earliest = max(start + 1, round(end_s * 1000))
            yield _Cue(start, earliest, text)


def _split(segment: Segment) -> Iterator[tuple[float, float, str]]:
    """The segment in pieces no wider than MAX_CUE_WIDTH, as (start_s, end_s, text)."""
    text = _one_line(segment.text)
    atoms = _atoms(text)
    if not atoms:
        return
    clock_at, clock_s = _clock_points(segment, text, atoms)
    first = 0
    while first < len(atoms):
        after = _end_of_cue(text, atoms, first)
        start, end = atoms[first][0], atoms[after - 1][1]
        start_s, end_s = np.interp([start, end - _JUST_BEFORE], clock_at, clock_s)
        yield float(start_s) if first else segment.start_s, float(end_s), text[start:end]
        first = after


def _atoms(text: str) -> list[tuple[int, int]]:
    """Pieces between which a line may break: [start, end) of each word or Mandarin character with its punctuation."""
    atoms: list[tuple[int, int]] = []
    begins = _begins(text)
    opened = False  # an opening bracket or quote belongs to the next character
    for at, character in enumerate(text):
        if character.isspace():
            continue
        kind = unicodedata.category(character)
        before = text[at - 1] if at else " "
        clings = opened or (kind[0] == "P" and kind not in ("Ps", "Pi"))
        alone = is_spaceless(character) or is_spaceless(before) or at in begins
        inside_word = not alone and kind not in ("Ps", "Pi")
        if atoms and atoms[-1][1] == at and (clings or inside_word):
            atoms[-1] = (atoms[-1][0], at + 1)
        else:
            atoms.append((at, at + 1))
        opened = kind in ("Ps", "Pi")
    return atoms


def _begins(text: str) -> set[int]:
    """Starts of words in scripts without spaces between words. A word too wide for a cue may break at any character."""
    begins = set()
    for start, end in words_of_phrases(text):
        begins.add(start)
        if _width(text[start:end]) > MAX_CUE_WIDTH:
            begins |= {start + first for first, _ in graphemes(text[start:end])}
    return begins


def _end_of_cue(text: str, atoms: list[tuple[int, int]], first: int) -> int:
    """The index after the last atom of the cue that begins at atom `first`."""
    start, fits = atoms[first][0], first + 1
    while fits < len(atoms) and _width(text[start : atoms[fits][1]]) <= MAX_CUE_WIDTH:
        fits += 1
    if fits == len(atoms):
        return fits
    for after in range(fits, first + 1, -1):  # back to the last comma, full stop or phrase, if that leaves half a cue
        piece = text[start : atoms[after - 1][1]]
        if _width(piece) < MAX_CUE_WIDTH / 2:
            break
        end = atoms[after - 1][1]
        if piece[-1] in _PAUSES or (is_phrased(piece[-1]) and text[end : end + 1] == " "):
            return after
    return fits


def _clock_points(segment: Segment, text: str, atoms: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """Positions in the text, rising, and their seconds: the segment's ends, and every word that occurs in the text.

    A model's words have no punctuation, and number formatting may have rewritten them, so not all of them occur. Times
    between two that do, or in a segment without words, are interpolated by characters.
    """
    at, seconds = [0.0], [segment.start_s]
    for start, end, word in _words_in(segment.words, text, atoms):
        at += [float(start), end - _JUST_BEFORE]
        seconds += [word.start_s, word.end_s]
    at.append(len(text) - _JUST_BEFORE)
    seconds.append(segment.end_s)
    return at, np.clip(seconds, segment.start_s, segment.end_s).tolist()


def words_in(text: str, words: Sequence[Word]) -> Iterator[tuple[int, int, Word]]:
    """Yields [start, end) and the word for each of `words` that occurs in the text, with the marks that follow it."""
    return _words_in(words, text, _atoms(text))


def _words_in(words: Sequence[Word], text: str, atoms: list[tuple[int, int]]) -> Iterator[tuple[int, int, Word]]:
    """Yields [start, end) and the word for each of `words` that occurs in the text."""
    bare = [_bare(w.text) for w in words]
    letters = [i for i, c in enumerate(text) for _ in _bare(c)]  # a lower-case letter may be two
    if "".join(bare) == _bare(text):
        # Nothing was rewritten. A model cuts Thai into other pieces than a dictionary does, but the letters are the same.
        first = 0
        for word, said in zip(words, bare, strict=True):
            if said:
                end = letters[first + len(said) - 1] + 1
                while end < len(text) and unicodedata.category(text[end]) in _CLINGING:
                    end += 1
                yield letters[first], end, word
            first += len(said)
        return
    spoken = [_bare(text[a:b]) for a, b in atoms]
    for match in difflib.SequenceMatcher(None, spoken, bare, autojunk=False).get_matching_blocks():
        for step in range(match.size):
            yield *atoms[match.a + step], words[match.b + step]


def _bare(text: str) -> str:
    return "".join(c for c in text if unicodedata.category(c)[0] != "P" and not c.isspace()).lower()


def _width(text: str) -> int:
    # A vowel sign or tone mark stands above or below its consonant, and takes no room.
    return sum(2 if is_spaceless(c) else 0 if unicodedata.category(c) == "Mn" else 1 for c in text)


def _one_line(text: str) -> str:
    """A line break or tab would end a cue or a column."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(ms: int, mark: str) -> str:
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"

"""Each written file, read back by a small parser where the format has rules."""

from __future__ import annotations

import io
import json
import re
import zipfile
from xml.etree import ElementTree

import pytest

from asr_app.datatypes import Segment, StageTimes, Transcript, Word
from asr_app.errors import UserError
from asr_app.formats import FORMATS, WRITERS, known, write
from asr_app.precision.enum import Precision
from asr_app.precision.report import PrecisionReport


def _transcript(*segments: Segment) -> Transcript:
    return Transcript(segments, "fake", PrecisionReport(Precision.FP32, ()), "cpu", 10.0, StageTimes(asr_s=1.0))


TWO = _transcript(Segment(0.0, 1.5, "你好，世界。"), Segment(3661.0006, 3662.25, "Hello there."))


def test_srt() -> None:
    assert write(TWO, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\n你好，世界。\n\n2\n01:01:01,001 --> 01:01:02,250\nHello there.\n"
    )


def test_vtt() -> None:
    assert write(TWO, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n你好，世界。\n\n01:01:01.001 --> 01:01:02.250\nHello there.\n"
    )


def test_tsv_and_txt() -> None:
    assert write(TWO, "tsv") == "start\tend\ttext\n0\t1500\t你好，世界。\n3661001\t3662250\tHello there.\n"
    assert write(TWO, "txt") == "你好，世界。\nHello there.\n"


def test_json_is_the_whole_transcript_and_readable() -> None:
    text = write(TWO, "json")
    assert json.loads(text) == json.loads(json.dumps(TWO.as_dict()))
    assert "你好" in text
    assert '\n  "segments"' in text


@pytest.mark.parametrize("format", WRITERS)
def test_nothing_said(format: str) -> None:
    """A segment of blanks is no cue, no line and no row."""
    text = write(_transcript(), format)
    assert text == {
        "txt": "",
        "srt": "",
        "vtt": "WEBVTT\n",
        "vtt-words": "WEBVTT\n",
        "lrc": "",
        "tsv": "start\tend\ttext\n",
    }.get(format, text)
    if format != "json":
        assert write(_transcript(Segment(0, 1, " \n"), Segment(1, 2, "...")), format) == {
            "txt": "...\n",
            "tsv": f"{text}1000\t2000\t...\n",
        }.get(format, text)


def test_unknown_format_lists_the_choices() -> None:
    with pytest.raises(UserError) as caught:
        write(TWO, "pdf")
    for message in (caught.value.en, caught.value.zh):
        assert "pdf" in message
        assert all(choice in message for choice in WRITERS)


def test_text_cannot_break_the_format() -> None:
    nasty = _transcript(Segment(0, 1, "a <b> & c\n\n2\n00:00 --> 00:01\tend"))
    assert " ".join(write(nasty, "vtt").splitlines()[3:]) == "a &lt;b&gt; &amp; c 2 00:00 --&gt; 00:01 end"
    assert write(nasty, "srt").splitlines()[2:] == ["a <b> & c 2 00:00 → 00:01 end"]
    assert write(nasty, "tsv").splitlines()[1].split("\t")[2:] == ["a <b> & c 2 00:00 --> 00:01 end"]
    assert write(nasty, "txt").count("\n") == 1
    lyric = _transcript(Segment(0, 1, "[00:01.00] a"))
    assert write(lyric, "lrc").splitlines()[0] == "[00:00.00](00:01.00) a"


WORDS = (Word(1.0, 1.4, "ask"), Word(1.4, 1.8, "not"), Word(1.8, 1.8, "what"), Word(1.9, 2.6, "a<b"))
SUNG = _transcript(Segment(1.0, 2.6, "Ask not what a<b.", WORDS), Segment(4.0, 5.0, "好。", (Word(4.0, 5.0, "好"),)))


def test_words_have_timestamps_inside_their_cue() -> None:
    """The first word begins with the cue, and needs none. A word without length still has a start."""
    assert write(SUNG, "vtt-words") == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.600\n"
        "Ask <00:00:01.400>not <00:00:01.800>what <00:00:01.900>a&lt;b.\n"
        "\n00:00:04.000 --> 00:00:05.000\n好。\n"
    )


def test_timestamps_rise_and_lie_inside_of_their_cue() -> None:
    words = tuple(Word(i // 3 * 0.2, i // 3 * 0.2 + 0.1, f"word{i:02}") for i in range(60))
    text = write(_transcript(Segment(0, 4, " ".join(w.text for w in words), words)), "vtt-words")
    for block in text.split("\n\n")[1:]:
        clocks = [
            sum(float(x) * 60**i for i, x in enumerate(reversed(c.split(":"))))
            for c in re.findall(r"[\d:.]{12}", block)
        ]
        inside = clocks[2:]
        assert clocks[0] < min(inside, default=99)
        assert max(inside, default=0) < clocks[1]
        assert inside == sorted(set(inside))


def test_lrc_ends_a_line_where_a_pause_follows() -> None:
    assert write(SUNG, "lrc") == "[00:01.00]Ask not what a<b.\n[00:02.60]\n[00:04.00]好。\n[00:05.00]\n"
    assert write(TWO, "lrc").splitlines()[2] == "[61:01.00]Hello there."


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def test_docx_is_a_package_with_a_paragraph_for_each_segment() -> None:
    nasty = _transcript(
        Segment(0, 61.9, "a <b> & c\x00\ud800", speaker="Ann"), Segment(61.9, 3700, "好\n的。"), Segment(1, 2, " ")
    )
    data = known("docx").encode(nasty)
    assert data == known("docx").encode(nasty)
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        assert package.testzip() is None
        assert {part.date_time[0] for part in package.infolist()} == {1980}  # equal transcripts, equal bytes
        parts = {name: ElementTree.fromstring(package.read(name)) for name in package.namelist()}  # noqa: S314
    assert list(parts) == ["[Content_Types].xml", "_rels/.rels", "word/document.xml"]
    paragraphs = parts["word/document.xml"].findall(f".//{_W}p")
    texts = ["|".join(t.text for t in p.iter(f"{_W}t")) for p in paragraphs]
    assert texts == ["0:00:00–0:01:01|Ann: a <b> & c", "0:01:01–1:01:40|好 的。"]


def test_docx_is_no_text() -> None:
    assert set(FORMATS) - set(WRITERS) == {"docx"}
    with pytest.raises(UserError):
        write(TWO, "docx")
    assert known("vtt-words").suffix == "words.vtt"

"""Each written file, read back by a small parser where the format has rules."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata

import pytest

from asr_app.datatypes import Segment, StageTimes, Transcript, Word
from asr_app.errors import UserError
from asr_app.formats import MAX_CUE_WIDTH, WRITERS, write
from asr_app.precision.enum import Precision
from asr_app.precision.report import PrecisionReport

_CLOCK = r"(\d\d):(\d\d):(\d\d)[.,](\d\d\d)"


def _transcript(*segments: Segment) -> Transcript:
    return Transcript(segments, "fake", PrecisionReport(Precision.FP32, ()), "cpu", 10.0, StageTimes(asr_s=1.0))


def _cues(subtitles: str) -> list[tuple[int, int, str]]:
    """(start ms, end ms, text) of an SRT or VTT text."""
    found = re.findall(rf"^{_CLOCK} --> {_CLOCK}\n(.*)\n", subtitles, re.MULTILINE)
    assert len(found) == subtitles.count(" --> ")
    return [(_ms(f[:4]), _ms(f[4:8]), f[8]) for f in found]


def _ms(clock: tuple[str, ...]) -> int:
    hours, minutes, seconds, ms = map(int, clock)
    assert minutes < 60
    assert seconds < 60
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms


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
    assert text == {"txt": "", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n"}.get(format, text)
    if format != "json":
        assert write(_transcript(Segment(0, 1, " \n")), format) == text


def test_unknown_format_lists_the_choices() -> None:
    with pytest.raises(UserError) as caught:
        write(TWO, "docx")
    for message in (caught.value.en, caught.value.zh):
        assert "docx" in message
        assert all(choice in message for choice in WRITERS)


def test_text_cannot_break_the_format() -> None:
    nasty = _transcript(Segment(0, 1, "a <b> & c\n\n2\n00:00 --> 00:01\tend"))
    assert write(nasty, "vtt").splitlines()[3:] == ["a &lt;b&gt; &amp; c 2 00:00 --&gt; 00:01 end"]
    assert write(nasty, "srt").splitlines()[2:] == ["a <b> & c 2 00:00 → 00:01 end"]
    assert write(nasty, "tsv").splitlines()[1].split("\t")[2:] == ["a <b> & c 2 00:00 --> 00:01 end"]
    assert write(nasty, "txt").count("\n") == 1


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_times_rise_even_where_segments_overlap(format: str) -> None:
    cues = _cues(
        write(
            _transcript(Segment(0, 2.0004, "a"), Segment(1.9, 2.0, "b"), Segment(2.0, 2.0, "c"), Segment(5, 6, "d")),
            format,
        )
    )
    assert [c[2] for c in cues] == ["a", "b", "c", "d"]
    assert all(start < end for start, end, _ in cues)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(cues))
    assert cues[-1][:2] == (5000, 6000)


def _width(text: str) -> int:
    return sum(2 if "\u3000" <= c <= "\uffef" else 1 for c in text)


def test_long_mandarin_is_split_after_a_comma() -> None:
    text = "一二三四五六七八九十" * 3 + "，" + "春夏秋冬" * 8 + "。"
    cues = _cues(write(_transcript(Segment(10, 20, text)), "srt"))
    assert "".join(c[2] for c in cues) == text
    assert cues[0][2].endswith("，")
    assert len(cues) == 2
    assert cues[0][0] == 10_000
    assert cues[-1][1] == 20_000
    # no word times: the first cue has 31 of the 64 characters, so about 31/64 of the ten seconds
    assert cues[0][1] == pytest.approx(10_000 + 10_000 * 31 / 64, abs=150)


def test_long_latin_is_split_between_words() -> None:
    words = [f"word{'x' * (i % 7)}{i}" for i in range(60)]
    cues = _cues(write(_transcript(Segment(0, 30, " ".join(words))), "vtt"))
    assert len(cues) > 3
    assert all(_width(c[2]) <= MAX_CUE_WIDTH for c in cues)
    assert " ".join(c[2] for c in cues).split() == words


def test_no_cue_begins_with_punctuation_or_ends_with_an_opening_one() -> None:
    for before in range(30, 50):
        text = "字" * before + "（注）、" + "“好”。" * 10
        cues = _cues(write(_transcript(Segment(0, 9, text)), "srt"))
        assert "".join(c[2] for c in cues) == text
        assert not any(c[2][0] in "）、”。" or c[2][-1] in "（“" for c in cues)


def test_word_times_decide_where_a_cue_starts_and_ends() -> None:
    """Thirty words with a pause of 5 s after the fifteenth and its comma; one more would still fit the first cue."""
    starts = [0.5 + i * 0.2 + (5 if i >= 15 else 0) for i in range(30)]
    words = tuple(Word(start, start + 0.15, f"w{i:03}") for i, start in enumerate(starts))
    text = " ".join(w.text.capitalize() for w in words[:15]) + ", " + " ".join(w.text for w in words[15:]) + "."
    cues = _cues(write(_transcript(Segment(0, 12, text, words)), "srt"))
    assert cues[0][2].split()[-1] == "W014,"
    assert cues[1][2].split()[0] == "w015"
    assert [c[:2] for c in cues] == [(0, 3450), (8500, 12_000)]


def test_word_times_outside_of_the_segment_do_not_widen_it() -> None:
    words = tuple(Word(50.0, 60.0, "字") for _ in range(60))
    cues = _cues(write(_transcript(Segment(1, 9, "字" * 60, words), Segment(9, 10, "后")), "srt"))
    assert cues[0][1] <= 9000
    assert cues[-1][:2] == (9001, 10_000)


def test_rewritten_numbers_do_not_derail_the_word_times() -> None:
    """The text has `21` where three words were spoken; the words after it are still found."""
    spoken = ["这"] * 30 + ["twenty", "one", "years"] + ["那"] * 30
    words = tuple(Word(float(i), i + 0.9, w) for i, w in enumerate(spoken))
    text = "这" * 30 + "21 years，" + "那" * 30
    cues = _cues(write(_transcript(Segment(0, 63, text, words)), "srt"))
    assert cues[1][2] == "那" * 30
    assert cues[0][1] == 32_900
    assert cues[1][0] == 33_000


def test_a_word_wider_than_a_cue_stays_whole() -> None:
    text = "see " + "x" * 200 + " now"
    assert [c[2] for c in _cues(write(_transcript(Segment(0, 4, text)), "srt"))] == ["see", "x" * 200, "now"]


_PHRASES = {
    "th": "สวัสดีครับวันนี้อากาศดีมากและผมจะไปตลาดกับเพื่อนๆของผมเราจะซื้อผลไม้",
    "lo": "ສະບາຍດີຂ້ອຍຊື່ສົມໄຊແລະມາຈາກວຽງຈັນ",
    "km": "ខ្ញុំទៅផ្សារដើម្បីទិញបន្លែនិងផ្លែឈើថ្ងៃនេះអាកាសធាតុល្អ",
    "my": "ကျွန်တော်ဈေးသို့သွားပြီးသစ်သီးဝယ်မည်ဒီနေ့ရာသီဥတုကောင်းတယ်",
}
_WORDS = {"th": "ตลาด", "lo": "ວຽງຈັນ", "km": "ផ្សារ", "my": "ရာသီဥတု"}


def _columns(text: str) -> int:
    return sum(unicodedata.category(c) != "Mn" for c in text)


@pytest.mark.parametrize("language", _PHRASES)
def test_scripts_without_spaces_are_split_between_words(language: str) -> None:
    text = _PHRASES[language] * 8
    cues = _cues(write(_transcript(Segment(0, 60, text)), "srt"))
    assert "".join(c[2] for c in cues) == text
    assert all(_columns(c[2]) <= MAX_CUE_WIDTH for c in cues)
    assert all(_columns(c[2]) > MAX_CUE_WIDTH / 2 for c in cues[:-1])
    assert sum(c[2].count(_WORDS[language]) for c in cues) == 8
    # No cue begins with a sign that belongs to the letter before it, or ends in a vowel that belongs to the next one.
    assert not any(unicodedata.category(c[2][0]) in ("Mn", "Mc") for c in cues)
    assert not any(c[2][-1] in "เแโใไເແໂໃໄ\u17d2\u1039" for c in cues)


def test_thai_is_split_between_phrases_where_there_are_any() -> None:
    phrase = _PHRASES["th"][:44]
    cues = _cues(write(_transcript(Segment(0, 60, " ".join([phrase] * 5))), "srt"))
    assert {c[2] for c in cues} <= {phrase, f"{phrase} {phrase}"}


@pytest.mark.parametrize("letters", ["กขฃคฅฆงจฉชซฌญฎ", "ก็"])
def test_what_no_dictionary_knows_is_split_between_letters(letters: str) -> None:
    cues = _cues(write(_transcript(Segment(0, 60, letters * 90)), "srt"))
    assert "".join(c[2] for c in cues) == letters * 90
    assert all(_columns(c[2]) <= MAX_CUE_WIDTH for c in cues)
    assert not any(unicodedata.category(c[2][0]) == "Mn" for c in cues)


def test_an_emoji_does_not_move_the_places_where_thai_is_split() -> None:
    text = "😀" * 7 + _PHRASES["th"] * 4
    cues = _cues(write(_transcript(Segment(0, 60, text)), "srt"))
    assert "".join(c[2] for c in cues) == text
    assert sum(c[2].count("ตลาด") for c in cues) == 4


def test_times_of_words_that_a_model_cut_otherwise() -> None:
    """Whisper's pieces of Thai are not a dictionary's words; the times of its letters are exact all the same."""
    text = _PHRASES["th"] * 4
    pieces = [text[i : i + 3] for i in range(0, len(text), 3)]
    words = tuple(Word(i / 2, i / 2 + 0.4, piece) for i, piece in enumerate(pieces))
    end = words[-1].end_s
    cues = _cues(write(_transcript(Segment(0, end, text, words)), "srt"))
    assert len(cues) > 2
    at = 0
    for start_ms, _, said in cues[:-1]:
        assert start_ms == pytest.approx(1000 * at / 6, abs=350)
        at += len(said)


def test_a_letter_that_becomes_two_in_lower_case_moves_no_times() -> None:
    words = (Word(0, 1, "İ"), Word(5, 6, "a" * 50), Word(8, 9, "b" * 50))
    cues = _cues(write(_transcript(Segment(0, 9, f"İ {'a' * 50}, {'b' * 50}", words)), "srt"))
    assert [c[:2] for c in cues] == [(0, 6000), (8000, 9000)]

"""The linter: each rule by a file that breaks it, files as other programs write them, and the command."""

from __future__ import annotations

import pytest
from linting import faults, shown

from asr_app import cli
from asr_app.datatypes import Segment
from asr_app.errors import UserError
from asr_app.subtitles import make_cues
from asr_app.subtitles.lint import RULES, check, read


def srt(*blocks: tuple[str, str, str]) -> str:
    return "\n".join(f"{i}\n00:00:{a} --> 00:00:{b}\n{text}\n" for i, (a, b, text) in enumerate(blocks, 1))


def broken(*blocks: tuple[str, str, str]) -> list[tuple[int, str]]:
    return [(fault.cue.number, fault.rule) for fault in check(read(srt(*blocks)))]


FINE = ("01,000", "02,000", "Hello there.")
CASES = {
    "empty": [("01,000", "02,000", "")],
    "order": [("02,000", "01,000", "Hello there.")],
    "overlap": [FINE, ("01,900", "03,000", "Hello there.")],
    "gap": [FINE, ("02,082", "03,000", "Hello there.")],
    "short": [("01,000", "01,799", "Hello there.")],
    "long": [("01,000", "08,001", "Hello there.")],
    "fast": [("01,000", "02,000", "Twenty-one letters ...")],
    "lines": [("01,000", "02,000", "a\nb\nc")],
    "wide": [("01,000", "05,000", "x" * 43)],
    "mark": [("01,000", "02,000", "Hello\n, there")],
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_found_and_nothing_else(rule: str) -> None:
    assert broken(*CASES[rule]) == [(len(CASES[rule]), rule)]


def test_a_subtitle_at_every_limit_breaks_none() -> None:
    assert broken(
        ("01,000", "01,800", "Sixteen letters."),
        ("01,883", "08,883", "x" * 42 + "\n" + "y" * 42),
        ("09,000", "12,000", "字" * 16 + "\n" + "字" * 16),
        ("13,000", "14,000", "Twenty letters here."),
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    ("line", "widest"),
    [("x", 42), ("字", 16), ("ก", 35), ("안", 16), ("ъ", 42), ("ا", 42), ("कि", 21)],
)
def test_the_width_of_a_line_by_script(line: str, widest: int) -> None:
    assert broken(("01,000", "08,000", line * widest)) == []
    assert broken(("01,000", "08,000", line * (widest + 1))) == [(1, "wide")]


@pytest.mark.parametrize(("line", "most"), [("x", 20), ("字", 11), ("ก", 17), ("안", 14)])
def test_reading_speed_by_script(line: str, most: int) -> None:
    assert broken(("01,000", "02,000", line * most)) == []
    assert "fast" in [rule for _, rule in broken(("01,000", "02,000", line * (most + 1)))]


def test_han_characters_among_kana_are_read_as_japanese() -> None:
    assert broken(("01,000", "02,000", "日本語の文章です")) == [(1, "fast")]
    assert broken(("01,000", "03,000", "我们的鲜の每日一餐\n好吃又便宜大家来")) == []


def test_tone_marks_take_no_room() -> None:
    assert broken(("01,000", "08,000", "ก็" * 35)) == []


def test_beginnings_that_look_like_ends() -> None:
    assert (
        broken(("01,000", "02,000", "...and so"), ("03,000", "04,000", ".5 is half"), ("05,000", "06,000", "’em all"))
        == []
    )
    assert broken(("01,000", "02,000", "（")) == [(1, "mark")]


def test_webvtt_with_header_note_settings_markup_and_entities() -> None:
    text = (
        "\ufeffWEBVTT - title\r\nKind: captions\r\n\r\nNOTE a note\r\n\r\nSTYLE\r\n::cue { color: red }\r\n\r\n"
        "first\r\n00:01.000 --> 00:02.000 align:start\r\n<v Ann>A <00:01.500><b>&lt;x&gt;</b>\r\n\r\n"
        "01:00:02.100 --> 01:00:04.000\r\nOne\r\nTwo\r\n"
    )
    first, second = read(text)
    assert (first.start_ms, first.end_ms, first.lines) == (1000, 2000, ("A <x>",))
    assert (second.start_ms, second.lines) == (3_602_100, ("One", "Two"))
    assert read("WEBVTT\n") == []
    assert read("") == []


def test_srt_with_an_empty_subtitle_and_blanks_between() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n\n\n \n2\n00:00:03,000 --> 00:00:04,000\nHello.\n\n\n"
    assert [(c.number, c.lines) for c in read(text)] == [(1, ()), (2, ("Hello.",))]


def test_another_file_is_refused() -> None:
    with pytest.raises(UserError, match="no SRT or WebVTT"):
        read("Dear all,\n\nthis is a letter.\n")


def test_the_command_names_rule_cue_and_time(tmp_path, capsys) -> None:
    good, bad, letter = tmp_path / "good.srt", tmp_path / "bad.srt", tmp_path / "letter.txt"
    good.write_text(srt(FINE), encoding="utf-8")
    bad.write_text(srt(FINE, ("03,000", "03,100", "Oh!")), encoding="utf-8")
    letter.write_bytes(b"\xff\xfe")
    assert cli.main(["lint", str(good)]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["lint", str(good), str(bad)]) == 1
    assert capsys.readouterr().out == (
        f"{bad}:2 (0:00:03.000) is shown 0.10 s; 0.80 s at least [short]\n"
        f"{bad}:2 (0:00:03.000) is shown 0.10 s; its reader needs 0.15 s [fast]\n"
    )
    assert cli.main(["lint", str(letter), str(tmp_path / "gone.srt"), str(bad)]) == 2
    out = capsys.readouterr()
    assert "letter.txt: It cannot be read as UTF-8" in out.err
    assert "gone.srt" in out.err
    assert "[short]" in out.out


def test_the_command_speaks_chinese(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    (tmp_path / "a.srt").write_text(srt(("01,000", "02,000", "")), encoding="utf-8")
    assert cli.main(["lint", str(tmp_path / "a.srt")]) == 1
    assert "没有文字" in capsys.readouterr().out


def test_what_is_made_is_what_is_linted() -> None:
    """The helper of all other tests sees the lines as a file has them."""
    made = make_cues([Segment(0, 3, "wordy " * 10)], 3.0)
    assert [len(cue.lines) for cue in shown(made)] == [2]
    assert faults(made) == []

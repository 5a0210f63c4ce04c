"""Subtitles of hand-made and of random transcripts: their breaks, lines and times, each of them linted."""

from __future__ import annotations

import itertools
import random
import unicodedata
from dataclasses import replace

import pytest
from linting import faults

from asr_app.datatypes import Segment, Word
from asr_app.subtitles import Cue, make_cues
from asr_app.subtitles.atoms import atoms_of
from asr_app.subtitles.rules import DRIFT_MS, GAP_MS, MIN_MS, Ruler


def made(*segments: Segment, audio_s: float = 10.0, fast: bool = True) -> list[Cue]:
    """The subtitles, which break no rule; with `fast` False they may ask for fast reading."""
    subtitles = make_cues(segments, audio_s)
    assert not faults(subtitles, fast=fast)
    return subtitles


def texts(subtitles: list[Cue]) -> list[str]:
    return [cue.line for cue in subtitles]


def letters(text: str) -> str:
    return "".join(text.split())


def bare(text: str) -> str:
    """The text without spaces and marks: a mark at a segment's beginning belongs to no word, and is left out."""
    return "".join(c for c in text if unicodedata.category(c)[0] not in "PZ" and c != "\n")


def spoken(text: str, start_s: float, per_word_s: float) -> Segment:
    """A segment whose words follow each other, `per_word_s` each."""
    words = [w.strip(",.") for w in text.split()]
    timed = tuple(Word(start_s + i * per_word_s, start_s + (i + 1) * per_word_s, w) for i, w in enumerate(words))
    return Segment(start_s, timed[-1].end_s, text, timed)


def test_a_short_sentence_is_a_cue_as_spoken() -> None:
    (cue,) = made(spoken("Ask not what your country can do.", 1.0, 0.3))
    assert (cue.start_ms, cue.end_ms, cue.text) == (1000, 3100, "Ask not what your country can do.")


def test_sentences_do_not_share_a_cue_while_there_is_time() -> None:
    subtitles = made(spoken("It rains today.", 0.0, 0.5), spoken("We stay at home.", 1.5, 0.4))
    assert texts(subtitles) == ["It rains today.", "We stay at home."]
    assert subtitles[1].start_ms - subtitles[0].end_ms == GAP_MS


def test_a_word_that_is_too_short_to_read_goes_with_its_neighbour() -> None:
    """Three sentences without a pause; `Yes.` alone would flash for 0.2 s."""
    yes = Segment(2.0, 2.2, "Yes.", (Word(2.0, 2.2, "yes"),))
    subtitles = made(
        spoken("Do you like the new house on the hill?", 0.2, 0.2), yes, spoken("I think so too my dear.", 2.2, 0.25)
    )
    assert len(subtitles) == 2
    assert sum("Yes." in text for text in texts(subtitles)) == 1


def test_a_sentence_without_time_gets_a_readable_share() -> None:
    """A segment of no length between two others, as number formatting leaves it: it had 1 ms."""
    subtitles = made(
        Segment(0.0, 3.0, "The first sentence is here.", speaker="a"),
        Segment(3.0, 3.0, "And the second.", speaker="b"),
        Segment(3.0, 6.0, "Then comes the third one.", speaker="a"),
    )
    assert texts(subtitles) == ["The first sentence is here.", "And the second.", "Then comes the third one."]
    assert all(cue.end_ms - cue.start_ms >= MIN_MS for cue in subtitles)


def test_a_lone_word_stays_until_it_is_read_and_no_longer() -> None:
    (cue,) = made(Segment(3.0, 3.1, "Oh!"))
    assert (cue.start_ms, cue.end_ms) == (3000, 3000 + MIN_MS)


def test_the_last_word_does_not_outlast_the_recording() -> None:
    (cue,) = made(Segment(9.8, 10.0, "Oh!"))
    assert (cue.start_ms, cue.end_ms) == (10_000 - MIN_MS, 10_000)


def test_a_word_that_lasts_too_long_is_shown_seven_seconds() -> None:
    (cue,) = made(Segment(0.0, 60.0, "Om.", (Word(0.0, 60.0, "om"),)))
    assert (cue.start_ms, cue.end_ms) == (0, 7000)


def test_short_gaps_are_closed_and_long_ones_stay() -> None:
    subtitles = made(
        spoken("It rains today.", 0.0, 0.5), spoken("We stay home.", 1.9, 0.5), spoken("Until it ends.", 6.0, 0.5)
    )
    assert [(c.start_ms, c.end_ms) for c in subtitles] == [(0, 1900 - GAP_MS), (1900, 3400), (6000, 7500)]


def test_segments_that_overlap_follow_each_other() -> None:
    speakers = ["a", "b", "a", "b"]
    ends = [(0, 2.0004), (1.9, 2.0), (2.0, 2.0), (5, 6)]
    subtitles = made(*(Segment(*e, t, speaker=s) for e, t, s in zip(ends, "abcd", speakers, strict=True)))
    assert texts(subtitles) == ["a", "b", "c", "d"]
    assert (subtitles[-1].start_ms, subtitles[-1].end_ms) == (5000, 6000)


def test_a_change_of_speaker_ends_a_cue() -> None:
    assert len(made(Segment(0, 2, "Are you coming?", speaker="1"), Segment(2, 4, "in a minute", speaker="2"))) == 2


def test_speech_too_fast_to_read_keeps_its_times() -> None:
    """60 characters a second for a minute: reading time for all would delay the last words by minutes."""
    segment = spoken(" ".join(["hurry"] * 600), 0.0, 0.1)
    subtitles = made(segment, audio_s=60.0, fast=False)
    assert faults(subtitles, fast=True)
    for cue in subtitles:
        assert abs(cue.start_ms - 1000 * cue.lines[0][0].start_s) <= DRIFT_MS
    assert subtitles[-1].end_ms <= 60_000


def test_speech_somewhat_slower_than_the_limit_is_never_too_fast() -> None:
    """17 characters a second, in sentences of every length."""
    draw = random.Random(5)
    at_s, segments = 0.0, []
    for _ in range(200):
        text = " ".join("word" + "s" * draw.randrange(6) for _ in range(draw.randrange(1, 30))) + "."
        end_s = at_s + len(text) / 17 + 0.15
        segments.append(Segment(at_s, end_s, text))
        at_s = end_s
    made(*segments, audio_s=at_s)


def test_long_mandarin_is_split_after_commas() -> None:
    text = "虽然今天早上下了很大的雨，但是我们还是按照原来的计划去了公园，在那里遇到了许多老朋友。"
    subtitles = made(Segment(10, 20, text), audio_s=20)
    assert letters("".join(texts(subtitles))) == text
    assert all(cue.line[-1] in "，。" for cue in subtitles)
    assert subtitles[0].start_ms == 10_000
    assert subtitles[-1].end_ms == 20_000


def test_chinese_breaks_between_words_and_before_no_particle() -> None:
    text = "我们在北京大学的图书馆里学习了很多关于人工智能的知识并且认识了许多来自世界各地的朋友"
    subtitles = made(Segment(0, 12, text), audio_s=12)
    lines = [line for cue in subtitles for line in cue.text.split("\n")]
    assert "".join(lines) == text
    assert all(len(line) <= 16 for line in lines)
    for word in ("北京大学", "图书馆", "人工智能", "知识", "世界各地", "朋友"):
        assert any(word in line for line in lines), word
    assert not any(line[0] in "的了" for line in lines)


def test_traditional_chinese_breaks_between_words() -> None:
    text = "我們在圖書館裡學習了很多關於人工智慧的知識並且認識了許多來自世界各地的朋友"
    lines = [line for cue in made(Segment(0, 12, text), audio_s=12) for line in cue.text.split("\n")]
    assert "".join(lines) == text
    assert all(any(word in line for line in lines) for word in ("圖書館", "知識", "認識", "許多", "世界", "朋友"))
    words = [atom.text for atom in atoms_of([Segment(0, 3, "臺灣的資料庫裡有電話號碼")], Ruler(japanese=False))]
    assert {"臺灣", "資料庫", "電話號碼"} <= set(words)


def test_japanese_lines_begin_with_no_particle() -> None:
    text = "昨日は友達と一緒に新しい図書館へ行って日本の歴史についての本をたくさん借りてきました"
    lines = [line for cue in made(Segment(0, 12, text), audio_s=12) for line in cue.text.split("\n")]
    assert "".join(lines) == text
    assert not any(line[0] in "はとにへのをてき" for line in lines)
    words = [atom.text for atom in atoms_of([Segment(0, 12, text)], Ruler(japanese=True))]
    assert {"友達", "一緒", "図書館", "歴史"} <= set(words)


def test_mixed_text_fits_by_the_limits_of_both_scripts() -> None:
    text = "今天我们讨论machine learning和deep learning的区别，以及Transformer模型在speech recognition里的应用。"
    subtitles = made(Segment(0, 14, text), audio_s=14)
    assert letters("".join(c.text for c in subtitles)) == letters(text)
    assert "machine learning" in " ".join(c.line for c in subtitles)


def test_english_breaks_before_a_preposition_and_after_no_article() -> None:
    subtitles = made(Segment(0, 6, "The children were playing with a very old ball in the garden behind the house"))
    lines = [line for cue in subtitles for line in cue.text.split("\n")]
    assert len(lines) == 2
    assert not any(line.split()[-1] in ("a", "the", "very", "with", "in", "behind") for line in lines)


def test_the_stop_of_an_abbreviation_ends_no_sentence() -> None:
    subtitles = made(
        Segment(0, 7, "The first books were printed in black letter, i.e. the letter which was a Gothic development.")
    )
    assert not any(cue.line.endswith("i.e.") for cue in subtitles)


def test_two_lines_are_balanced() -> None:
    (cue,) = made(Segment(0, 4, "wordy " * 8))
    first, second = cue.text.split("\n")
    assert abs(len(first) - len(second)) <= 6


def test_long_latin_is_split_between_words() -> None:
    words = [f"word{'x' * (i % 7)}{i}" for i in range(60)]
    subtitles = made(Segment(0, 40, " ".join(words)), audio_s=40)
    assert " ".join(texts(subtitles)).split() == words


def test_a_word_wider_than_a_line_is_divided() -> None:
    text = "see " + "x" * 200 + " now"
    subtitles = made(Segment(0, 30, text), audio_s=30)
    assert letters("".join(texts(subtitles))) == letters(text)


def test_no_line_begins_with_a_closing_mark_or_ends_with_an_opening_one() -> None:
    for before in range(30, 50):
        text = "字" * before + "（注）、" + "“好”。" * 10
        assert letters("".join(texts(made(Segment(0, 20, text), audio_s=20)))) == text


def test_a_pause_ends_a_cue() -> None:
    """Thirty words with a pause of 5 s after the fifteenth; the sixteenth would still fit the line."""
    starts = [0.5 + i * 0.3 + (5 if i >= 15 else 0) for i in range(30)]
    words = tuple(Word(start, start + 0.25, f"w{i:03}") for i, start in enumerate(starts))
    text = " ".join(w.text.capitalize() for w in words[:15]) + ", " + " ".join(w.text for w in words[15:]) + "."
    subtitles = made(Segment(0, 16, text, words), audio_s=16)
    ends = [cue for cue in subtitles if cue.line.endswith("W014,")]
    assert len(ends) == 1
    assert ends[0].end_ms == 4950
    assert next(cue for cue in subtitles if cue.line.startswith("w015")).start_ms == 10_000


def test_words_outside_of_their_segment_do_not_widen_it() -> None:
    words = tuple(Word(50.0, 60.0, "字") for _ in range(60))
    subtitles = made(Segment(1, 9, "字" * 60, words), Segment(9, 12, "后"), audio_s=12, fast=False)
    assert subtitles[-1].end_ms <= 12_000


def test_rewritten_numbers_do_not_derail_the_word_times() -> None:
    """The text has `21` where two words were spoken; the words after it are still found."""
    said = ["这"] * 30 + ["twenty", "one", "years"] + ["那"] * 30
    words = tuple(Word(float(i), i + 0.9, w) for i, w in enumerate(said))
    subtitles = made(Segment(0, 63, "这" * 30 + "21 years，" + "那" * 30, words), audio_s=63)
    atoms = [atom for cue in subtitles for line in cue.lines for atom in line]
    assert next(atom for atom in atoms if "那" in atom.text).start_s == pytest.approx(33.0)


def test_a_letter_that_becomes_two_in_lower_case_moves_no_times() -> None:
    words = (Word(0, 1, "İ"), Word(5, 6, "a" * 40), Word(8, 9, "b" * 40))
    subtitles = made(Segment(0, 9, f"İ {'a' * 40}, {'b' * 40}", words))
    assert subtitles[-1].line == "b" * 40
    assert subtitles[-1].end_ms >= 9000


_PHRASES = {
    "th": "สวัสดีครับวันนี้อากาศดีมากและผมจะไปตลาดกับเพื่อนๆของผมเราจะซื้อผลไม้",
    "lo": "ສະບາຍດີຂ້ອຍຊື່ສົມໄຊແລະມາຈາກວຽງຈັນ",
    "km": "ខ្ញុំទៅផ្សារដើម្បីទិញបន្លែនិងផ្លែឈើថ្ងៃនេះអាកាសធាតុល្អ",
    "my": "ကျွန်တော်ဈေးသို့သွားပြီးသစ်သီးဝယ်မည်ဒီနေ့ရာသီဥတုကောင်းတယ်",
}
_WORDS = {"th": "ตลาด", "lo": "ວຽງຈັນ", "km": "ផ្សារ", "my": "ရာသီဥတု"}


@pytest.mark.parametrize("language", _PHRASES)
def test_scripts_without_spaces_are_split_between_words(language: str) -> None:
    text = _PHRASES[language] * 8
    lines = [line for cue in made(Segment(0, 60, text), audio_s=60) for line in cue.text.split("\n")]
    assert "".join(lines) == text
    assert sum(line.count(_WORDS[language]) for line in lines) == 8
    # No line begins with a sign that belongs to the letter before it, or ends in a vowel that belongs to the next one.
    assert not any(unicodedata.category(line[0]) in ("Mn", "Mc") for line in lines)
    assert not any(line[-1] in "เแโใไເແໂໃໄ\u17d2\u1039" for line in lines)


def test_thai_is_split_between_phrases_where_there_are_any() -> None:
    phrase = "ผมจะไปตลาดกับเพื่อน"
    subtitles = made(Segment(0, 30, " ".join([phrase] * 8)), audio_s=30)
    lines = [line for cue in subtitles for line in cue.text.split("\n")]
    assert {line.replace(" ", "").replace(phrase, "") for line in lines} == {""}


@pytest.mark.parametrize("unknown", ["กขฃคฅฆงจฉชซฌญฎ", "ก็"])
def test_what_no_dictionary_knows_is_split_between_letters(unknown: str) -> None:
    lines = [line for cue in made(Segment(0, 99, unknown * 90), audio_s=99) for line in cue.text.split("\n")]
    assert "".join(lines) == unknown * 90
    assert not any(unicodedata.category(line[0]) == "Mn" for line in lines)


def test_an_emoji_does_not_move_the_places_where_thai_is_split() -> None:
    text = "😀" * 7 + _PHRASES["th"] * 4
    lines = [line for cue in made(Segment(0, 60, text), audio_s=60) for line in cue.text.split("\n")]
    assert "".join(lines) == text
    assert sum(line.count("ตลาด") for line in lines) == 4


def test_times_of_words_that_a_model_cut_otherwise() -> None:
    """Whisper's pieces of Thai are not a dictionary's words; the times of its letters are exact all the same."""
    text = _PHRASES["th"] * 4
    pieces = [text[i : i + 3] for i in range(0, len(text), 3)]
    words = tuple(Word(i / 2, i / 2 + 0.4, piece) for i, piece in enumerate(pieces))
    subtitles = made(Segment(0, words[-1].end_s, text, words), audio_s=60)
    assert len(subtitles) > 2
    at = 0
    for cue in subtitles[:-1]:
        assert cue.start_ms == pytest.approx(1000 * at / 6, abs=350)
        at += len(letters(cue.text))


_VOCABULARY = [
    "a", "the", "of", "word", "yes.", "well,", "“quoted”", "(x)", "www.example.com/" + "y" * 60, "🎵", "3.5", "-",
    "今天", "我们讨论", "的", "人工智能，", "好。", "（注）", "Straße", "Привет!", "안녕하세요", "ไม่มีความเป็นไปได้", "مرحبا؟",
    "これは", "ソフト", "テーブルを作ります。", "...", "。", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_any_words_at_any_times_break_no_rule_but_speed(seed: int) -> None:
    """Words of no length, words that overlap or run backwards, segments without words, of no length, of marks alone."""
    draw = random.Random(seed)
    vocabulary = draw.sample(_VOCABULARY, draw.randrange(1, len(_VOCABULARY)))
    at_s, segments = 0.0, []
    for _ in range(draw.randrange(1, 25)):
        said = [draw.choice(vocabulary) for _ in range(draw.randrange(0, 30))]
        words, start_s = [], at_s
        for word in said:
            end_s = at_s + draw.choice([0.0, 0.0, 0.1, 0.3, 0.6, 2.0])
            words.append(Word(max(0.0, at_s - draw.choice([0.0, 0.0, 0.4])), end_s, word.strip(",.。")))
            at_s = end_s + draw.choice([0.0, 0.0, 0.0, 0.2, 4.0])
        kept = draw.choice([(), tuple(words), tuple(words[::2])])
        text = draw.choice([" ", ""]).join(said)
        segments.append(
            Segment(start_s, draw.choice([start_s, at_s, at_s]), text, kept, draw.choice(["a", None, None]))
        )
    subtitles = made(*segments, audio_s=at_s, fast=False)
    assert bare("".join(c.text for c in subtitles)) == bare("".join(s.text for s in segments))


def test_equal_input_gives_equal_cues_wherever_it_begins() -> None:
    """An hour later, all times are an hour later."""
    segments = [
        spoken("We choose to go to the moon in this decade and do the other things.", i * 5.0, 0.25) for i in range(9)
    ]
    first = made(*segments, audio_s=60)
    later = made(*(s.shifted(3600) for s in segments), audio_s=3660)
    assert [(c.start_ms + 3_600_000, c.end_ms + 3_600_000, c.text) for c in first] == [
        (c.start_ms, c.end_ms, c.text) for c in later
    ]


def test_nothing_said_gives_no_cue() -> None:
    assert made() == []
    assert made(Segment(0, 1, " \n"), Segment(1, 2, "..."), Segment(2, 3, "")) == []


def test_starts_move_in_both_directions_where_many_words_come_at_once() -> None:
    """Five speakers within a second: the first cue comes earlier, the last one later, none by more than needed."""
    segments = [replace(Segment(20 + i / 5, 20 + i / 5, f"It is {i}."), speaker=str(i)) for i in range(5)]
    starts = [cue.start_ms for cue in made(*segments, audio_s=60)]
    assert starts[0] < 20_000 < starts[-1]
    assert all(b - a >= MIN_MS + GAP_MS for a, b in itertools.pairwise(starts))
    assert abs((20_000 - starts[0]) - (starts[-1] - 20_800)) <= 10


def test_a_long_pause_ends_a_cue_at_any_place() -> None:
    words = (Word(0.0, 0.5, "我"), Word(2.6, 3.1, "的"))
    assert texts(made(Segment(0, 3.1, "我的", words))) == ["我", "的"]


def test_slow_speech_is_divided_so_that_no_word_outlasts_its_cue() -> None:
    for cue in made(spoken("One two three four five six seven eight nine ten eleven twelve.", 0.0, 1.0), audio_s=12):
        assert cue.end_ms >= 1000 * cue.lines[-1][-1].end_s - GAP_MS


def test_the_cues_of_a_long_sentence_are_balanced() -> None:
    first, second = texts(made(Segment(0, 12, "wordy " * 20), audio_s=12))
    assert first == second


def test_overlapping_speech_waits_for_the_words_before() -> None:
    first, _ = made(Segment(0, 5, "One two three four five six."), Segment(1, 6, "Seven eight nine ten."))
    assert first.end_ms >= 4000


def test_a_line_ends_at_a_breath() -> None:
    """Three words, a pause of 0.4 s, five words: four and four would be more even."""
    words = [Word(i * 0.3 + 0.4 * (i >= 3), i * 0.3 + 0.3 + 0.4 * (i >= 3), "wordy") for i in range(8)]
    (cue,) = made(Segment(0, words[-1].end_s, " ".join(["wordy"] * 8), tuple(words)))
    assert cue.text.split("\n")[0] == "wordy wordy wordy"

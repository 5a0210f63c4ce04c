"""Rules on texts, without a model: what they change, what they leave alone, and the times of the words."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest

from asr_app.datatypes import Segment, Word
from asr_app.hotwords import lexicon
from asr_app.hotwords.rules import Rules

CORPUS = [line.split("\t") for line in (Path(__file__).parent / "corpus.tsv").read_text(encoding="utf-8").splitlines()]


def segment(text: str, *words: str) -> Segment:
    """The text over one second a word."""
    return Segment(0.0, max(1.0, len(words)), text, tuple(Word(i, i + 1, word) for i, word in enumerate(words)))


def applied(text: str, *hotwords: str, native: bool = False) -> str:
    return Rules(hotwords, native).apply(segment(text)).text


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("I asked the cloud to write it.", "the cloud => Claude", "I asked Claude to write it."),
        ("The cloudy sky", "cloud => Claude", "The cloudy sky"),  # no part of a word
        ("Cloud, cloud!", "cloud -> Claude", "Claude, Claude!"),
        ("Use caps rider.", "caps rider → CapsWriter", "Use CapsWriter."),
        ("Use caps, rider.", "caps rider => CapsWriter", "Use caps, rider."),  # two phrases
        ("我们打磨院见。", "打磨院 => 达摩院", "我们达摩院见。"),
        ("我們打磨院見。", "打磨院 => 達摩院", "我們達摩院見。"),
        ("打開藍牙", "打开蓝牙 => Bluetooth", "Bluetooth"),  # the rule is in simplified characters
        ("서울은 크다", "서울 => Seoul", "Seoul은 크다"),
        ("東京タワーへ", "タワー => 塔", "東京塔へ"),
        ("Version 4.1 of it", "4.1 => four", "Version four of it"),
        ("Version 4. 1 of it", "4.1 => four", "Version 4. 1 of it"),
        ("a (b) [c]* \\d", "(b) => B", "a (B) [c]* \\d"),  # no regular expression
        ("abc xay", "x.y => z", "abc xay"),
    ],
)
def test_a_rule_replaces_what_was_heard_and_nothing_else(text, rule, expected):
    assert applied(text, rule) == expected


def test_the_longest_rule_wins_and_no_result_is_changed_again():
    assert applied("new york city", "new york => NYC", "new york city => Gotham", "gotham => x") == "Gotham"
    assert applied("a b", "a => b", "b => a") == "b a"


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("我们采用悬界心骗。", "玄戒芯片", "我们采用玄戒芯片。"),
        ("欢迎体验打魔院的模型", "达摩院", "欢迎体验达摩院的模型"),
        ("他去了公投安装", "弓头安装", "他去了弓头安装"),
        ("陈小明和成晓明", "程晓明", "程晓明和程晓明"),  # cheng or chen
        ("我们欢迎程晓明", "程晓明", "我们欢迎程晓明"),
        ("李纳来了", "莉娜", "李纳来了"),
        ("丽呐来了", "莉娜", "莉娜来了"),
        ("这位是被客先生", "备课", "这位是被客先生"),  # a common word of two characters
        ("失御离之外", "十余里", "失御离之外"),  # no tone is the same
        ("she was wracking her brain", "cracking", "she was wracking her brain"),  # a common word
        ("电视是十年前的", "事实", "电视是十年前的"),
        ("他们的权力", "权莉", "他们的权力"),  # a word of its own
        ("他看电视是好的", "逝仕", "他看电视是好的"),  # half of one word, and another
        ("We saw an A321kesswick.", "A320kesswick", "We saw an A321kesswick."),  # other digits
        ("这个端口", "C端", "这个端口"),
        ("用奇WEN模型", "七Wen模型", "用七Wen模型"),
        ("Josh Waitskin was there.", "Waitzkin", "Josh Waitzkin was there."),
        ("Josh Wait Skin was there.", "Waitzkin", "Josh Waitzkin was there."),
        ("Use chat gpt now", "ChatGPT", "Use ChatGPT now"),
        ("use CHATGPT now", "ChatGPT", "use CHATGPT now"),  # the word itself was heard
        ("The fountains and the mountain", "mountains", "The fountains and the mountain"),
        ("whether or not", "weather", "whether or not"),
        ("We saw an A321.", "Airbus A320", "We saw an A321."),
        ("W Warszawie", "Warszawa", "W Warszawie"),  # another case, not another word
        ("The Nasser's palace", "Nasserr", "The Nasser's palace"),
    ],
)
def test_a_bare_word_takes_the_place_of_what_sounds_like_it(text, word, expected):
    assert applied(text, word) == expected
    assert applied(text, word, native=True) == text  # the model takes it itself


def test_words_keep_their_times_where_as_many_stand():
    found = Rules(["玄戒芯片"], False).apply(segment("用悬界心骗吧。", *"用悬界心骗吧"))
    assert found.text == "用玄戒芯片吧。"
    assert found.words == tuple(Word(i, i + 1, c) for i, c in enumerate("用玄戒芯片吧"))
    (strike,) = found.strikes
    assert (strike.start_s, strike.end_s, strike.heard, strike.meant, strike.at) == (1, 5, "悬界心骗", "玄戒芯片", 1)
    assert strike.hotword == "玄戒芯片"


def test_words_share_the_time_of_others_in_number():
    rules = Rules(["caps rider => CW", "yes => oh yes indeed"], False)
    found = rules.apply(segment("Use caps rider, yes.", "Use", "caps", "rider", "yes"))
    assert found.text == "Use CW, oh yes indeed."
    assert [w.text for w in found.words] == ["Use", "CW", "oh", "yes", "indeed"]
    assert (found.words[1].start_s, found.words[1].end_s) == (1, 3)
    edges = [(w.start_s, w.end_s) for w in found.words]
    assert edges[2][0] == 3
    assert edges[4][1] == 4
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(edges))
    assert [s.at for s in found.strikes] == [4, 8]
    assert all(found.text[s.at :].startswith(s.meant) for s in found.strikes)


def test_a_part_of_a_word_is_replaced_inside_it():
    found = Rules(["界心 => 戒芯"], False).apply(segment("用悬界心骗", "用", "悬界", "心骗"))
    assert found.text == "用悬戒芯骗"
    assert "".join(w.text for w in found.words) == "用悬戒芯骗"
    assert (found.words[0].end_s, found.words[-1].end_s) == (1, 3)


def test_a_word_that_the_text_has_not_keeps_its_time():
    found = Rules(["度 => °C"], False).apply(segment("26度左右", "二十六", "度", "左右"))
    assert found.text == "26°C左右"
    assert [(w.start_s, w.text) for w in found.words] == [(0, "二十六"), (1, "C"), (2, "左右")]


def test_the_same_lines_give_the_same_result():
    words = ["Waitzkin", "Waitxkin", "达摩院", "达魔院"]
    texts = {applied("Waitskin 打魔院", *words) for _ in range(3)}
    assert texts == {"Waitzkin 达摩院"}  # the first of two that are as near


def pools() -> dict[str, list[str]]:
    """Words by kind: common ones, and rare names, of which lists of hotwords are made."""
    dictionary = (lexicon._package("jieba") / "dict.txt").read_text(encoding="utf-8")
    entries = [line.split() for line in dictionary.splitlines()]
    return {
        "en common": [w for w in lexicon._vocabulary() if len(w) >= 5 and w.isascii()],
        "en names": [a + b for a in ["Mont", "Brock", "Har", "Wald", "Kess", "Thorn", "Ald", "Pem", "Whit", "Lang", "Cald", "Ash", "Rad", "Hol", "Stan"]
                     for b in ["ington", "eroy", "mann", "ley", "wick", "bury", "ford", "ham", "stead", "worth", "combe", "grave", "shaw", "thorpe", "by", "dale", "gate", "mere", "more", "well"]],
        "zh common": [w for w in lexicon._dictionary()[0] if 2 <= len(w) <= 4],
        "zh names": [w for w, count, tag in entries if tag in ("nr", "nrt", "ns", "nz") and 2 <= len(w) <= 5 and int(count) < 5],
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["en common", "en names", "zh common", "zh names"])
def test_300_unrelated_words_insert_none(kind, seed):
    """Words that no text of the corpus has, drawn by a fixed seed."""
    texts = [text for code, text in CORPUS if code == kind[:2]]
    said = " ".join(texts).lower()
    words = sorted(word for word in pools()[kind] if word not in said)
    rules = Rules(random.Random(seed).sample(words, min(300, len(words))), False)
    assert [(s.heard, s.meant) for text in texts for s in rules.apply(segment(text)).strikes] == []


def test_the_corpus_has_words_enough():
    units = dict.fromkeys(("en", "zh"), 0)
    for code, text in CORPUS:
        units[code] += len(re.findall(r"\w+" if code == "en" else r"\w", text))
    assert units["en"] > 350
    assert units["zh"] > 550

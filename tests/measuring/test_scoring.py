"""Scores against hand-counted examples, the interval against its own statistics."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest

from asr_app.numerals import in_digits
from asr_app.scoring import Score, difference, normalise, paired_bootstrap, score, score_in, units_in


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", []),
        ("  。，!? ", []),
        ("你好，世界！", ["你", "好", "世", "界"]),
        ("Hello, World.", ["hello", "world"]),
        ("打开 Wi-Fi好吗", ["打", "开", "wi", "fi", "好", "吗"]),
        ("ＡＢＣ１２", ["abc12"]),
        ("Don’t don't", ["dont", "dont"]),
        ("Привет мир", ["привет", "мир"]),
        ("안녕 세계", ["안녕", "세계"]),
        ("さくら", ["さ", "く", "ら"]),
        ("a\u200b\nb\tc", ["a", "b", "c"]),
    ],
)
def test_normalise(text: str, units: list[str]) -> None:
    assert normalise(text) == units


def test_counts_by_kind() -> None:
    assert score([("the cat sat down", "the dog sat")]) == Score(2, 4, 1, 1, 0)
    assert score([("今天天气好", "今天的天器好")]) == Score(2, 5, 1, 0, 1)


def test_punctuation_and_case_are_no_errors() -> None:
    assert score([("Hello, world!", "hello world"), ("你好。", "你 好")]) == Score(0, 4, 0, 0, 0)


def test_corpus_rate_weighs_by_units_not_by_clip() -> None:
    result = score([("a", "b"), ("c d e f g h i j k", "c d e f g h i j k")])
    assert result.rate == pytest.approx(1 / 10)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected", "rate"),
    [
        ("", "two words", Score(2, 0, 0, 0, 2), 1.0),
        ("two words", "", Score(2, 2, 0, 2, 0), 1.0),
        ("", "", Score(0, 0, 0, 0, 0), 0.0),
        ("a", "a b c", Score(2, 1, 0, 0, 2), 2.0),
    ],
)
def test_empty_sides(reference: str, hypothesis: str, expected: Score, rate: float) -> None:
    result = score([(reference, hypothesis)])
    assert (result, result.rate) == (expected, rate)


def test_empty_reference_amid_others_keeps_the_pairs_aligned() -> None:
    assert score([("a b", "a b"), ("", "x"), ("c", "c")]) == Score(1, 3, 0, 0, 1)


def test_no_pairs() -> None:
    assert score([]) == Score(0, 0, 0, 0, 0)


def test_bootstrap_of_equal_systems_is_zero() -> None:
    assert paired_bootstrap([1, 0, 3], [1, 0, 3], [10, 10, 10]) == (0.0, 0.0, 0.0)


def test_bootstrap_is_paired() -> None:
    """Clips differ wildly, B is one error worse on each: paired, nothing is left to vary."""
    errors = list(range(50))
    delta, low, high = paired_bootstrap(errors, [e + 1 for e in errors], [100] * 50)
    assert (delta, low, high) == pytest.approx((0.01, 0.01, 0.01))


def test_bootstrap_interval_has_the_width_of_theory() -> None:
    random = np.random.default_rng(1)
    a, b = random.poisson(10, 400), random.poisson(10, 400)
    delta, low, high = paired_bootstrap(a.tolist(), b.tolist(), [100] * 400, draws=4000)
    theory = 1.96 * float((b - a).std()) / np.sqrt(400) / 100
    assert low < delta < high
    assert (high - low) / 2 == pytest.approx(theory, rel=0.08)


def test_bootstrap_sign_and_seed() -> None:
    arguments = ([5, 0, 2, 1, 7, 3] * 9, [0, 0, 1, 0, 3, 3] * 9, [10, 20, 10, 10, 30, 20] * 9)
    delta, low, high = paired_bootstrap(*arguments, seed=3)
    assert delta == pytest.approx(-11 / 100)
    assert low < delta < high
    assert paired_bootstrap(*arguments, seed=3) == (delta, low, high)
    assert paired_bootstrap(*arguments, seed=4) != (delta, low, high)


def test_bootstrap_with_clips_of_noise() -> None:
    """Some draws of these two hold the wordless clip alone."""
    values = paired_bootstrap([0, 0], [1, 1], [0, 4])
    assert np.isfinite(values).all()


def test_bootstrap_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="one entry a clip"):
        paired_bootstrap([1], [1, 2], [10, 10])
    with pytest.raises(ValueError, match="no reference units"):
        paired_bootstrap([1], [1], [0])


def test_difference() -> None:
    assert difference("我要去 New York。", "嗯，我去 new yolk") == [
        ("嗯", "insert"),
        ("我", "equal"),
        ("要", "delete"),
        ("去", "equal"),
        ("new", "equal"),
        ("york→yolk", "replace"),
    ]


def test_difference_of_empty_sides() -> None:
    assert difference("", "一 two") == [("一", "insert"), ("two", "insert")]
    assert difference("a", "") == [("a", "delete")]
    assert difference("", "") == []


def test_traditional_and_simplified_characters_are_one():
    assert normalise("請打開客廳的燈，頭髮。") == normalise("请打开客厅的灯，头发。")
    assert score([("请打开灯", "請打開燈")]).errors == 0


@pytest.mark.parametrize(
    ("text", "language", "units"),
    [
        ("Mr. Smith's colour isn't £5.", "en", ["mister", "smith", "is", "color", "is", "not", "£5"]),
        ("Größe, bitte!", "de", ["größe", "bitte"]),
        ("請打開燈，ＡＢ。", "zh-TW", ["请", "打", "开", "灯", "a", "b"]),
        ("係唔係呀？", "yue", ["系", "唔", "系", "呀"]),
        ("気持ち、いい。", "ja", ["気", "持", "ち", "い", "い"]),
        ("ที่ นี่", "th", ["ท", "ี", "่", "น", "ี", "่"]),
        ("", "sv-SE", []),
    ],
)
def test_units_of_a_known_language(text: str, language: str, units: list[str]) -> None:
    assert units_in(text, language) == units


def test_the_unit_is_the_word_or_the_character_by_language() -> None:
    assert score_in("今天天气好", "今天的天器好", "zh") == Score(2, 5, 1, 0, 1)
    assert score_in("The cat's colour", "the cat's color", "en").errors == 0
    assert score_in("ein Hund", "ein und", "de") == Score(1, 2, 1, 0, 0)
    assert score_in("ein Hund", "", "de") == Score(2, 2, 0, 2, 0)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Let's", "let us"), ("he's like", "he is like"), ("she's been like", "she has been like"), ("10km", "10 km"),
        ("RC232", "rc 232"),
        ("Mr. Park visited Assoc. Prof. Kim Jr.", "mister park visited associate professor kim junior"),
    ],
)  # fmt: skip
def test_english_is_normalised_as_in_the_tests_of_whisper(text: str, normalised: str) -> None:
    """The examples of openai/whisper, tests/test_normalizer.py."""
    assert " ".join(units_in(text, "en")) == normalised


def test_the_rate_is_the_one_that_jiwer_documents() -> None:
    """The examples of jiwer's documentation: 0.6 over both sentences, not the mean of 2/3 and 1/2."""
    assert score([("i can spell", "i kan cpell"), ("i hope", "i hop")]).rate == pytest.approx(0.6)
    assert score([("hello world", "hello duck")]).rate == 0.5


def test_counts_are_those_of_jiwer_alone() -> None:
    random = np.random.default_rng(5)
    words = ["a", "b", "c", "d"]
    pairs = [tuple(" ".join(random.choice(words, random.integers(0, 9))) for _ in range(2)) for _ in range(200)]
    out = jiwer.process_words([r for r, _ in pairs], [h for _, h in pairs])
    found = score(pairs)
    assert (found.substitutions, found.deletions, found.insertions) == (
        out.substitutions,
        out.deletions,
        out.insertions,
    )
    assert found.rate == pytest.approx(out.wer)


def test_chinese_is_scored_by_the_protocol_of_the_field() -> None:
    """No punctuation, half width, one case, simplified characters: each step alone is no error."""
    reference = "打开ＷＩＦＩ，調到２５度。"
    for hypothesis in ("打开WIFI调到25度", "打开wifi,调到25度!", "打開ＷiＦi調到２５度"):
        assert score_in(reference, hypothesis, "zh").errors == 0
    assert score_in("二十五度", "25度", "zh").errors == 3  # numbers are compared as they are written
    assert score_in("二十五度", "25度", "zh", by_value=True) == Score(0, 3, 0, 0, 0)
    assert score_in("二十五度", "26度", "zh", by_value=True) == Score(1, 3, 1, 0, 0)
    assert score_in("twenty five", "25", "en", by_value=True) == score_in("twenty five", "25", "en")


@pytest.mark.parametrize(
    ("texts", "digits"),
    [
        ("二十五度 25度 2十5度", "25度"),
        ("三点五万 3.5万 三万五 3万5000 三万五千 35,000", "35000"),
        ("二零二四年 2024年 二〇二四年", "2024年"),
        ("百分之五十 50% 百分之50 五十%", "百分之50"),
        ("百分之零点五 0.5%", "百分之0点5"),
        ("一百五 一百五十 150", "150"),
        ("一百零五 一百〇五 105", "105"),
        ("两千零八 2008", "2008"),
        ("一百九十万零三千九百七十一 1903971", "1903971"),
        ("四千五百亿 4500亿", "450000000000"),
        ("一万亿 1000000000000", "1000000000000"),
        ("三点五十分 3点50分", "3点50分"),
        ("三点一四 3.14", "3点14"),
        ("幺三五 135", "135"),
        ("十几个 10几个", "10几个"),
        ("百姓", "百姓"),
        ("三四十", "34十"),
        ("好几百", "好几百"),
    ],
)
def test_chinese_numbers_are_compared_by_value(texts, digits):
    assert [in_digits(text) for text in texts.split()] == [digits] * len(texts.split())

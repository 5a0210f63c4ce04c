"""Simplified or traditional, and what is asked of a model in words: no model is needed."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import DATA

from asr_app import catalog, chinese, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options, Segment, Word
from asr_app.errors import UserError
from asr_app.families._whisper_text import with_marks
from asr_app.families.base import require
from asr_app.loading import load
from asr_app.precision import Precision
from asr_app.scoring import normalise


def segment(text: str, language: str | None, words: tuple[str, ...] = ()) -> Segment:
    return Segment(0, 9, text, tuple(Word(i, i + 1, w) for i, w in enumerate(words)), None, language)


@pytest.mark.parametrize(
    ("text", "language", "asked", "expected"),
    [
        ("我們這裡為什麼有著麵條,對嗎?", "zh", None, "我们这里为什么有着面条，对吗？"),
        ("皇后在后面的公里外，头发很干", "zh", "traditional", "皇后在後面的公里外，頭髮很乾"),
        ("我們這裡,對嗎?", "zh", "as-heard", "我們這裡,對嗎?"),
        ("你哋喺邊度?", "yue", None, "你哋喺邊度?"),
        ("你哋喺邊度?", "yue", "simplified", "你哋喺边度？"),
        ("这里有台湾人", "yue", "traditional", "這裏有台灣人"),
        ("東京の天気は?", "ja", None, "東京の天気は?"),
        ("東京の天気は?", None, "simplified", "東京の天気は?"),  # an unknown language, but with kana
        ("Is 3.5 right, or not?", "zh", None, "Is 3.5 right, or not?"),
        ("用GPT 4.1,對吧? Yes, sir.", "zh", None, "用GPT 4.1，对吧？Yes, sir."),
        ("比分是三:二,12:30開始. OK,好吧.", "zh", None, "比分是三：二，12:30开始。OK，好吧。"),
    ],
)
def test_chinese_text_is_written_in_the_script_that_was_asked_for(text, language, asked, expected):
    assert chinese.written([segment(text, language)], None, asked)[0].text == expected


def test_words_keep_their_boundaries_and_times_and_follow_the_phrase():
    words = ("皇", "后", "在", "后面", "GPT", "干", "燥")
    (found,) = chinese.written([segment("皇后在后面, GPT干燥。", None, words)], "zh", "traditional")
    assert found.text == "皇后在後面，GPT乾燥。"
    assert [w.text for w in found.words] == ["皇", "后", "在", "後面", "GPT", "乾", "燥"]  # 后 stays in 皇后 alone
    assert [(w.start_s, w.end_s) for w in found.words] == [(i, i + 1) for i in range(len(words))]


def test_a_word_that_the_text_lacks_is_converted_alone():
    (found,) = chinese.written([segment("26度", "zh", ("二十六", "度", "嗎"))], None, None)
    assert [w.text for w in found.words] == ["二十六", "度", "吗"]


def test_the_transcript_tells_its_script():
    told = [
        chinese.script_of([segment(*given)], None, asked)
        for *given, asked in (
            ("對", "zh", None), ("對", "yue", None), ("對", None, "traditional"), ("Right.", "en", "traditional"),
        )
    ]  # fmt: skip
    assert told == ["simplified", "as-heard", "traditional", None]


def test_an_option_that_a_model_lacks_is_refused():
    whisper, sensevoice = catalog.find("whisper-base"), catalog.find("sensevoice-small")
    require(whisper, Options(languages=("zh", "en"), script="traditional"))
    require(sensevoice, Options(script="simplified"))
    with pytest.raises(UserError, match="has no option languages"):
        require(sensevoice, Options(languages=("zh", "en")))
    with pytest.raises(UserError, match="does not know the language 'xx'"):
        require(whisper, Options(languages=("zh", "xx")))
    with pytest.raises(UserError, match="at once"):
        require(whisper, Options(language="zh", languages=("zh", "en")))
    with pytest.raises(UserError, match="Choose one of: simplified, traditional, as-heard"):
        require(whisper, Options(script="latin"))
    with pytest.raises(UserError, match="knows no Chinese"):
        require(dataclasses.replace(whisper, languages=("en",)), Options(script="simplified"))


def test_chinese_segments_end_in_a_mark():
    said = [
        ("上海孙中山故居纪念馆", 0.0, 3.2),  # a pause of 1.2 s follows
        ("你吃饭了吗", 4.4, 6.0),
        ("张女士给武隆上坎", 7.0, 9.0),  # the next one follows at once
        ("镇派出所民警打去电话", 9.1, 11.0),
    ]
    segments = [Segment(start, end, text, (), None, "zh") for text, start, end in said]
    texts = [s.text for s in with_marks(segments)]
    assert texts == ["上海孙中山故居纪念馆。", "你吃饭了吗？", "张女士给武隆上坎，", "镇派出所民警打去电话。"]
    assert with_marks([]) == []  # a chunk of silence


@pytest.mark.parametrize(
    ("text", "language"),
    [("好,", "zh"), ("他说：“好。”", "zh"), ("What is it", "en"), ("東京です", "ja"), ("OK", "zh")],
)
def test_a_mark_is_set_only_where_chinese_lacks_one(text, language):
    assert with_marks([segment(text, language)])[0].text == text


@pytest.mark.real
def test_mandarin_has_marks_and_one_script_and_its_error_stays(whisper_base, clips):
    with_options = [clip.text for clip in clips(Options(language="zh"))]
    assert sum(text[-1] in "。？！" for text in with_options) >= 0.95 * len(with_options)
    assert all(chinese.converted(text, "zh", "simplified") == text for text in with_options)
    as_heard = [clip.text for clip in clips(Options(language="zh", script="as-heard"))]
    assert [normalise(text) for text in with_options] == [normalise(text) for text in as_heard]


@pytest.mark.real
def test_a_language_is_detected_among_the_allowed_ones_only(whisper_base, clips):
    (heard,) = clips(Options(languages=("ja", "ko")), 1)
    assert {s.language for s in heard.segments} in ({"ja"}, {"ko"})


@pytest.fixture(scope="module")
def clips(whisper_base):
    """Six Mandarin clips of Common Voice, transcribed with some options."""
    folder = DATA / "speech" / "zh-CN"
    if not folder.is_dir():
        pytest.skip("shared/data has no speech")
    loaded = load(catalog.find(str(whisper_base)), Precision.FP32, "cpu", 1, hub.HUBS[0])
    paths = sorted(folder.glob("*.mp3"))[:6]
    return lambda options, count=6: [pipeline.transcribe(p, loaded, options, Limits()) for p in paths[:count]]

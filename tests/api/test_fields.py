"""The fields of a request: what is refused, with the name of the field, and what becomes of the rest. No model."""

from __future__ import annotations

import dataclasses
import io
import types

import pytest
from starlette.datastructures import FormData, UploadFile

from asr_app import catalog
from asr_app.api import answers, fields
from asr_app.api.models import ALIASES, Chosen, Offered
from asr_app.api_errors import ApiError
from asr_app.datatypes import Segment, Word
from asr_app.precision import Precision

PARAFORMER, WHISPER, SENSEVOICE = (catalog.find(f"demo-{name}") for name in ("paraformer", "whisper", "sensevoice"))


class FakeEngines:
    device, hub_name = "cpu", "auto"

    def choose(self, card, lite, picked):
        return picked or (Precision.INT8 if lite else Precision.FP32)


@pytest.fixture
def offered():
    return Offered(FakeEngines(), WHISPER, lite=True, picked=None)


def form(**given: str | list[str]) -> FormData:
    items = [("file", UploadFile(io.BytesIO(b"x"), filename="a.wav"))]
    for name, value in given.items():
        items += [(name, one) for one in ([value] if isinstance(value, str) else value)]
    return FormData(items)


def test_a_name_without_a_precision_runs_as_the_server_was_started(offered):
    for name in (*ALIASES, "demo-whisper", ""):
        assert fields.read(form(model=name), offered).chosen == Chosen(WHISPER, Precision.INT8)
    assert fields.read(form(model="demo-paraformer@fp32"), offered).chosen == Chosen(PARAFORMER, Precision.FP32)
    assert fields.read(form(model="demo-paraformer@fp32"), offered).chosen.name == "demo-paraformer@fp32"


def test_a_picked_precision_is_the_default_models_alone():
    offered = Offered(FakeEngines(), WHISPER, lite=False, picked=Precision.BF16)
    assert offered.find("demo-whisper").precision is Precision.BF16
    assert offered.find("demo-paraformer").precision is Precision.FP32


def test_models_list_each_precision_that_runs_here(offered):
    names = [listed["id"] for listed in offered.listed()]
    assert names[:3] == ["demo-whisper", "demo-whisper@fp32", "demo-whisper@fp16"]
    assert {"demo-paraformer@int8", *ALIASES} <= set(names)
    assert "whisper-large-v3" not in names  # it is not on this disk: a request never starts a download
    assert len(names) == len(set(names))


def test_lists_come_with_and_without_brackets(offered):
    for name in ("languages", "languages[]"):
        assert fields.read(form(**{name: ["zh-CN", "en"]}), offered).options.languages == ("zh", "en")
    assert fields.read(form(**{"languages[]": "en"}), offered).options.language == "en"
    asked = fields.read(
        form(response_format="verbose_json", **{"timestamp_granularities[]": ["word", "segment"]}), offered
    )
    assert asked.granularities == ("word", "segment")


@pytest.mark.parametrize(("given", "param"), [
    ({"model": "demo-paraformer@int9"}, "model"),
    ({"model": "../secret"}, "model"),
    ({"language": "xx"}, "language"),
    ({"language": "zh", "languages[]": ["en", "zh"]}, "language"),
    ({"languages": ["xx", "zh"]}, "languages"),
    ({"keywords[]": "x" * 200, "model": "demo-sensevoice"}, "keywords"),
    ({"response_format": "docx"}, "response_format"),
    ({"timestamp_granularities": "word"}, "timestamp_granularities"),
    ({"timestamp_granularities": "letter", "response_format": "verbose_json"}, "timestamp_granularities"),
    ({"include[]": "logprobs", "model": "demo-sensevoice"}, "include"),
    ({"include[]": "logprobs", "response_format": "srt"}, "include"),
    ({"include[]": "tokens"}, "include"),
    ({"chunking_strategy": "manual"}, "chunking_strategy"),
    ({"chunking_strategy": "[1]"}, "chunking_strategy"),
    ({"stream": "perhaps"}, "stream"),
    ({"prompt": "x" * 2000}, "prompt"),
])  # fmt: skip
def test_a_wrong_field_is_refused_by_its_name(offered, given, param):
    with pytest.raises(ApiError) as refused:
        fields.read(form(**given), offered)
    assert refused.value.status == (404 if param == "model" else 400)
    assert refused.value.param == param


def test_without_a_file_nothing_is_read(offered):
    with pytest.raises(ApiError) as refused:
        fields.read(FormData([("file", "a.wav")]), offered)
    assert refused.value.param == "file"


@pytest.mark.parametrize("param", ["require_word_timestamps", "require_punctuation"])
def test_what_would_be_poorer_than_asked_for_is_refused(monkeypatch, offered, param):
    assert fields.read(form(**{param: "true", "model": "demo-paraformer"}), offered)
    poor = dataclasses.replace(PARAFORMER, capabilities=frozenset())
    monkeypatch.setattr(offered, "find", lambda _: Chosen(poor, Precision.FP32))
    with pytest.raises(ApiError) as refused:
        fields.read(form(**{param: "true"}), offered)
    assert refused.value.param == param


def test_fields_without_an_effect_are_named(offered):
    asked = fields.read(form(model="demo-paraformer", temperature="0.7", prompt="Well,", voice="x\r\ny: z"), offered)
    assert asked.ignored == ("voice", "temperature", "prompt")
    assert asked.options.prompt == ""
    odd = dataclasses.replace(asked, ignored=("völ\r\nSet-Cookie: a", "x" * 100))
    header = answers.ignored(odd)["X-ASR-Ignored"]
    assert header.isascii()
    assert header.isprintable()
    assert fields.read(form(temperature="0"), offered).ignored == ()


def test_deltas_together_are_the_text_and_spaces_stand_only_where_needed():
    deltas = answers.Deltas(logprobs=False)
    texts = [
        Segment(0, 1, "Hello."),
        Segment(1, 2, "你好。"),
        Segment(2, 3, ""),
        Segment(3, 4, "Good"),
        Segment(4, 5, "day"),
    ]
    said = [event["delta"] for one in texts for event in deltas.take([one])]
    assert said == ["Hello.", "你好。", "Good", " day"]


def test_logprobs_are_those_of_words_and_together_the_text():
    said = (
        Segment(0, 2, "“Well, my fellow.”", (Word(0, 1, "Well", 0.5), Word(1, 1.5, "my", 1.0), Word(1.5, 2, "fellow"))),
        Segment(2, 3, "Ask.", (Word(2, 3, "Ask", 0.0),)),
        Segment(3, 4, "你好", (Word(3, 3.5, "你", 0.25), Word(3.5, 4, "好", 0.25))),
        Segment(4, 5, "Nobody timed this"),
    )
    entries = answers.Logprobs().take(said)
    assert [entry["token"] for entry in entries] == [
        "“Well,", " my", " fellow.”", " Ask.", "你", "好", "Nobody timed this",
    ]  # fmt: skip
    assert [entry["logprob"] for entry in entries[:3]] == [-0.693147, 0.0, None]
    assert entries[3]["logprob"] < -60  # JSON has no infinity
    assert entries[4]["bytes"] == [0xE4, 0xBD, 0xA0]
    deltas = answers.Deltas(logprobs=True)
    streamed = [event for one in said for event in deltas.take([one])]
    assert [entry for event in streamed for entry in event["logprobs"]] == entries
    assert ["".join(entry["token"] for entry in event["logprobs"]) for event in streamed] == [
        event["delta"] for event in streamed
    ]


def test_a_translation_has_no_logprobs(offered):
    assert fields.read(form(**{"include[]": "logprobs"}), offered).logprobs
    with pytest.raises(ApiError, match="translation"):
        fields.read(form(**{"include[]": "logprobs"}), offered, translate=True)


def test_a_segment_has_openais_fields_and_no_made_up_numbers():
    one = answers.segment(3, Segment(1.2, 2.5, "你好。"))
    assert set(one) == {
        "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob",
    }  # fmt: skip
    assert (one["id"], one["seek"], one["avg_logprob"], one["no_speech_prob"]) == (3, 120, None, None)
    assert answers.segment(0, Segment(0, 1, "ha " * 100))["compression_ratio"] > 10


@pytest.mark.parametrize(("code", "name"), [("zh", "chinese"), ("en", "english"), ("yue", "cantonese"), (None, "")])
def test_the_language_has_openais_name(code, name):
    asked = types.SimpleNamespace(options=types.SimpleNamespace(language=None))
    transcript = types.SimpleNamespace(segments=[Segment(0, 1, "a", language=code)])
    assert answers.language_name(transcript, asked) == name

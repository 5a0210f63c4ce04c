"""Speakers in every export, and in OpenAI's own types."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import pytest
from openai.types.audio import TranscriptionDiarized, TranscriptionTextSegmentEvent

from asr_app.api import answers
from asr_app.datatypes import Segment, StageTimes, Transcript, Word
from asr_app.errors import UserError
from asr_app.formats import FORMATS, write
from asr_app.people import People, parse_count
from asr_app.precision import Precision, PrecisionReport
from asr_app.rows import read_transcript


def said(start_s: float, text: str, speaker: str) -> Segment:
    words = [Word(start_s + i * 0.5, start_s + i * 0.5 + 0.5, w) for i, w in enumerate(text.split())]
    return Segment(start_s, start_s + len(words) * 0.5, text, tuple(words), speaker)


def transcript(*segments: Segment) -> Transcript:
    people = People(tuple(dict.fromkeys(s.speaker for s in segments)), "campplus", 28_000_000)
    report = PrecisionReport(Precision.FP32, ())
    return Transcript(segments, "demo", report, "cpu", 60.0, StageTimes(speakers_s=1.0), speakers=people)


TALK = transcript(
    said(1.0, "Good morning to you all.", "Anna <x> & Co"), said(4.0, "And how are you?", "Anna <x> & Co"),
    said(8.0, "Fine, thank you.", "S2"),
)  # fmt: skip


def test_text_names_the_speaker_of_each_line():
    assert write(TALK, "txt").splitlines()[::2] == ["Anna <x> & Co: Good morning to you all.", "S2: Fine, thank you."]


def test_srt_names_who_begins_to_speak():
    shown = write(TALK, "srt")
    assert "Anna <x> & Co: Good morning to you all.\n" in shown
    assert "\nAnd how are you?\n" in shown
    assert "S2: Fine, thank you.\n" in shown


@pytest.mark.parametrize("format", ["vtt", "vtt-words"])
def test_webvtt_tags_the_voice(format):
    shown = write(TALK, format)
    assert shown.count("<v Anna &lt;x&gt; &amp; Co>") == 2
    assert "<v S2>Fine," in shown
    assert "Co: " not in shown


def test_lrc_json_and_tsv():
    assert "[00:08.00]S2: Fine, thank you." in write(TALK, "lrc")
    told = json.loads(write(TALK, "json"))
    assert [s["speaker"] for s in told["segments"]] == ["Anna <x> & Co", "Anna <x> & Co", "S2"]
    assert told["speakers"]["found"] == ["Anna <x> & Co", "S2"]
    assert told["times"]["speakers_s"] == 1.0
    assert write(TALK, "tsv").splitlines()[0::3] == ["start\tend\ttext\tspeaker", "8000\t9500\tFine, thank you.\tS2"]


def test_word_names_the_speaker():
    document = zipfile.ZipFile(io.BytesIO(FORMATS["docx"].encode(TALK))).read("word/document.xml").decode()
    assert "S2: Fine, thank you." in document


def test_without_speakers_nothing_changes():
    plain = replace(TALK, segments=tuple(replace(s, speaker=None) for s in TALK.segments), speakers=None)
    assert write(plain, "txt").startswith("Good morning")
    assert write(plain, "tsv").startswith("start\tend\ttext\n")
    assert "<v" not in write(plain, "vtt")
    assert "speakers" not in json.loads(write(plain, "json"))


@pytest.mark.parametrize(
    "name", ["A" * 60, "名" * 60, ", Anna", "张三", "Dr. Anna Maria von und zu Hohenstein-Waldburg"]
)
def test_any_name_makes_a_readable_subtitle(name):
    """conftest.py lints the cues."""
    talk = transcript(
        said(1.0, "Good morning to you all and to everybody else.", name), said(9.0, "早上好，大家。", "S2")
    )
    assert "S2: 早上好" in write(talk, "srt")
    assert name[-4:] in write(talk, "srt").replace("\n", "")


def test_diarized_json_is_openais():
    request = type("Request", (), {"response_format": "diarized_json"})
    body, media_type = answers.body(TALK, request)
    assert media_type == "application/json"
    told = TranscriptionDiarized.model_validate_json(body, strict=True)
    assert [s.speaker for s in told.segments] == ["A", "A", "B"]
    assert (told.task, told.duration, told.usage.type) == ("transcribe", 60.0, "duration")
    assert told.text == TALK.text
    assert set(json.loads(body)) == {"task", "duration", "text", "segments", "usage"}
    assert set(json.loads(body)["segments"][0]) == set(TranscriptionTextSegmentEvent.model_fields)


def test_a_row_of_an_earlier_version_has_no_speakers():
    report = {
        "model": "demo",
        "precision": {"requested": "fp32", "effective": {"parts": {}}},
        "device": "cpu",
        "duration_s": 1.0,
    }
    done = read_transcript({"result": json.dumps(report | {"memory": {}}), "times": '{"asr_s": 1.0}'}, (), ())
    assert done.speakers is None
    assert done.times.speakers_s == 0.0


@pytest.mark.parametrize("text", ["0", "16", "-2", "two", "2.5", "²", "talk.wav"])
def test_a_number_of_speakers_that_cannot_be(text):
    with pytest.raises(UserError, match="1 to 15"):
        parse_count(text)
    assert [parse_count(x) for x in ("off", "auto", "TRUE", "3")] == [
        (False, None),
        (True, None),
        (True, None),
        (True, 3),
    ]

"""Subtitles with the word times of Whisper base on real speech: every rule is kept, reading speed included."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import DATA
from linting import faults

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.loading import Loaded, load
from asr_app.precision import Precision
from asr_app.subtitles import make_cues

pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason="no real recordings here")]


@pytest.fixture(scope="module")
def loaded(whisper_base: Path, cache: Path) -> Loaded:
    return load(catalog.find(str(whisper_base)), Precision.FP32, "cpu", 2, hub.HUBS[0], cache=cache)


def assert_clean(loaded: Loaded, path: Path, language: str) -> None:
    done = pipeline.transcribe(path, loaded, Options(language=language), Limits())
    made = make_cues(done.segments, done.audio_s)
    assert made
    assert faults(made, fast=True) == []


@pytest.mark.parametrize("folder", ["zh-CN", "ja", "th", "ar", "de"])
def test_short_clips_of_many_speakers(loaded: Loaded, folder: str) -> None:
    for path in sorted((DATA / "speech" / folder).iterdir())[:3]:
        assert_clean(loaded, path, folder.partition("-")[0])


@pytest.mark.parametrize(("name", "language"), [("jfk.flac", "en"), ("asr_example.wav", "zh")])
def test_known_clips(loaded: Loaded, name: str, language: str) -> None:
    assert_clean(loaded, DATA / "clips" / name, language)


@pytest.mark.slow
def test_twenty_minutes_of_a_reader(loaded: Loaded) -> None:
    assert_clean(loaded, DATA / "long" / "LJ001.opus", "en")

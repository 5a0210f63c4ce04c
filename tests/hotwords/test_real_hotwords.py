"""Rules on what Whisper base's real weights write for real speech."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from conftest import DATA
from test_rules import pools

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.loading import Loaded, load
from asr_app.precision import Precision

pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason="no real recordings here")]
SAID = {"Ogilvy", "Lincolnshire", "Chaney", "贝弗利", "约克郡", "有线电视", "氧化物"}
CLIPS = [
    ("en/common_voice_en_75331.mp3", {"Ogilvy"}),
    ("en/common_voice_en_21690052.mp3", {"Lincolnshire"}),
    ("zh/zh-CN/common_voice_zh-CN_22075038.mp3", {"贝弗利", "约克郡"}),
    ("zh/zh-CN/common_voice_zh-CN_18627003.mp3", {"氧化物"}),
]


@pytest.fixture(scope="module")
def model(whisper_base: Path) -> Loaded:
    return load(catalog.find(str(whisper_base)), Precision.FP32, "cpu", 1, hub.HUBS[0])


@pytest.mark.parametrize(("clip", "wanted"), CLIPS, ids=[Path(clip).stem for clip, _ in CLIPS])
def test_names_among_300_others_are_put_right_and_the_others_stay_out(model, clip, wanted):
    path = next((DATA / "speech").rglob(Path(clip).name))
    language = clip[:2]
    others = random.Random(0).sample(sorted(pools()[f"{language} names"]), 300)
    hotwords = (*sorted(SAID), *(word for word in others if word not in SAID))
    found = pipeline.transcribe(path, model, Options(hotwords, language=language), Limits())
    plain = pipeline.transcribe(path, model, Options(language=language), Limits())
    struck = {effect.hotword: effect.strikes for effect in found.hotwords if effect.strikes}
    assert set(struck) == wanted
    for strikes in struck.values():
        for strike in strikes:
            assert strike.heard in plain.text
            assert strike.meant in found.text
            assert 0 <= strike.start_s < strike.end_s <= found.audio_s
    assert [w.end_s for s in found.segments for w in s.words] == sorted(
        w.end_s for s in found.segments for w in s.words
    )

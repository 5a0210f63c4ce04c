"""The bench: arms in processes of their own, a table to read and one line of JSON to keep. It asserts no speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from asr_app.bench import run
from asr_app.bench.arms import Task
from asr_app.precision import Precision


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "asr_app", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"LANG": "en_US.UTF-8"},
    )  # fmt: skip


NOT_REQUIRED = ("peer:funasr-onnx", "peer:sherpa-onnx")  # tests/peers.txt: they cannot be installed as others are


@pytest.fixture(scope="module")
def done():
    return bench("demo-paraformer", "--minutes", "0.3", "--rounds", "1", "--threads", "1", "--peers")


@pytest.mark.models
def test_the_last_line_is_the_whole_result(done):
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["arch"], found["audio_s"], found["threads"]) == ("demo-paraformer", 18.0, 1)
    assert set(found["arms"]) == {"fp32", "int8", "peer:funasr", *NOT_REQUIRED}
    for name, arm in found["arms"].items():
        if name in NOT_REQUIRED and "is not installed" in arm.get("problem", ""):
            continue
        assert arm["rtf"] > 0
        assert arm["load_s"] > 0
        assert arm["rss_mb"] > 0
    assert found["arms"]["int8"]["weights_mb"] < 0.5 * found["arms"]["fp32"]["weights_mb"]
    assert found["versions"]["torch"]
    stages = found["arms"]["fp32"]["stages_s"]
    parts = sum(seconds for name, seconds in stages.items() if name.startswith("asr."))
    assert 0.3 * stages["asr"] < parts < 1.05 * stages["asr"]
    assert stages["vad"] > 0


@pytest.mark.models
def test_the_table_has_a_row_for_each_arm(done):
    rows = done.stdout.splitlines()
    arms = ["arm", "fp32", "int8", "peer:funasr", *NOT_REQUIRED]
    assert [row.split()[0] for row in rows[:-1]] == arms
    assert rows[1].split()[2] == "1.00"


@pytest.mark.models
def test_an_arm_that_cannot_run_says_why_and_the_others_run(tmp_path, monkeypatch):
    audio = tmp_path / "speech.wav"
    assert run.speech(audio, 0.05) == 3.0
    task = Task(ROOT / "assets" / "models" / "demo-paraformer", audio, 1, tmp_path, "modelscope")
    told = []
    found = run.measure(["peer:openai-whisper", "fp32"], task, 2, lambda arm, doing: told.append((arm, doing)))
    assert found["peer:openai-whisper"].problem
    assert [doing for arm, doing in told if arm == "peer:openai-whisper"] == ["start 1 of 2"]
    assert len(found["fp32"].loads) == len(found["fp32"].seconds) == 2
    assert {("fp32", "start 2 of 2"), ("fp32", "round 2 of 2")} < set(told)


@pytest.mark.parametrize(
    "arguments",
    [(), ("demo-paraformer", "--arch", "whisper-small"), ("--arch", "whisper-small"), ("--arch", "x", "--random-weights"),
     ("demo-paraformer", "--audio", "gone.wav"), ("demo-paraformer", "--precision", "int3"),
     ("demo-paraformer", "--rounds", "0"), ("demo-paraformer", "--minutes", "-1")],
    ids=["nothing", "both", "no weights", "unknown", "no audio", "no precision", "no rounds", "no minutes"],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(arguments):
    done = bench(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert not done.stdout


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["paraformer-large", "sensevoice-small"])
def test_a_published_size_is_measured_without_its_weights(arch):
    done = bench("--arch", arch, "--random-weights", "--minutes", "0.3", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "never accuracy" in done.stdout
    arms = json.loads(done.stdout.splitlines()[-1])["arms"]
    assert set(arms) == {Precision.FP32.value, Precision.INT8.value}
    assert arms["int8"]["weights_mb"] < 0.4 * arms["fp32"]["weights_mb"]

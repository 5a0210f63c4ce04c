"""The bench: arms in processes of their own, a table to read and one line of JSON to keep. It asserts no speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import DATA, ROOT

from asr_app import catalog
from asr_app.errors import UserError
from asr_app.evaluate import rounds
from asr_app.evaluate.arms import Clip, Task
from asr_app.precision import Precision
from asr_app.recordings import Recording
from benchmarks import ggml_export
from benchmarks.__main__ import main
from benchmarks.command import start
from benchmarks.requests import cut, of_length, request_of, speech
from benchmarks.table import Result

EXAMPLE = ROOT / "example" / "english-home.flac"
WORDS = "What is the weather like today? Turn on the light. What time is it?"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "speed", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"LANG": "en_US.UTF-8"},
    )  # fmt: skip


ARMS = ("--arm", "fp32", "--arm", "int8", "--arm", "peer:funasr")  # the others are in tests/peers.txt


@pytest.fixture(scope="module")
def done():
    return bench("demo-paraformer", "--minutes", "0.3", "--rounds", "1", "--threads", "1", "--peers", *ARMS)


@pytest.mark.slow  # half a minute, most of it the peer's start
@pytest.mark.models
def test_the_last_line_is_the_whole_result(done):
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["arch"], found["audio_s"], found["threads"]) == ("demo-paraformer", 18.0, 1)
    assert set(found["arms"]) == {"fp32", "int8", "peer:funasr"}
    for arm in found["arms"].values():
        assert arm["rtf"] > 0
        assert arm["load_s"] > 0
        assert arm["rss_mb"] > 0
    assert found["arms"]["int8"]["weights_mb"] < 0.5 * found["arms"]["fp32"]["weights_mb"]
    assert found["versions"]["torch"]
    stages = found["arms"]["fp32"]["stages_s"]
    parts = sum(seconds for name, seconds in stages.items() if name.startswith("asr."))
    assert 0.3 * stages["asr"] < parts < 1.05 * stages["asr"]
    assert stages["vad"] > 0


@pytest.mark.slow  # half a minute, most of it the peer's start
@pytest.mark.models
def test_the_table_has_a_row_for_each_arm(done):
    rows = done.stdout.splitlines()
    arms = ["arm", "fp32", "int8", "peer:funasr"]
    assert [row.split()[0] for row in rows[:-1]] == arms
    assert rows[1].split()[2] == "1.00"


@pytest.mark.models
@pytest.mark.slow  # test_verify has an arm that fails, too
def test_an_arm_that_cannot_run_says_why_and_the_others_run(tmp_path, monkeypatch):
    audio = tmp_path / "speech.wav"
    assert speech(audio, 0.05) == 3.0
    model = ROOT / "assets" / "models" / "demo-paraformer"
    task = Task(str(model), model, 1, tmp_path, "modelscope")
    told = []
    tasks = dict.fromkeys(["peer:openai-whisper", "fp32"], task)
    found = rounds.measure(tasks, [Clip(audio)] * 2, lambda arm, doing: told.append((arm, doing)), start=start)
    assert found["peer:openai-whisper"].problem
    assert [doing for arm, doing in told if arm == "peer:openai-whisper"] == ["start 1 of 2"]
    assert len(found["fp32"].loads) == len(found["fp32"].seconds) == 2
    assert {("fp32", "start 2 of 2"), ("fp32", "round 2 of 2")} < set(told)


@pytest.mark.parametrize(
    "arguments",
    [(), ("demo-paraformer", "--arch", "whisper-small"), ("--arch", "whisper-small"), ("--arch", "x", "--random-weights"),
     ("demo-paraformer", "--audio", "gone.wav"), ("demo-paraformer", "--precision", "int3"),
     ("demo-paraformer", "--rounds", "0"), ("demo-paraformer", "--minutes", "-1"),
     ("demo-paraformer", "--arm", "int4"), ("demo-paraformer", "--clips", "0"), ("demo-paraformer", "--data", "x"),
     ("demo-paraformer", "--audio", str(EXAMPLE), "--reference", "gone.txt")],
    ids=["nothing", "both", "no weights", "unknown", "no audio", "no precision", "no rounds", "no minutes", "no arm",
         "no clips", "data without clips", "no reference"],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(arguments, capsys):
    try:
        code = main(["speed", *arguments])
    except SystemExit as ended:  # by argparse
        code = ended.code
    printed = capsys.readouterr()
    assert code == 2
    assert "error:" in printed.err
    assert not printed.out


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


def _blocks(data: bytes, *fields: tuple) -> np.ndarray:
    return np.frombuffer(data, dtype=list(fields))


def test_ggml_blocks_hold_what_was_put_in():
    """Read back by the formulas of ggml's own dequantisation: no value is further off than half a step."""
    rows = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    rows[1, :32] = 0
    x = rows.reshape(-1, 32)
    q8 = _blocks(ggml_export.q8_0(rows), ("d", "<f2"), ("q", "i1", 32))
    assert np.abs(q8["d"][:, None].astype(np.float32) * q8["q"] - x).max() < np.abs(x).max() / 127 * 0.51
    q5 = _blocks(ggml_export.q5_1(rows), ("d", "<f2"), ("m", "<f2"), ("h", "u1", 4), ("q", "u1", 16))
    fifth = np.unpackbits(q5["h"], axis=1, bitorder="little")
    nibbles = np.concatenate([q5["q"] & 15, q5["q"] >> 4], 1)
    back = q5["d"][:, None].astype(np.float32) * (nibbles + 16 * fifth) + q5["m"][:, None].astype(np.float32)
    steps = (x.max(1) - x.min(1)) / 31
    assert (np.abs(back - x).max(1) <= 0.52 * steps + 0.002).all()


def test_short_clips_are_cut_evenly_or_chosen_by_their_length(tmp_path):
    card = catalog.find("whisper-base")
    audio = tmp_path / "speech.wav"
    speech(audio, 0.2)
    made = cut(audio, 3, 4.0, card, tmp_path)
    assert [request.seconds for request in made] == [4.0] * 3
    assert [soundfile.info(request.clip.path).duration for request in made] == [4.0] * 3
    with pytest.raises(UserError, match="shorter than"):
        cut(audio, 3, 60.0, card, tmp_path)
    other = tmp_path / "short.wav"
    speech(other, 0.05)
    recordings = [Recording(audio, ("x",), "en"), Recording(other, ("y",), "zh-TW")]
    (nearest,) = of_length(recordings, 1, 4.0, card, tmp_path)
    assert (nearest.clip.path.name, nearest.clip.language) == ("short.wav", "zh")


def test_error_and_percentiles_are_in_the_row():
    clip = request_of(EXAMPLE, catalog.find("whisper-base"), Recording(EXAMPLE, (WORDS,), "en"), with_chunks=False)
    seconds = [0.1 * i for i in range(1, 21)]
    measured = rounds.Measured("", 0, [1.0], 2.0, 3.0, 4.0, seconds, [1.0] * 20, 5.0, [], [WORDS] * 19 + ["What"])
    result = Result("m", False, 1, [clip] * 20, {"int8": measured}, short=True)
    assert result.head().split()[1:3] == ["p50", "p95"]
    row = result.line("int8").split()
    assert row[1:6] == ["1.050", "s", "1.905", "s", "4.64%"]
    long = Result("m", False, 1, [clip] * 20, {"int8": measured, "fp32": rounds.Measured("gone")}, short=False)
    assert long.as_dict()["arms"]["int8"]["error"] == pytest.approx(13 / 14, abs=1e-4)
    assert long.line("fp32").split() == ["fp32", "gone"]


@pytest.mark.real
@pytest.mark.parametrize("kind", ["q8_0", "q5_1"])
def test_ggml_files_of_the_real_weights_are_understood(whisper_base, tmp_path, kind):
    pytest.importorskip("pywhispercpp")
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    from benchmarks.peers.whisper_cpp import WhisperCpp

    ggml_export.main(whisper_base, tmp_path / "model.bin", kind)
    arm = WhisperCpp(Task(str(whisper_base), whisper_base, 2, tmp_path, "modelscope", exported=tmp_path / "model.bin"))
    (result,) = arm.transcribe([Clip(DATA / "clips" / "jfk.flac", "en")])
    assert "ask what you can do for your country" in result.text


@pytest.mark.real
def test_ctranslate2_folders_of_the_real_weights_are_understood(whisper_base, tmp_path):
    """With a name of its own for the token that has none, faster-whisper wrote one word for ever."""
    pytest.importorskip("faster_whisper")
    if not DATA.is_dir():
        pytest.skip("no real recordings here")
    words = tmp_path / "words.txt"
    words.write_text(
        "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
    )
    out = bench(
        str(whisper_base), "--audio", str(DATA / "clips" / "jfk.flac"), "--reference", str(words), "--peers", "--arm",
        "peer:faster-whisper-int8", "--rounds", "1",
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout.splitlines()[-1])["arms"]["peer:faster-whisper-int8"]["error"] < 0.1

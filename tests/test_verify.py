"""`verify`: what holds is a row that says so, what does not is named, and the table goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asr_app.verify import examples, references, verify
from conftest import EXAMPLE, ROOT

from asr_app import catalog, hub
from asr_app.errors import UserError
from asr_app.precision import Precision


def test_references_are_found_beside_the_recordings_or_in_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"transcripts\.tsv"):
        references(tmp_path)
    for name in ("b.wav", "a.flac", "none.wav"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("二")
    assert references(tmp_path) == [(tmp_path / "a.flac", ("one",)), (tmp_path / "b.wav", ("二",))]
    (tmp_path / "transcripts.tsv").write_text("b.wav\tspeaker\t三\ngone.wav\tx\ty\n")
    assert references(tmp_path) == [(tmp_path / "b.wav", ("三",))]


@pytest.mark.models
def test_a_damaged_model_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(hub.BUNDLED / "demo-paraformer", folder)
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:1000])
    cards = [catalog.find(str(folder)), catalog.find("demo-paraformer")]
    damaged, whole = verify(cards, [Precision.FP32], examples()[:1], "cpu", 1, hub.HUBS[0])
    assert "model.pt is damaged" in damaged.problem
    assert not damaged.passed
    assert whole.passed
    assert whole.error == 0
    assert whole.weights_mb == pytest.approx(14.1, abs=0.1)


def test_a_recording_that_cannot_be_read_is_named_before_any_model_runs(tmp_path: Path) -> None:
    (tmp_path / "cover.jpg").write_bytes(b"no sound")
    (tmp_path / "cover.txt").write_text("one")
    command = [sys.executable, "-m", "asr_app", "verify", "demo-paraformer", "--data", str(tmp_path)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.returncode == 2
    assert "cover.jpg" in out.stderr
    assert "pass" not in out.stdout


@pytest.mark.models
def test_any_failure_of_a_model_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 must have the same dtype")

    monkeypatch.setattr("asr_app.verify.load", fail)
    (row,) = verify([catalog.find("demo-paraformer")], [Precision.FP32], [], "cpu", 1, hub.HUBS[0])
    assert row.problem == "RuntimeError: mat1 and mat2 must have the same dtype"


@pytest.mark.models
def test_the_command_prints_the_table(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "english-home.flac", tmp_path / "mine.flac")
    (tmp_path / "mine.txt").write_text("what is the weather like today")
    command = [sys.executable, "-m", "asr_app", "verify", "demo-paraformer", "--data", str(tmp_path)]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    head, *rows = out.stdout.splitlines()
    assert head.startswith("model")
    assert [row.split()[1:3] for row in rows] == [[p, "pass"] for p in ("FP32", "BF16", "FP16", "INT8")]
    assert out.returncode == 0

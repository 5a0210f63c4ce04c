"""Corrections as recordings with references: for `bench`, for `quantize`, and as figures on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLE
from corrections.journals import done

from asr_app import cli
from asr_app.audio import decode
from asr_app.corrections.export import export
from asr_app.corrections.references import References
from asr_app.corrections.store import Corrections
from asr_app.datasets import read_dataset
from asr_app.datatypes import Segment
from asr_app.errors import UserError
from asr_app.journal import Journal
from asr_app.precision import Precision


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A journal with one job on two clips, a line each, that a person has judged."""
    monkeypatch.setenv("ASR_HOME", str(tmp_path / "home"))
    journal = Journal(tmp_path / "home")
    clips = [decode(EXAMPLE / name).samples for name in ("english-home.flac", "mandarin-home.wav")]
    pause = np.zeros(8_000, np.float32)
    soundfile.write(journal.recordings / "job.wav", np.concatenate([clips[0], pause, clips[1], pause]), 16_000)
    ends = [len(clips[0]) / 16_000, len(clips[0]) / 16_000 + 0.5, (len(clips[0]) + len(clips[1])) / 16_000 + 0.5]
    words = json.loads((EXAMPLE / "expected.json").read_text(encoding="utf-8"))
    texts = [words[name]["text"] for name in ("english-home.flac", "mandarin-home.wav")]
    lines = [Segment(0.0, ends[0], "something wrong", language="en"), Segment(ends[1], ends[2], texts[1])]
    done(journal, "job", lines, Precision.INT8)
    corrections = Corrections(journal)
    corrections.correct("job", 0, texts[0], 0)
    corrections.confirm("job", 1, 0)
    return journal


def test_lines_become_clips_and_a_manifest_that_bench_reads(home, tmp_path):
    done_ = export(References(home).all(), tmp_path / "out")
    assert done_.clips == 2
    dataset = read_dataset(done_.manifest)
    assert not dataset.left_out
    texts = [Corrections(home).line("job", i).text for i in range(2)]
    assert [r.texts[0] for r in dataset.recordings] == texts
    assert [r.language for r in dataset.recordings] == ["en", ""]
    for i, recording in enumerate(dataset.recordings):
        line = Corrections(home).line("job", i)
        assert decode(recording.path).seconds == pytest.approx(line.end_s - line.start_s, abs=0.41)
    rows = [json.loads(row) for row in done_.manifest.read_text(encoding="utf-8").splitlines()]
    assert [(row["kind"], row["model_said"], row["precision"]) for row in rows] == [
        ("corrected", "something wrong", "int8"), ("confirmed", texts[1], "int8"),
    ]  # fmt: skip


def test_what_cannot_be_a_clip_is_counted(home, tmp_path):
    done(home, "gone", [Segment(0, 1, "x")], Precision.INT8)
    Corrections(home).confirm("gone", 0, 0)
    line = Corrections(home).line("job", 0)
    Corrections(home).correct("job", 0, "", line.change.number)
    found = export(References(home).all(), tmp_path / "out")
    assert found.clips == 1
    assert dict(found.left_out) == {"nothing is said in it": 1, "its recording cannot be read": 1}


def test_a_folder_in_use_and_a_journal_without_corrections_are_refused(home, tmp_path, capsys):
    assert cli.main(["corrections", "--export", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    with pytest.raises(UserError, match="No line"):
        export([], tmp_path / "empty")


def test_the_command_prints_the_figures_and_writes_the_clips(home, tmp_path, capsys):
    assert cli.main(["corrections", "--export", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "1 corrected and 1 confirmed lines, from 1 transcripts" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("demo-paraformer")]
    (figure,) = [reference for reference in References(home).all() if not reference.confirmed]
    units = len(figure.text.split())
    assert "INT8" in row
    assert row.endswith(" 2")
    assert f"of {units + len([c for c in Corrections(home).line('job', 1).text if c.isalnum()])}" in row
    assert "2 clips" in printed


@pytest.mark.models
def test_quantize_searches_on_the_corrections(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    assert cli.main(["quantize", "demo-paraformer", "--corrections", "--max-loss", "0.05"]) == 0
    printed = capsys.readouterr().out
    assert "calibration: 2 recordings" in printed
    assert "errors against references" in printed
    (stored,) = (tmp_path / "cache").glob("recipes/*/recipe.json")
    evidence = json.loads(stored.read_text(encoding="utf-8"))["evidence"]
    assert set(evidence["calibration"]["scripts"]) == {"Latin", "Cjk"}


def test_quantize_without_corrections_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    assert cli.main(["quantize", "demo-paraformer", "--corrections"]) == 2
    assert "No line is corrected" in capsys.readouterr().err

"""`batch` as a process: with an engine of a few lines that is killed, and with the demo model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from conftest import EXAMPLE, ROOT
from fakes import FakeEngines

from asr_app import catalog, cli
from asr_app.audio import Limits
from asr_app.batch import command
from asr_app.batch.recognisers import Local
from asr_app.batch.sources import Source
from asr_app.datatypes import Options, Transcript
from asr_app.errors import UserError
from asr_app.precision import Precision
from asr_app.scoring import normalise

# Recognises with a fake engine that notes each recording in a log, and takes its time.
SLOW = """
import sys, time
from pathlib import Path
from fakes import FakeEngines
from asr_app.batch import command
folder, output, log, seconds = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])

class Engines(FakeEngines):
    def __init__(self, *args, **kwargs):
        super().__init__()
        self.engine.transcribe = self.slowly

    def slowly(self, batch, options):
        from asr_app.datatypes import Segment, Word
        length = str(len(batch[0]))
        with log.open("a") as file:
            file.write(length + "\\n")
        time.sleep(seconds)
        return [[Segment(0.1, 0.4, length, (Word(0.1, 0.4, length),))]]

command.Engines = Engines
from asr_app import cli
sys.exit(cli.main(["batch", str(folder), "--output", output, "--model", "demo-paraformer"]))
"""


def slow_batch(*arguments: str | Path | float) -> subprocess.Popen[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("ASR_")} | {
        "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", "ASR_CACHE": os.environ["ASR_CACHE"], "LANG": "C.UTF-8"
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, *map(str, arguments)], cwd=ROOT, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Ten recordings of different lengths, one chunk each, some of one name."""
    samples, rate = soundfile.read(EXAMPLE / "english-home.flac")
    folder = tmp_path / "clips"
    for number in range(10):
        path = folder / f"{number // 2}" / ("talk.wav" if number % 2 else "talk.flac")
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples[: 2 * rate + number * 1600], rate)
    return folder


def texts(output: Path) -> dict[str, str]:
    return {p.relative_to(output).as_posix(): p.read_text() for p in output.rglob("*.txt")}


@pytest.mark.models
def test_a_kill_in_the_middle_loses_nothing_and_doubles_nothing(clips, tmp_path):
    undisturbed = slow_batch(clips, tmp_path / "whole", tmp_path / "whole.log", 0)
    assert undisturbed.wait(120) == 0, undisturbed.stderr.read()
    out, log = tmp_path / "out", tmp_path / "log"
    killed_at = []
    for more in (3, 4):  # killed twice
        process = slow_batch(clips, out, log, 0.3)
        end = time.monotonic() + 120
        while len(texts(out)) < more + sum(killed_at) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(len(texts(out)) - sum(killed_at))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.txt")}
    last = slow_batch(clips, out, log, 0)
    printed, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert texts(out) == texts(tmp_path / "whole")
    assert len(texts(out)) == 10
    figures = json.loads(printed.splitlines()[-1])
    assert figures["done"] + figures["skipped"] == 10
    # Each recording was recognised once, but for the one that a kill interrupted, if it did.
    assert 10 <= len(log.read_text().splitlines()) <= 12
    marked = {path for path in before if (out / ".batch/marks" / f"{path.relative_to(out)}"[:-4]).exists()}
    assert all(path.stat().st_mtime_ns == before[path] for path in marked)


def test_an_engine_that_dies_at_a_recording_fails_it_alone(clips, caplog):
    engines = FakeEngines()
    engines.engine.dies_at = 2
    local = Local(engines, catalog.find("demo-paraformer"), Precision.FP32, Options(), Limits())
    sources = [Source(path, path.name) for path in sorted(clips.rglob("talk.wav"))[:3]]
    local.prepare()
    outcomes = [outcome for _, outcome in local.outcomes(sources)]
    assert [type(o) for o in outcomes] == [Transcript, UserError, Transcript]
    assert "ValueError" in outcomes[1].en
    assert "nobody's fault" in caplog.text


def test_a_name_with_a_line_break_stays_one_line_and_commands_nothing_to_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "Engines", lambda *_, **__: FakeEngines())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "two\nlines \x1b[2J.wav").write_text("no audio")
    code = cli.main(["batch", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--model", "demo-paraformer"])
    assert code == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "two\\nlines \\x1b[2J.wav: " in said
    assert len((tmp_path / "out" / "failures.jsonl").read_text().splitlines()) == 1


def test_nothing_named_is_refused(tmp_path, capsys):
    assert cli.main(["batch", "--output", str(tmp_path / "out"), "--model", "demo-paraformer"]) == 2
    assert "--manifest" in capsys.readouterr().err
    assert cli.main(["batch", str(tmp_path), "--output", str(tmp_path / "out"), "--format", "doc"]) == 2
    assert "Unknown format 'doc'" in capsys.readouterr().err


@pytest.mark.models
def test_a_folder_is_transcribed_and_a_damaged_recording_is_listed(tmp_path, expected, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep" / "er").mkdir(parents=True)
    shutil.copy(EXAMPLE / "english-home.flac", folder / "deep" / "clip.flac")
    shutil.copy(EXAMPLE / "mandarin-home.wav", folder / "deep" / "er" / "clip.wav")
    (folder / "bad.mp3").write_bytes(b"no sound at all" * 50)
    command = [
        "batch",
        str(folder),
        "--output",
        str(out),
        "--model",
        "demo-paraformer",
        "--format",
        "txt,json",
        "--lite",
    ]
    assert cli.main(command) == 2
    assert normalise((out / "in/deep/clip.flac.txt").read_text()) == normalise(expected["english-home.flac"]["text"])
    found = json.loads((out / "in/deep/er/clip.wav.json").read_text())
    assert normalise(found["text"]) == normalise(expected["mandarin-home.wav"]["text"])
    assert found["precision"]["requested"] == "int8"
    assert [json.loads(line)["name"] for line in (out / "failures.jsonl").read_text().splitlines()] == ["in/bad.mp3"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["done"], summary["failed"], summary["precision"]) == (2, 1, "int8")
    assert summary["audio_s"] == pytest.approx(sum(soundfile.info(p).duration for p in folder.rglob("clip.*")), abs=0.1)
    capsys.readouterr()
    assert cli.main(command) == 2
    assert "0 done (0.00 h of audio in 0:00:00), 2 were done before, 1 failed" in capsys.readouterr().out.replace("0:00:01", "0:00:00")  # fmt: skip
    command.remove("--lite")
    assert cli.main(command) == 2  # another precision
    assert "2 done" in capsys.readouterr().out


@pytest.mark.models
def test_ctrl_c_ends_a_watch_properly(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith("ASR_")} | {"ASR_CACHE": os.environ["ASR_CACHE"]}
    command = [
        sys.executable,
        "-m",
        "asr_app",
        "batch",
        folder,
        "--output",
        out,
        "--watch",
        "--model",
        "demo-paraformer",
    ]
    watch = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        result = out / "in/clip.flac.txt"
        end = time.monotonic() + 120
        while not (out / ".batch/lock").exists() and time.monotonic() < end:
            time.sleep(0.1)
        shutil.copyfile(EXAMPLE / "english-home.flac", folder / "clip.flac")
        while not result.exists() and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1)
        watch.send_signal(signal.SIGINT)
        printed, _ = watch.communicate(timeout=60)
    finally:
        watch.kill()
    assert watch.returncode == 0
    assert json.loads(printed.splitlines()[-1])["done"] == 1
    assert "weather" in result.read_text()

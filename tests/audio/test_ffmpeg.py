"""ffmpeg on a hostile or broken file, or hung: bounded in memory, disk and time, and ended with its job alone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import psutil
import pytest
import soundfile
from conftest import EXAMPLE, ROOT
from fakes import jobs, submit, wait  # noqa: F401

from asr_app.audio import child, decode, ffmpeg
from asr_app.errors import Cancelled, UserError

_PEAK = """
import resource, sys
from pathlib import Path
from asr_app.audio import decode
from asr_app.errors import UserError
try:
    decode(Path(sys.argv[1]))
except UserError as error:
    print(error.en)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def matroska(path: Path, rate: float, packet: int) -> Path:
    """640 KB of noise in packets of `packet` samples, with `rate` in the header."""
    sound, made = path.with_suffix(".wav"), path.with_suffix(".16k.mkv")
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 320_000), 16_000, subtype="PCM_16")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", sound, "-af", f"asetnsamples={packet}"]
    subprocess.run([*command, "-c:a", "pcm_s16le", made], check=True)
    element = b"\xb5\x88" + np.array(16_000, ">f8").tobytes()  # SamplingFrequency
    stated = made.read_bytes()
    assert stated.count(element) == 1
    path.write_bytes(stated.replace(element, element[:2] + np.array(rate, ">f8").tobytes()))
    return path


@pytest.mark.parametrize("packet", [1024, pytest.param(8192, marks=pytest.mark.models)])
def test_a_file_that_states_1_hz_is_refused_and_takes_little_memory(tmp_path, packet):
    path = matroska(tmp_path / "x.mkv", 1.0, packet)
    ran = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, text=True, cwd=ROOT, check=True)
    *told, peak = ran.stdout.splitlines()
    assert told == ["x.mkv states a sampling rate of 1 Hz, which cannot be right. Save it again as WAV or MP3."]
    assert int(peak) < 1 << 30  # 3.5 GB without a limit


@pytest.fixture
def instead_of_ffmpeg(tmp_path, monkeypatch):
    """`instead_of_ffmpeg(script)` lets a shell script run for ffmpeg; it leaves the ids of its processes in `pids`."""
    ffmpeg._audio_decoders()  # asks the real one, once
    pids = tmp_path / "pids"

    def put(script: str) -> None:
        program = tmp_path / "ffmpeg.sh"
        program.write_text(f"#!/bin/sh\necho $$ >> {pids}\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(program))

    put.pids = pids
    return put


HANGS = "sleep 1000 & echo $! >> $(dirname $0)/pids\nwait"
GOES_ON = "exec yes >&2"  # in the same process, which is the one that is limited


def running(pids: Path) -> list[int]:
    """The processes in the file that still run. Their parent is not this process, which can't wait for all of them."""
    end = time.monotonic() + 5
    while left := [p for p in map(int, pids.read_text().split()) if psutil.pid_exists(p) and not _is_zombie(p)]:
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    return left


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def m4a(tmp_path) -> Path:
    path = tmp_path / "speech.m4a"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", EXAMPLE / "english-home.flac", path]
    subprocess.run(command, check=True)
    return path


def test_a_decoder_that_hangs_is_killed_with_its_children_at_the_deadline(m4a, instead_of_ffmpeg, monkeypatch):
    instead_of_ffmpeg(HANGS)
    monkeypatch.setattr(ffmpeg, "_LEAST_S", 1.0)
    with pytest.raises(UserError, match=r"speech.m4a takes too long to decode"):
        decode(m4a)
    assert len(instead_of_ffmpeg.pids.read_text().split()) == 2
    assert running(instead_of_ffmpeg.pids) == []


def test_the_deadline_grows_with_the_file(m4a, instead_of_ffmpeg, monkeypatch):
    instead_of_ffmpeg("sleep 1.5")
    monkeypatch.setattr(ffmpeg, "_LEAST_S", 0.1)
    monkeypatch.setattr(ffmpeg, "_BYTES_A_S", m4a.stat().st_size / 60)
    with pytest.raises(UserError, match="is damaged"):
        decode(m4a)


def test_a_decoder_without_an_end_of_messages_does_not_fill_the_disk(m4a, instead_of_ffmpeg, monkeypatch):
    instead_of_ffmpeg(GOES_ON)
    monkeypatch.setattr(child, "_LARGEST_FILE", 1 << 20)
    with pytest.raises(UserError, match="is damaged"):
        decode(m4a)


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "flac"])
def test_a_picture_in_the_file_does_not_matter(tmp_path, suffix):
    path, picture = tmp_path / f"x.{suffix}", tmp_path / "picture.jpg"
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error"]
    subprocess.run([*program, "-f", "lavfi", "-i", "testsrc=size=600x600", "-frames:v", "1", picture], check=True)
    both = ["-i", EXAMPLE / "english-home.flac", "-i", picture, "-map", "0:a", "-map", "1:v", "-c:v", "copy"]
    subprocess.run([*program, *both, "-disposition:v", "attached_pic", path], check=True)
    assert picture.read_bytes() in path.read_bytes()
    wanted = decode(EXAMPLE / "english-home.flac")
    audio = decode(path)
    assert audio.seconds == pytest.approx(wanted.seconds, abs=0.1)
    assert [f.code for f in audio.recording.findings] == [f.code for f in wanted.recording.findings]


@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_decoding_asks_whether_it_is_still_wanted(tmp_path, m4a, suffix):
    """By libsndfile between blocks, by ffmpeg whether or not it gives any."""
    path = m4a
    if suffix == "wav":
        path = tmp_path / "x.wav"
        soundfile.write(path, np.zeros(60 * 16_000), 16_000)
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        decode(path, check=check)


def test_cancel_ends_a_hung_decoder_within_two_seconds_and_the_next_job_runs(jobs, m4a, instead_of_ffmpeg):
    instead_of_ffmpeg(HANGS)
    hung, good = submit(jobs, m4a), submit(jobs, EXAMPLE / "english-home.flac")
    jobs.start()
    wait(jobs, hung, lambda v: v.state == "running" and instead_of_ffmpeg.pids.is_file())
    began = time.monotonic()
    jobs.cancel(hung)
    wait(jobs, good, lambda v: v.state != "queued", 10)
    assert time.monotonic() - began < 2
    assert jobs.observe(hung).state == "cancelled"
    assert running(instead_of_ffmpeg.pids) == []
    assert wait(jobs, good, lambda v: v.finished).state == "done"


def test_a_decoder_that_hangs_fails_its_job_alone(jobs, m4a, instead_of_ffmpeg, monkeypatch):
    instead_of_ffmpeg(HANGS)
    monkeypatch.setattr(ffmpeg, "_LEAST_S", 1.0)
    hung, good = submit(jobs, m4a), submit(jobs, EXAMPLE / "english-home.flac")
    jobs.start()
    assert wait(jobs, good, lambda v: v.finished).state == "done"
    view = jobs.observe(hung)
    assert view.state == "failed"
    assert "too long to decode" in view.error.en

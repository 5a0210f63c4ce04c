"""Runs ffmpeg on a stranger's file: frames of one audio track at 16 kHz, on the timeline that players show.

ffmpeg gets a list of what the file may be, reads no other file, and runs no video decoder. child.py bounds it.
"""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from asr_app.audio import headers
from asr_app.audio.child import Child, TimedOut
from asr_app.audio.samples import Samples
from asr_app.datatypes import SAMPLE_RATE

# What ffmpeg may take a file for. Playlists (hls, concat, dash) and picture patterns are left out on purpose: such a
# file names other files, and an upload must not make the server read them.
_CONTAINERS = (
    "mov,matroska,avi,asf,flv,mpeg,mpegts,mxf,nut,rm,dv,mp3,aac,loas,amr,amrnb,amrwb,ogg,wav,w64,aiff,au,caf,flac,"
    "ac3,eac3,dts,ape,wv,tta,tak,mpc,mpc8,dsf,voc,oma,qcp,gsm"
)
# Silence fills what timestamps leave out, so that text keeps its place on a player's timeline: before a track that
# begins late (first_pts) and in holes of more than 0.1 s (async). Without rematrix_maxval a float mix of surround
# comes out too loud, and clips. One or two channels are left, so that those that cancel each other are noticed.
_FILTER = f"aresample={SAMPLE_RATE}:async=1:first_pts=0:rematrix_maxval=1,aformat=channel_layouts=mono|stereo"
# In a transport stream ffmpeg takes a jump of 10 s for a new recording and closes up. A camera that lost its
# microphone leaves a hole like that; ten minutes are taken for one.
_HOLE_S = "600"
_AU_HEADER = 24  # bytes: magic, offset of the samples, their length, encoding, rate, channels, big-endian

_MOST_KEPT = 1 << 16  # bytes of messages in memory
_MOST_READ = 1 << 20  # bytes of messages before the first sample
# Four hours of 6 kbit/s Opus, 10 MB, take 25 s of CPU at 2.5 GHz, and a slow disk reads 2 GB of video in 100 s.
_LEAST_S, _BYTES_A_S = 300.0, 1_000_000
_HEADER_S = 10.0  # for reading a header

_INPUT_AUDIO = re.compile(r"^\[info\]   Stream #0:(\d+)[^\n]*?: Audio: ", re.MULTILINE)
_MAPPED = re.compile(r"^\[info\]   Stream #0:(\d+) -> #0:0 ", re.MULTILINE)
_LATE = re.compile(rb"Correcting start time of Input #0 by (\d+) us")
_FILLED = re.compile(rb"adding (\d+) audio samples of silence")
_DURATION = re.compile(rb"  Duration: (\d+):(\d+):(\d+\.\d+)")
_SOURCE_RATE = re.compile(rb"\bfmt:\w+ r:(\d+)Hz -> ")


@dataclass(frozen=True)
class Report:
    """Result of a run of ffmpeg: `tracks` are the stream numbers of the audio tracks, `track` the one it decoded.

    `filled_s` is the silence put where the track's timestamps left something out, its late start among it.
    """

    errors: str
    code: int
    tracks: tuple[int, ...]
    track: int | None
    filled_s: float


def read(path: Path, samples: Samples, check: Callable[[], None], track: int | None = None) -> Report:
    """Adds float32 frames `(n, channels)`, one or two channels at 16 kHz, to `samples`, block by block.

    `track` is a stream number; by default ffmpeg chooses. An exception of `samples` or of `check`, which is called at
    least twice a second, ends ffmpeg. Raises UserError for an impossible rate, TimedOut at a deadline by the file's size.
    """
    seconds = _LEAST_S + path.stat().st_size / _BYTES_A_S
    with tempfile.TemporaryDirectory() as folder:
        messages = Path(folder) / "messages"
        # They go to a file, since a pipe nobody reads would fill up and stop ffmpeg.
        with open(messages, "wb") as log, Child(_command(path, track), log, seconds, check) as child:
            late_s = _pass_on(child, messages, samples)
            code = child.wait()
        return _report(messages, code, late_s)


def stated_seconds(path: Path) -> float | None:
    """Length of the file by its header; None if it states none, or is no media file. Decodes nothing."""
    with tempfile.TemporaryFile() as log:
        try:
            with Child(_opening(path), log, _HEADER_S, lambda: None) as child:
                child.read(1)  # it writes nothing, and ends for want of an output
                child.wait()
        except TimedOut:
            return None
        log.seek(0)
        if match := _DURATION.search(log.read(_MOST_READ)):
            hours, minutes, seconds = map(float, match.groups())
            return 3600 * hours + 60 * minutes + seconds
    return None


def _opening(path: Path) -> list[str]:
    """ffmpeg with the input and what the file may be."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "repeat+level+verbose"]
    # "file:" and an absolute path: a name may begin with "-" or hold a ":". -vn alone does not keep video decoders
    # from running while ffmpeg probes.
    command += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _CONTAINERS]
    if headers.wav_goes_on(path):
        command += ["-ignore_length", "1"]
    command += ["-threads", "1"]  # each thread takes address space, and few audio decoders have more than one
    command += ["-codec_whitelist", _audio_decoders(), "-dts_delta_threshold", _HOLE_S]
    return [*command, "-i", f"file:{path.absolute()}"]


def _command(path: Path, track: int | None) -> list[str]:
    command = _opening(path)
    command += ["-vn", "-sn", "-dn"] if track is None else ["-map", f"0:{track}"]
    # AU, since its header states the channels and it needs no length.
    return [*command, "-map_metadata", "-1", "-bitexact", "-af", _FILTER, "-c:a", "pcm_f32be", "-f", "au", "-"]


@functools.cache
def _audio_decoders() -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-decoders"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    return ",".join(re.findall(r"^ A\S{5} (\w+) ", listed, re.MULTILINE))


def _pass_on(child: Child, messages: Path, samples: Samples) -> float:
    """Parses AU and hands its frames on. Returns by how many seconds the track begins after the file, if ffmpeg cut that.

    In formats whose clock may jump (transport streams) ffmpeg counts from the first audio packet, whatever
    `first_pts` says. It logs by how much, and the rate that the file states, before it writes the first byte.
    """
    header = child.read(_AU_HEADER)
    with open(messages, "rb") as lines:
        opening = lines.read(_MOST_READ)
    for rate in _SOURCE_RATE.findall(opening):
        samples.require_rate(int(rate))
    if len(header) < _AU_HEADER:
        return 0.0
    offset, channels = int.from_bytes(header[4:8], "big"), int.from_bytes(header[20:24], "big")
    child.read(offset - _AU_HEADER)
    late = _LATE.search(opening)
    late_s = int(late[1]) / 1e6 if late else 0.0
    block = np.zeros((SAMPLE_RATE, channels), np.float32)
    for start in range(0, round(late_s * SAMPLE_RATE), SAMPLE_RATE):
        samples.add(block[: round(late_s * SAMPLE_RATE) - start])
    size = 4 * channels
    while data := child.read(size * SAMPLE_RATE):
        frames = np.frombuffer(data, ">f4", count=len(data) // size * channels)
        samples.add(frames.astype(np.float32).reshape(-1, channels))
    return late_s


def _report(messages: Path, code: int, late_s: float) -> Report:
    """Goes through the messages line by line: a damaged file may leave many."""
    opening, errors, filled_s, rate = b"", b"", late_s, SAMPLE_RATE
    mapped = False
    with open(messages, "rb") as lines:
        for line in lines:
            if not mapped and len(opening) < _MOST_KEPT:
                opening += line
                mapped = b" -> #0:0 " in line
            if match := _SOURCE_RATE.search(line):
                rate = int(match[1])
            elif match := _FILLED.search(line):
                filled_s += int(match[1]) / rate
            elif (b"[error]" in line or b"[fatal]" in line) and len(errors) < _MOST_KEPT:
                errors += line
    header = opening.decode(errors="replace")
    chosen = _MAPPED.search(header)
    tracks = tuple(dict.fromkeys(int(n) for n in _INPUT_AUDIO.findall(header)))
    return Report(errors.decode(errors="replace"), code, tracks, int(chosen[1]) if chosen else None, filled_s)

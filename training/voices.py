"""Many voices of offline synthesisers (espeak-ng, flite), some of them kept from training.

A voice is an engine, a base (language and accent) and a variant; rate and pitch are drawn for every sentence. Held-out
voices share no variant and no flite speaker with the trained ones. Needs the commands `espeak-ng` and `flite`.

Sources: https://github.com/espeak-ng/espeak-ng, http://www.festvox.org/flite/.
"""

from __future__ import annotations

import functools
import io
import random
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from asr_app.datatypes import SAMPLE_RATE
from asr_app.errors import UserError

ESPEAK_ACCENTS = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc", "en-gb-x-gbcwmd"]
FLITE_SPEAKERS = {"train": ["kal", "kal16", "awb", "slt"], "held": ["rms"]}
# Variants that no person sounds like, or that drop the voicing a Mandarin tone lives on.
_UNNATURAL = {"whisper", "whisperf", "croak", "Demonic", "UniRobot", "anikaRobot", "Storm"} | {
    f"robosoft{i}" for i in ["", *range(2, 9)]
}
# Manners of speaking as rates (words a minute) and pitches (0-99) of espeak-ng. No feeling is in them: a fast high voice
# and a slow low one are what a synthesiser can do that a model can learn to tell apart.
PROSODY = {"happy": ((240.0, 300.0), (85, 99)), "sad": ((80.0, 100.0), (0, 8))}
_NEUTRAL = ((120.0, 225.0), (15, 85))
# espeak-ng reads 幺, the telephone's word for one, only under the character that shares its sound.
_SAID_AS = str.maketrans({"幺": "妖"})


@dataclass(frozen=True)
class Voice:
    """`espeak-ng -v base+variant -s rate -p pitch`, or `flite -voice variant` stretched by `rate`."""

    engine: str
    base: str
    variant: str
    rate: float
    pitch: int = 50


@functools.cache
def espeak_variants() -> tuple[str, ...]:
    """Names of the natural-sounding voice variants espeak-ng has installed, sorted."""
    for command in ("espeak-ng", "flite"):
        if shutil.which(command) is None:
            raise UserError(
                f"The demo corpus needs the command {command}. Install it with: apt-get install espeak-ng flite",
                f"制作演示语料需要命令 {command}。请安装：apt-get install espeak-ng flite",
            )
    listing = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    names = {line.split("!v/")[1].split(" (")[0].strip() for line in listing.splitlines() if "!v/" in line}
    return tuple(sorted(n for n in names if n not in _UNNATURAL))


def draw_voice(r: random.Random, language: str, held_out: bool, prosody: str = "neutral") -> Voice:
    """A voice for one sentence. Every eighth espeak-ng variant and one flite speaker are held out."""
    if language == "en" and prosody == "neutral" and r.random() < 0.5:
        return Voice("flite", "en", r.choice(FLITE_SPEAKERS["held" if held_out else "train"]), r.uniform(0.75, 1.3))
    variants = [v for i, v in enumerate(espeak_variants()) if (i % 8 == 0) == held_out]
    base = "cmn" if language == "zh" else r.choice(ESPEAK_ACCENTS)
    rates, pitches = PROSODY.get(prosody, _NEUTRAL)
    return Voice("espeak-ng", base, r.choice(variants), r.uniform(*rates), r.randint(*pitches))


def speak(text: str, voice: Voice) -> np.ndarray:
    """Speech as float32 at 16 kHz, edges trimmed of silence; shape `(n,)`. Raises RuntimeError if nothing was said."""
    if voice.engine == "flite":
        command = ["flite", "-voice", voice.variant, "--setf", f"duration_stretch={voice.rate:.2f}"]
        command += ["-t", text, "-o", "/dev/stdout"]
    else:
        command = ["espeak-ng", "-v", f"{voice.base}+{voice.variant}", "-s", f"{voice.rate:.0f}"]
        command += ["-p", str(voice.pitch), "--stdout", "--", text.translate(_SAID_AS)]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    if len(said) <= 44:
        raise RuntimeError(f"{voice} said nothing for {text!r}")
    # Written to a pipe, the header's length is a guess of the synthesiser: read the samples behind it as raw PCM.
    rate = int.from_bytes(said[24:28], "little")
    samples, _ = soundfile.read(
        io.BytesIO(said[44 : 44 + (len(said) - 44) // 2 * 2]),
        samplerate=rate, channels=1, format="RAW", subtype="PCM_16", dtype="float32",
    )  # fmt: skip
    return trim(soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32))


def trim(samples: np.ndarray, threshold_db: float = 40.0) -> np.ndarray:
    """Removes leading and trailing stretches more than `threshold_db` below the loudest 10 ms."""
    hop = SAMPLE_RATE // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = (frames**2).mean(1)
    loud = np.flatnonzero(power > power.max(initial=0) * 10 ** (-threshold_db / 10))
    return samples[loud[0] * hop : (loud[-1] + 1) * hop] if len(loud) else samples[:0]

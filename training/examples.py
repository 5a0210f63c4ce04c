"""Speaks the clips of example/, which the page offers and the self-check and the tests use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr_app.datatypes import SAMPLE_RATE
from asr_app.examples import EXAMPLES, TABLE
from training.kokoro import Kokoro
from training.vocabulary import Sentence
from training.voices import Voice, speak
from training.written import written

_PAUSE_S = 0.9


@dataclass(frozen=True)
class Clip:
    file: str
    language: str
    voice: Voice | str  # a name is a voice of Kokoro's
    sentences: tuple[str, ...]
    models: tuple[str, ...] = ("demo", "real")  # that understand it


CLIPS = (
    Clip(
        "mandarin-home.wav", "zh", Voice("espeak-ng", "cmn", "f2", 160, 55),
        ("今天天气怎么样？", "请打开客厅的灯。", "把卧室的温度调到二十六度。"), ("demo",),
    ),
    Clip(
        "english-home.flac", "en", Voice("flite", "en", "slt", 1.0),
        ("What is the weather like today?", "Turn on the light.", "What time is it?"),
    ),
    Clip(
        "mandarin-phone.mp3", "zh", Voice("espeak-ng", "cmn", "m3", 150, 45),
        ("我的电话号码是一三八五二零七六四九一。", "请再说一遍。", "谢谢你的帮助。"), ("demo",),
    ),
    Clip(
        "english-numbers.ogg", "en", Voice("flite", "en", "awb", 1.05),
        ("My phone number is five five five two three eight nine.", "The meeting is tomorrow at half past three.",
         "Thank you very much."),
    ),
    Clip(
        "mandarin-park.flac", "zh", "zf_xiaoyi",
        ("今天天气很好。", "我们下午去公园散步，你要一起来吗？", "这本书非常有意思。"), ("real",),
    ),
    Clip(
        "mandarin-station.ogg", "zh", "zm_yunxi",
        ("你好，请问火车站怎么走？", "往前走五分钟，然后左转。", "谢谢你的帮助！"), ("real",),
    ),
)  # fmt: skip


def make(downloads: Path | None) -> None:
    """Writes the clips and expected.json: the text as spoken with punctuation, and `written` with numbers in digits.

    Clips in a voice of Kokoro's need the folder `downloads`. Without it they stay unchanged.
    """
    EXAMPLES.mkdir(exist_ok=True)
    kokoro = Kokoro(downloads) if downloads else None
    expected = {}
    for clip in CLIPS:
        between = " " if clip.language == "en" else ""
        digits = between.join(written(Sentence(clip.language, sentence)) for sentence in clip.sentences)
        expected[clip.file] = {
            "text": between.join(clip.sentences), "written": digits, "language": clip.language,
            "models": list(clip.models),
        }  # fmt: skip
        if isinstance(clip.voice, Voice):
            spoken = [speak(sentence, clip.voice) for sentence in clip.sentences]
        elif kokoro is not None:
            spoken = [kokoro.speak(sentence, clip.voice) for sentence in clip.sentences]
        else:
            continue
        pause = np.zeros(int(_PAUSE_S * SAMPLE_RATE), np.float32)
        parts = [pause[: len(pause) // 2], *(x for s in spoken for x in (s / np.abs(s).max() * 0.5, pause))]
        samples = np.concatenate(parts)
        samples = samples + np.random.default_rng(0).normal(0, 5e-4, len(samples))
        soundfile.write(EXAMPLES / clip.file, samples.astype(np.float32), SAMPLE_RATE)
    TABLE.write_text(json.dumps(expected, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

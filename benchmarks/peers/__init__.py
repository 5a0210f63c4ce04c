"""Other programs, used as their own READMEs show, on the same weights, clips, language and threads.

They are no dependency of the app: tests/peers.txt lists them, and an arm whose library is missing reports that. A peer
is a module of this package. The bench and the evaluator know peers only through the table below.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from asr_app.evaluate.arms import Arm, Task
from benchmarks.export import Export
from benchmarks.peers.faster_whisper import FasterWhisper
from benchmarks.peers.funasr import FunASR
from benchmarks.peers.funasr_onnx import FunASROnnx
from benchmarks.peers.openai_whisper import OpenAIWhisper
from benchmarks.peers.sherpa_onnx import SherpaOnnx
from benchmarks.peers.transcribe_cpp import TranscribeCpp
from benchmarks.peers.whisper_cpp import WhisperCpp


@dataclass(frozen=True)
class Peer:
    """A program: its loader, families, library and distributions, and the export to its own format, if any.

    `evaluated`: `verify --peers` runs it. The others differ from an evaluated one in speed rather than in text.
    `chunked`: it has no VAD and gets this app's chunks.
    """

    make: Callable[[Task], Arm]
    families: tuple[str, ...]
    library: str
    distributions: tuple[str, ...]
    export: Export | None = None
    evaluated: bool = False
    chunked: bool = False

    @property
    def here(self) -> bool:
        return importlib.util.find_spec(self.library) is not None


_ONNX = Export("benchmarks.funasr_onnx_export")


def _whisper(
    make: Callable[[Task], Arm], library: str, distributions: tuple[str, ...], export: str, kind: str = "",
    *, evaluated: bool = False,
) -> Peer:  # fmt: skip
    return Peer(make, ("whisper",), library, distributions, Export(f"benchmarks.{export}", kind), evaluated)


def _faster_whisper(compute_type: str, beam_size: int, batch_size: int = 0) -> Peer:
    make = partial(FasterWhisper, compute_type=compute_type, beam_size=beam_size, batch_size=batch_size)
    libraries = "faster-whisper", "ctranslate2"
    return _whisper(make, "faster_whisper", libraries, "ct2_export", compute_type, evaluated=not batch_size)


PEERS: Mapping[str, Peer] = {
    "peer:funasr": Peer(
        FunASR, ("paraformer", "sensevoice", "fun-asr-nano"), "funasr.auto.auto_model", ("funasr", "torch"),
        evaluated=True,
    ),
    "peer:funasr-onnx": Peer(
        FunASROnnx, ("paraformer", "sensevoice"), "funasr_onnx", ("funasr-onnx", "onnxruntime"), _ONNX, chunked=True
    ),
    "peer:sherpa-onnx": Peer(
        SherpaOnnx, ("paraformer", "sensevoice"), "sherpa_onnx", ("sherpa-onnx",), _ONNX, chunked=True
    ),
    "peer:openai-whisper": _whisper(
        OpenAIWhisper, "whisper", ("openai-whisper", "torch"), "openai_export", evaluated=True
    ),
    "peer:faster-whisper-fp32": _faster_whisper("float32", 1),
    "peer:faster-whisper-int8": _faster_whisper("int8", 1),
    "peer:faster-whisper-int8-beam5": _faster_whisper("int8", 5),
    "peer:faster-whisper-int8-batch8": _faster_whisper("int8", 1, 8),
    "peer:faster-whisper-int8-batch16": _faster_whisper("int8", 1, 16),
    "peer:whisper.cpp-q8_0": _whisper(WhisperCpp, "pywhispercpp", ("pywhispercpp",), "ggml_export", "q8_0"),
    "peer:whisper.cpp-q5_1": _whisper(WhisperCpp, "pywhispercpp", ("pywhispercpp",), "ggml_export", "q5_1"),
    "peer:transcribe.cpp-q8_0": _whisper(TranscribeCpp, "transcribe_cpp", ("transcribe-cpp",), "ggml_export", "q8_0"),
}  # fmt: skip

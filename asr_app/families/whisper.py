"""OpenAI Whisper: an encoder over windows of 30 s and a decoder that writes text, punctuation and timestamps.

Sources: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022 (arXiv 2212.04356);
https://github.com/openai/whisper, whose own `transcribe` does the decoding here, temperature fallback included.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment, Source
from asr_app.errors import UserError
from asr_app.families._empty import without_weights
from asr_app.families._sentences import rising
from asr_app.families.base import Engine, require
from asr_app.precision.enum import Precision
from asr_app.precision.graph import Stack
from asr_app.precision.recipes import rows

if TYPE_CHECKING:
    from asr_app.families._whisper_decoder import Window

NAME = "whisper"
ROLES = ("model",)
# The table of tokens is the vocabulary head as well.
RECIPES = rows(
    ("encoder", "decoder"),
    tables=("token_embedding",),
    stacks={"encoder": (Stack(("blocks",), lambda encoder: (encoder.ln_post.weight.numel(),), by_token=True),)},
)
_ALL = (Precision.FP32, Precision.BF16, Precision.FP16, Precision.INT8)
_CAPABILITIES = frozenset({"language", "translate", "prompt", "word_timestamps", "punctuation"})
# whisper.tokenizer.LANGUAGES, most spoken in training first; the last one only from large-v3 on.
_CODES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk
te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo
ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue
"""
_LANGUAGES = tuple(_CODES.split())
_HOST = "https://openaipublic.azureedge.net/main/whisper/models"
_SHA256 = {
    "tiny": "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
    "base": "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
    "small": "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
    "medium": "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
    "large-v3": "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb",
    "large-v3-turbo": "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
}


# A step of the decoder reads all of its weights, for one chunk or for several; and what it keeps of a chunk that it
# heard takes 110 MB for `small`, 490 MB for `large-v3`.
_BATCH, _LARGE_BATCH, _WORKERS = 4, 2, 2


def _card(size: str, megabytes: int) -> ModelCard:
    v3 = size.startswith("large-v3")
    return ModelCard(
        id=f"whisper-{size}",
        family=NAME,
        title=f"Whisper {size} ({100 if v3 else 99} languages)",
        sources={"model": Source(url=f"{_HOST}/{_SHA256[size]}/{size}.pt", sha256=_SHA256[size])},
        size_mb=megabytes,
        languages=_LANGUAGES if v3 else _LANGUAGES[:-1],
        licence="MIT",
        max_chunk_s=30.0,
        max_gap_s=4.0,  # the encoder sees 30 s whatever is in them: short chunks would waste most of it
        chunks_a_batch=_LARGE_BATCH if size == "large-v3" else _BATCH,
        precisions=_ALL,
        # Turbo was not trained to translate: it would transcribe, and call that English.
        capabilities=_CAPABILITIES - ({"translate"} if size == "large-v3-turbo" else set()),
    )


CARDS = (
    ModelCard(
        id="demo-whisper",
        family=NAME,
        title="Demo Whisper (small vocabulary)",
        sources={"model": Source(bundled="demo-whisper")},
        size_mb=15,
        languages=("zh", "en"),
        licence="MIT",
        max_chunk_s=30.0,
        max_gap_s=4.0,
        chunks_a_batch=_BATCH,
        precisions=_ALL,
        capabilities=_CAPABILITIES,
        note="demo",
    ),
    *(
        _card(size, megabytes)
        for size, megabytes in (
            ("tiny", 76), ("base", 145), ("small", 484), ("medium", 1528), ("large-v3", 3087),
            ("large-v3-turbo", 1618),
        )
    ),
)  # fmt: skip

_MARKS = " \t\"'“”¿([{-.。,，!！?？:：;；)]}、…"


def recognises(path: Path) -> bool:
    """Whether `path` is an OpenAI checkpoint, or a folder with one and no model of FunASR."""
    file = _checkpoint_file(path)
    return file is not None and _dimensions(file) is not None


def card_of(path: Path) -> ModelCard:
    """The card of a local checkpoint: what it holds, with the family's defaults for the rest."""
    file = _checkpoint_file(path)
    assert file is not None
    dimensions = _dimensions(file) or {}
    count = int(dimensions.get("n_vocab", 0)) - 51765 - 1
    return ModelCard(
        id=path.stem,
        family=NAME,
        title=path.stem,
        sources={},
        size_mb=round(file.stat().st_size / 1e6),
        languages=_LANGUAGES[:count] if count >= 99 else ("en",),
        licence="",
        max_chunk_s=30.0,
        max_gap_s=4.0,
        chunks_a_batch=_BATCH,
        precisions=_ALL,
        capabilities=_CAPABILITIES if count >= 99 else _CAPABILITIES - {"language", "translate"},
        directory=str(path),
    )


def _checkpoint_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".pt" else None
    files = [] if (path / "config.yaml").exists() else sorted(path.glob("*.pt"))
    return files[0] if len(files) == 1 else None


def _dimensions(file: Path) -> dict[str, Any] | None:
    """The checkpoint's `dims`; None where it is no checkpoint of Whisper's. Reads no weight."""
    try:
        found = torch.load(file, map_location="meta", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    dimensions = found.get("dims") if isinstance(found, dict) else None
    return dimensions if isinstance(dimensions, dict) and "model_state_dict" in found else None


def load(card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False) -> Engine:
    """Loads the checkpoint; its weights become FP32. Raises UserError where it is none, or does not fit its own sizes."""
    file = _checkpoint_file(folders["model"])
    dimensions = None if file is None else _dimensions(file)
    if file is None or dimensions is None:
        name = folders["model"].name
        raise UserError(
            f"{name} is damaged or no Whisper checkpoint. Download it again, or choose another one.",
            f"{name} 已损坏或不是 Whisper 检查点。请重新下载或选择其他模型。",
        )
    import whisper

    torch.set_num_threads(threads)
    try:
        model = _without_weights(dimensions) if empty else whisper.load_model(str(file), device=device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{card.id} does not fit into the memory of {device}. Choose a smaller one, or --device cpu.",
            f"{device} 的显存不足以加载 {card.id}。请选择更小的模型，或使用 --device cpu。",
        ) from error
    except (RuntimeError, TypeError, KeyError) as error:
        raise UserError(
            f"{file.name}: the checkpoint does not fit its own dimensions ({type(error).__name__}). It was not loaded: "
            "download it again.",
            f"{file.name}：检查点与其自身的维度不符（{type(error).__name__}），未加载。请重新下载。",
        ) from error
    heads = whisper._ALIGNMENT_HEADS.get(file.stem)
    if heads is not None:  # load_model knows them only by the name of a published model, not by its file
        # A checkpoint of other layers or heads under that name keeps the default ones.
        with contextlib.suppress(RuntimeError, ValueError):
            model.set_alignment_heads(heads)
    from asr_app.families._whisper_decoder import Decoder

    model.decoder.__class__, model.decoder.repeated = Decoder, {}
    _ready_alignment()
    return WhisperEngine(card, model.eval(), min(threads, _WORKERS) if torch.device(device).type == "cpu" else 1)


def _ready_alignment() -> None:
    """Has what times words compiled, or read from where it was before: a part of loading, not of the first recording."""
    from whisper import timing

    for compiled, like in ((timing.dtw_cpu, np.zeros((2, 3))), (timing.backtrace, np.zeros((3, 4), np.float32))):
        with contextlib.suppress(RuntimeError):  # where there is no folder to write to: two seconds in each process
            compiled.enable_caching()
        compiled(like)


def _without_weights(dimensions: Mapping[str, Any]) -> Any:
    """The module with its weights on the meta device."""
    from whisper.model import AudioEncoder, ModelDimensions, TextDecoder, Whisper

    dims = ModelDimensions(**dimensions)
    # The module itself cannot be made there, for its list of heads is sparse; a small one has the same heads.
    small = dataclasses.replace(
        dims, n_vocab=1, n_audio_ctx=1, n_audio_layer=0, n_audio_state=2 * dims.n_audio_head,
        n_text_state=2 * dims.n_text_head,
    )  # fmt: skip
    model = Whisper(small)
    model.dims = dims
    with without_weights():
        model.encoder = AudioEncoder(
            dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
        )
        model.decoder = TextDecoder(
            dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer
        )
    return model


class WhisperEngine:
    """Whisper behind the app's seam: arrays in, its own segments with words and language out.

    `whisper.transcribe` reads one recording at a time. Here the first window of every chunk, which as a rule is all of
    it, is decoded with those of the other chunks, and the library goes on from what was decoded: to other temperatures
    where it must, to the rest of a window, to the times of words.
    """

    def __init__(self, card: ModelCard, model: Any, workers: int) -> None:
        self._card, self._model, self.workers = card, model, workers
        self.parts: dict[str, nn.Module] = {"encoder": model.encoder, "decoder": model.decoder}

    def transcribe(self, batch: Sequence[np.ndarray], options: Options) -> list[list[Segment]]:
        """The segments of each chunk. Silence, and text that loops or that nothing speaks for, is dropped."""
        require(self._card, options)
        audible = [i for i, samples in enumerate(batch) if samples.any()]
        found: list[list[Segment]] = [[] for _ in batch]
        if audible:
            heard = self._decoded([batch[i] for i in audible], options)
            for i in audible:
                found[i] = self._chunk(batch[i], heard.pop(0), options)
        return found

    def reference_loss(
        self, batch: Sequence[np.ndarray], texts: Sequence[str], languages: Sequence[str | None]
    ) -> list[tuple[float, int]]:
        """See `families.base.ReferenceLoss`. Chunks of 30 s at most."""
        from asr_app.families._whisper_loss import reference_loss

        return reference_loss(self._model, batch, texts, languages)

    def _decoded(self, batch: Sequence[np.ndarray], options: Options) -> list[_Decoded]:
        """Each chunk decoded at temperature 0, all in one pass, in its own language unless one is asked for.

        The language is told from what is decoded, as faster-whisper does it: `whisper.transcribe` would encode every
        chunk once more for it, with silence instead of zeros behind.
        """
        import whisper
        from whisper.tokenizer import get_tokenizer

        from asr_app.families._whisper_decoder import decode

        size, device = self._model.dims.n_mels, self._model.device
        windows = [
            # As whisper.transcribe cuts its first window; the padding is there because it takes its maximum over it.
            whisper.pad_or_trim(
                whisper.log_mel_spectrogram(samples, size, padding=whisper.audio.N_SAMPLES)[
                    :, : len(samples) // whisper.audio.HOP_LENGTH
                ],
                whisper.audio.N_FRAMES,
            ).to(device)
            for samples in batch
        ]
        prompt: list[int] = []
        if options.prompt:
            prompt = get_tokenizer(self._model.is_multilingual).encode(" " + options.prompt.strip())
        language = options.language if self._model.is_multilingual else "en"
        asked = whisper.DecodingOptions(task=_task(options), language=language, prompt=prompt, fp16=False)
        decoded = decode(self._model, torch.stack(windows), asked)
        return [_Decoded(self._model, mel, window) for mel, window in zip(windows, decoded, strict=True)]

    def _chunk(self, samples: np.ndarray, first: _Decoded, options: Options) -> list[Segment]:
        from whisper.transcribe import transcribe

        found = transcribe(
            first, np.ascontiguousarray(samples), language=first.window.result.language, fp16=False, verbose=None,
            task=_task(options), initial_prompt=options.prompt or None,
            # A chunk begins after a pause: what was said before it helps little, and carries loops on.
            condition_on_previous_text=False, word_timestamps=not options.translate,
        )  # fmt: skip
        return segments_of(found, len(samples) / SAMPLE_RATE)


class _Decoded:
    """The model, to `whisper.transcribe`, with one window of it decoded already, and for one thread of several.

    To time words, the library hangs hooks into the decoder, which other threads use as well: here they hang into
    `decoder`, which is this window's own.
    """

    def __init__(self, model: Any, mel: torch.Tensor, window: Window) -> None:
        self._model, self._mel, self.window = model, mel, window
        self.decoder = SimpleNamespace(blocks=[SimpleNamespace(cross_attn=_Hooked()) for _ in model.decoder.blocks])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def decode(self, mel: torch.Tensor, options: Any) -> Any:
        from asr_app.families._whisper_decoder import decode

        if not torch.equal(mel, self._mel):  # the rest of the chunk
            self._mel, self.window = mel, decode(self._model, mel[None], options)[0]
        elif options.temperature:
            # What was heard is the same: the library would encode the window once more for each temperature.
            return decode(self._model, self.window.result.audio_features[None], options)[0].result
        return self.window.result

    def __call__(self, mel: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Asked for where words are to be timed, by what the decoder looks at as it says them in the last window.

        The logits are for the words' probabilities, which nobody reads here: they are zeros, and take no time.
        """
        looked = self._model.decoder.looked(tokens, self.window.heard)
        for block, weights in zip(self.decoder.blocks, looked, strict=True):
            block.cross_attn.hook(None, None, (weights,))
        return mel.new_zeros(1, 1, 1).expand(*tokens.shape, self._model.dims.n_vocab)


class _Hooked:
    """Takes the place of a module that a hook is hung into."""

    hook: Callable[..., None]

    def register_forward_hook(self, hook: Callable[..., None]) -> SimpleNamespace:
        self.hook = hook
        return SimpleNamespace(remove=lambda: None)


def _task(options: Options) -> str:
    return "translate" if options.translate else "transcribe"


def segments_of(found: Mapping[str, Any], seconds: float) -> list[Segment]:
    """What of `whisper.transcribe`'s answer for a chunk of so many seconds is worth showing."""
    made = [(s, _segment(s, seconds, found["language"])) for s in found["segments"]]
    return [segment for s, segment in made if segment is not None and _is_heard(s)]


def _is_heard(segment: Mapping[str, Any]) -> bool:
    """False for a loop that no temperature broke, and for text the model itself thinks unlikely to be speech."""
    return segment["compression_ratio"] <= 2.4 and not (segment["no_speech_prob"] > 0.6 and segment["avg_logprob"] < -1)


def _segment(found: Mapping[str, Any], seconds: float, language: str) -> Segment | None:
    text = found["text"].strip()
    if not any(c.isalnum() for c in text):
        return None
    timed = ((float(w["start"]), float(w["end"]), w["word"].strip(_MARKS)) for w in found.get("words", ()))
    words = rising((word for word in timed if word[2]), seconds)
    start_s = words[0].start_s if words else min(float(found["start"]), seconds)
    end_s = words[-1].end_s if words else min(max(float(found["end"]), start_s), seconds)
    return Segment(start_s, end_s, text, words, None, language)

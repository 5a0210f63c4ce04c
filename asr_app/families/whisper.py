"""OpenAI Whisper: an encoder over windows of 30 s and a decoder that writes text, punctuation and timestamps.

Sources: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022 (arXiv 2212.04356);
https://github.com/openai/whisper, whose own `transcribe` does the decoding here, temperature fallback included.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment
from asr_app.errors import UserError
from asr_app.families import _whisper_files
from asr_app.families._empty import without_weights
from asr_app.families._sentences import rising
from asr_app.families._whisper_cards import BATCH, CAPABILITIES, CARDS, FAMILY, LANGUAGES, PRECISIONS
from asr_app.families._whisper_files import Checkpoint
from asr_app.families.base import Engine, require
from asr_app.precision.graph import Stack
from asr_app.precision.recipes import rows

if TYPE_CHECKING:
    from asr_app.families._whisper_decoder import Window

__all__ = ["CARDS", "NAME", "RECIPES", "ROLES", "WhisperEngine", "card_of", "load", "recognises", "segments_of"]

NAME = FAMILY
ROLES = ("model",)
_WORKERS = 2
# The table of tokens is the vocabulary head as well.
RECIPES = rows(
    ("encoder", "decoder"),
    tables=("token_embedding",),
    stacks={"encoder": (Stack(("blocks",), lambda encoder: (encoder.ln_post.weight.numel(),), by_token=True),)},
)
_MARKS = " \t\"'“”¿([{-.。,，!！?？:：;；)]}、…"


def recognises(path: Path) -> bool:
    """Whether `path` is an OpenAI checkpoint, or a folder of Hugging Face's or CTranslate2's form."""
    return _whisper_files.recognises(path)


def card_of(path: Path) -> ModelCard:
    """The card of a local model: what it holds, with the family's defaults for the rest. Raises UserError."""
    checkpoint = _whisper_files.open_checkpoint(path)
    count = checkpoint.dims.n_vocab - 51765 - 1
    name = path.stem if path.is_file() else path.name
    return ModelCard(
        id=name,
        family=NAME,
        title=name,
        sources={},
        size_mb=checkpoint.megabytes,
        languages=LANGUAGES[:count] if count >= 99 else ("en",),
        licence="",
        max_chunk_s=30.0,
        max_gap_s=4.0,
        chunks_a_batch=BATCH,
        precisions=PRECISIONS,
        capabilities=CAPABILITIES if count >= 99 else CAPABILITIES - {"language", "translate"},
        directory=str(path),
    )


def load(card: ModelCard, folders: Mapping[str, Path], device: str, threads: int, *, empty: bool = False) -> Engine:
    """Loads the weights as FP32. Raises UserError where there are none, or they do not fit their own dimensions."""
    checkpoint = _whisper_files.open_checkpoint(folders["model"])
    torch.set_num_threads(threads)
    model = _without_weights(checkpoint)
    if not empty:
        try:
            _fill(model, checkpoint, device)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{card.id} does not fit into the memory of {device}. Choose a smaller one, or --device cpu.",
                f"{device} 的显存不足以加载 {card.id}。请选择更小的模型，或使用 --device cpu。",
            ) from error
    from asr_app.families._whisper_decoder import Decoder

    model.decoder.__class__, model.decoder.repeated = Decoder, {}
    _ready_alignment()
    return WhisperEngine(card, model.eval(), min(threads, _WORKERS) if torch.device(device).type == "cpu" else 1)


def _fill(model: Any, checkpoint: Checkpoint, device: str) -> None:
    """Gives the module, made on the meta device, its weights and its mask on `device`."""
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    model.load_state_dict(_whisper_files.weights(checkpoint, expected, device), assign=True)
    size = checkpoint.dims.n_text_ctx
    mask = torch.full((size, size), -torch.inf, device=device).triu_(1)
    model.decoder.register_buffer("mask", mask, persistent=False)
    model.to(device)


def _ready_alignment() -> None:
    """Has what times words compiled, or read from where it was before: a part of loading, not of the first recording."""
    from whisper import timing

    for compiled, like in ((timing.dtw_cpu, np.zeros((2, 3))), (timing.backtrace, np.zeros((3, 4), np.float32))):
        with contextlib.suppress(RuntimeError):  # where there is no folder to write to: two seconds in each process
            compiled.enable_caching()
        compiled(like)


def _without_weights(checkpoint: Checkpoint) -> Any:
    """The module with its weights on the meta device, and the heads that time words."""
    from whisper.model import AudioEncoder, ModelDimensions, TextDecoder, Whisper

    dims = ModelDimensions(**dataclasses.asdict(checkpoint.dims))
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
    if checkpoint.heads:
        mask = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
        mask[tuple(torch.tensor(checkpoint.heads).T)] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
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

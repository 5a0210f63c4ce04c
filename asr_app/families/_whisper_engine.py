"""Transcribes chunks with Whisper: encodes windows together, decodes them, retries failures, and times words.

Source: https://github.com/openai/whisper (whisper/transcribe.py). The text of a window is equal to the library's if its
ladder of temperatures ends at 0. Differences, each of which bounds the time that a window may take:

- Three temperatures above 0 are tried in one batch, one sample each, instead of five one after the other.
- A loop ends when it is detected, not after 224 tokens.
- With `Options.short_windows` a window is as long as its speech needs, not 30 s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import whisper
from torch import nn
from whisper.audio import HOP_LENGTH, N_FFT, N_FRAMES
from whisper.decoding import DecodingOptions
from whisper.tokenizer import Tokenizer, get_tokenizer

from asr_app.datatypes import SAMPLE_RATE, ModelCard, Options, Segment, Word
from asr_app.families._sentences import rising
from asr_app.families._whisper_decoder import Decoded, decode, decode_samples
from asr_app.families._whisper_modules import Decoder, Encoder
from asr_app.families._whisper_text import with_marks
from asr_app.families._whisper_times import add_word_times
from asr_app.families.base import require

FRAME_S = HOP_LENGTH / SAMPLE_RATE  # of the spectrogram, 10 ms; a position of the encoder and a timestamp are two
_STRIDE = 2
# A short window is the speech and this much silence after it. With less the decoder, trained on 30 s, begins to loop.
_MARGIN_S, _SHORTEST_S = 5.0, 10.0
# Limit of windows of one chunk, since each one starts where the previous text stopped. It is lower if the model had to
# retry, as with speech in an unknown language.
_MOST_WINDOWS, _MOST_WITH_RETRIES = 8, 2
_TEMPERATURES = (0.2, 0.5, 1.0)  # three rows of a batch keep the worst window below four times one of speech
# No language takes more tokens for a second of speech; only loops do.
_LEAST_TOKENS, _TOKENS_A_SECOND = 50, 16
_MARKS = " \t\"'“”¿([{-.。,，!！?？:：;；)]}、…"


@dataclass
class _Chunk:
    """State of a chunk: its spectrogram `mel` `(mels, frames)`, decoded up to the frame `seek`."""

    mel: torch.Tensor
    language: str | None
    seek: int = 0
    windows: int = 0
    most_windows: int = _MOST_WINDOWS
    last_speech_s: float = 0.0
    segments: list[Segment] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return self.mel.shape[-1]


class WhisperEngine:
    """Engine over openai-whisper's module: arrays in, Whisper's segments with words and language out."""

    def __init__(self, card: ModelCard, model: Any, workers: int) -> None:
        model.encoder.__class__, model.decoder.__class__ = Encoder, Decoder
        self._card, self._model, self.workers = card, model, workers
        self.parts: dict[str, nn.Module] = {"encoder": model.encoder, "decoder": model.decoder}

    @torch.no_grad()
    def transcribe(self, batch: Sequence[np.ndarray], options: Options) -> list[list[Segment]]:
        """Segments of each chunk; none for silence. Raises UserError for an option that the model lacks."""
        require(self._card, options)
        language = options.language if self._model.is_multilingual else "en"
        chunks = [_Chunk(self._spectrogram(samples), language) for samples in batch]
        going = [chunk for chunk, samples in zip(chunks, batch, strict=True) if samples.any() and chunk.frames]
        while going:
            for chunk, (mel, result) in zip(going, self._decoded(going, options), strict=True):
                self._take(chunk, mel, result, options)
            going = [c for c in going if c.seek < c.frames and c.windows < c.most_windows]
        return [with_marks(chunk.segments) for chunk in chunks]

    def reference_loss(
        self, batch: Sequence[np.ndarray], texts: Sequence[str], languages: Sequence[str | None]
    ) -> list[tuple[float, int]]:
        """See `families.base.ReferenceLoss`. Chunks of 30 s at most."""
        from asr_app.families._whisper_loss import reference_loss

        return reference_loss(self._model, batch, texts, languages)

    def _spectrogram(self, samples: np.ndarray) -> torch.Tensor:
        # The library pads with 30 s of zeros; the last frames need half of a transform of them.
        mel = whisper.log_mel_spectrogram(np.ascontiguousarray(samples), self._model.dims.n_mels, padding=N_FFT)
        return mel[:, : len(samples) // HOP_LENGTH]

    def _decoded(self, chunks: Sequence[_Chunk], options: Options) -> list[tuple[torch.Tensor, Decoded]]:
        """The next window `(mels, frames)` of each chunk, and its decoding."""
        windows = [chunk.mel[:, chunk.seek : chunk.seek + N_FRAMES] for chunk in chunks]
        frames = self._window_frames(windows, options)
        languages = {chunk.language for chunk in chunks}
        if len(languages) > 1:  # detected in their first windows
            return [pair for chunk in chunks for pair in self._decoded([chunk], options)]
        asked = self._asked(languages.pop(), options, windows)
        results = decode(self._model, self._encoded(windows, frames), asked, options.languages)
        for i, window in enumerate(windows):
            if results[i].needs_fallback and options.retries:
                chunks[i].most_windows = _MOST_WITH_RETRIES
                results[i] = self._decoded_again(window, results[i], asked, is_short=frames < N_FRAMES)
        return list(zip(windows, results, strict=True))

    def _decoded_again(self, window: torch.Tensor, first: Decoded, asked: DecodingOptions, is_short: bool) -> Decoded:
        """Decodes the window `(mels, frames)` at all temperatures at once, at 0 too if the first try was short."""
        features = first.result.audio_features[None]
        temperatures: Sequence[float] = _TEMPERATURES
        if is_short:
            features, temperatures = self._encoded([window], N_FRAMES), (0.0, *temperatures)
        asked = dataclasses.replace(asked, language=first.result.language)
        return decode_samples(self._model, features, asked, temperatures) or first

    def _window_frames(self, windows: Sequence[torch.Tensor], options: Options) -> int:
        """Number of frames to encode for each of `windows`."""
        if not options.short_windows:
            return N_FRAMES
        longest_s = max(window.shape[-1] for window in windows) * FRAME_S
        return min(N_FRAMES, _STRIDE * round(max(longest_s + _MARGIN_S, _SHORTEST_S) / FRAME_S / _STRIDE))

    def _encoded(self, windows: Sequence[torch.Tensor], frames: int) -> torch.Tensor:
        """`(b, frames / 2, d)`."""
        mels = torch.stack([whisper.pad_or_trim(window, frames) for window in windows])
        encoded: torch.Tensor = self._model.encoder(mels.to(self._model.device))
        return encoded

    def _asked(self, language: str | None, options: Options, windows: Sequence[torch.Tensor]) -> DecodingOptions:
        prompt: list[int] = []
        if options.prompt:
            prompt = get_tokenizer(self._model.is_multilingual).encode(" " + options.prompt.strip())
        longest_s = max(window.shape[-1] for window in windows) * FRAME_S
        most = min(self._model.dims.n_text_ctx // 2, int(_LEAST_TOKENS + _TOKENS_A_SECOND * longest_s))
        return DecodingOptions(task=_task(options), language=language, prompt=prompt, fp16=False, sample_len=most)

    def _take(self, chunk: _Chunk, mel: torch.Tensor, decoded: Decoded, options: Options) -> None:
        """Adds the window's segments to the chunk, and moves `seek` to the start of the next window."""
        chunk.language, chunk.windows = decoded.result.language, chunk.windows + 1
        if decoded.is_silence or not decoded.is_plausible:
            # The end of a loop does not show where speech goes on, so the whole window is skipped.
            chunk.seek += mel.shape[-1]
            return
        tokenizer = get_tokenizer(
            self._model.is_multilingual, num_languages=self._model.num_languages, language=chunk.language,
            task=_task(options),
        )  # fmt: skip
        made, end, ended = _segments_in(decoded, tokenizer, chunk.seek, mel.shape[-1])
        chunk.seek = end
        if not options.translate:
            add_word_times(made, self._model, decoded, tokenizer, mel.shape[-1], chunk.last_speech_s)
            chunk.last_speech_s = next(
                (w["end"] for s in reversed(made) for w in reversed(s["words"])), made[-1]["end"]
            )
            if not ended and chunk.last_speech_s > made[0]["seek"] * FRAME_S:
                chunk.seek = round(chunk.last_speech_s / FRAME_S)
        seconds = chunk.frames * FRAME_S
        segments = [_segment(s, seconds, chunk.language) for s in made if s["start"] != s["end"]]
        chunk.segments.extend(s for s in segments if s is not None)


def _task(options: Options) -> str:
    return "translate" if options.translate else "transcribe"


def _segments_in(
    decoded: Decoded, tokenizer: Tokenizer, seek: int, frames: int
) -> tuple[list[dict[str, Any]], int, bool]:
    """The window's segments as the library's dictionaries, the first frame of the next window, and whether the text
    ended within this one.

    `seek` and `frames` are the window's start in the chunk and its length. The rule is that of `whisper.transcribe`:
    two timestamps in a row end a segment; one alone at the end means that nothing is spoken after it.
    """
    begin, tokens = tokenizer.timestamp_begin, decoded.result.tokens
    is_time = [token >= begin for token in tokens]
    ended = is_time[-2:] == [False, True]
    cuts = [i for i in range(1, len(tokens)) if is_time[i] and is_time[i - 1]]

    def segment(start_s: float, end_s: float, of: Sequence[int]) -> dict[str, Any]:
        text = tokenizer.decode([token for token in of if token < tokenizer.eot])
        start_s, end_s = start_s + seek * FRAME_S, end_s + seek * FRAME_S
        return {"seek": seek, "start": start_s, "end": end_s, "text": text, "tokens": list(of)}

    def seconds(token: int) -> float:
        return (token - begin) * _STRIDE * FRAME_S

    if cuts:
        if ended:
            cuts.append(len(tokens))
        pieces = [tokens[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]
        made = [segment(seconds(piece[0]), seconds(piece[-1]), piece) for piece in pieces]
        following = frames if ended else (tokens[cuts[-1] - 1] - begin) * _STRIDE
        return made, seek + following, ended
    last = next((token for token in reversed(tokens) if token >= begin), begin)
    end_s = seconds(last) if last != begin else frames * FRAME_S
    return [segment(0.0, end_s, tokens)], seek + frames, ended


def _segment(made: Mapping[str, Any], seconds: float, language: str) -> Segment | None:
    """The library's dictionary as a segment of a chunk of `seconds`; None without words."""
    text = made["text"].strip()
    if not any(c.isalnum() for c in text):
        return None
    timed = (
        Word(float(w["start"]), float(w["end"]), w["word"].strip(_MARKS), w["probability"])
        for w in made.get("words", ())
    )
    words = rising((word for word in timed if word.text), seconds)
    start_s = words[0].start_s if words else min(float(made["start"]), seconds)
    end_s = words[-1].end_s if words else min(max(float(made["end"]), start_s), seconds)
    return Segment(start_s, end_s, text, words, None, language)

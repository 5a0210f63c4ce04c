"""Teacher-forced cross-entropy of a reference text under Whisper, at the precision of the module.

The measure by which quantised language models are judged. Error rates of a thousand clips move by half a point from
chance; the loss of the same references is steady to a fraction of a per cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from asr_app.families._whisper_captured import steps_on
from asr_app.families._whisper_modules import Steps

_IGNORED = -100  # a target that is not counted
_SPACELESS = ("zh", "yue", "ja", "th", "lo", "km", "my")


def reference_loss(
    model: Any, samples: Sequence[np.ndarray], texts: Sequence[str], languages: Sequence[str | None]
) -> list[tuple[float, int]]:
    """(nats, tokens) of each text given its chunk: the sum over its tokens and the end, and their number.

    `model` is the library's `Whisper`, `samples` float32 `(n,)` at 16 kHz of 30 s at most. The decoder is fed
    `[sot, language, transcribe, notimestamps]`, then the text's tokens one by one as in decoding, since a quantised
    layer multiplies one token in another arithmetic than many. With a language of None the model detects it. An
    English-only model gets no language. Texts are cut to the decoder's context.
    """
    import whisper

    size, device = model.dims.n_mels, model.device
    mel = torch.stack(
        [
            # Same as the first window of whisper.transcribe, whose maximum is taken over the padding too.
            whisper.pad_or_trim(
                whisper.log_mel_spectrogram(x, size, padding=whisper.audio.N_SAMPLES)[
                    :, : len(x) // whisper.audio.HOP_LENGTH
                ],
                whisper.audio.N_FRAMES,
            )
            for x in samples
        ]
    ).to(device)
    # Not inference mode: its tensors would stay in a captured step, and decoding could not write to them.
    with torch.no_grad():
        features = model.encoder(mel)
        spoken = _languages(model, features, languages)
        prompts, targets = zip(*(_tokens(model, *pair) for pair in zip(texts, spoken, strict=True)), strict=True)
        steps = steps_on(device)(model.decoder, len(prompts[0]), model.dims.n_vocab)  # no token ends a row
        losses = _losses(steps, features, torch.tensor(prompts, device=device), _padded(targets, device))
    return [(float(nats), len(target)) for nats, target in zip(losses, targets, strict=True)]


def _padded(targets: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """The targets `(b, n)`, with `_IGNORED` after the end of the shorter ones."""
    longest = max(map(len, targets))
    return torch.tensor([[*target, *[_IGNORED] * (longest - len(target))] for target in targets], device=device)


def _losses(steps: Steps, features: torch.Tensor, given: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Nats of each row of `targets` `(b, n)` after the tokens `given` `(b, k)`, shape `(b,)`."""
    losses = torch.zeros(len(targets), dtype=torch.float64, device=targets.device)
    for wanted in targets.unbind(1):
        logits = steps.logits(given, features)[:, -1].float()
        losses += torch.nn.functional.cross_entropy(logits, wanted, reduction="none", ignore_index=_IGNORED)
        given = torch.cat([given, wanted.clamp(min=0)[:, None]], 1)
    return losses


def _languages(model: Any, features: torch.Tensor, languages: Sequence[str | None]) -> list[str | None]:
    if not model.is_multilingual:
        return [None] * len(languages)
    if None not in languages:
        return list(languages)
    from whisper.decoding import detect_language

    detected = detect_language(model, features)[1]
    return [
        language or max(probabilities, key=lambda code: probabilities[code])
        for language, probabilities in zip(languages, detected, strict=True)
    ]


def _tokens(model: Any, text: str, language: str | None) -> tuple[list[int], list[int]]:
    """The decoder's prompt, and the text's tokens with the end after them."""
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(
        model.is_multilingual, num_languages=model.num_languages, language=language,
        task="transcribe" if model.is_multilingual else None,
    )  # fmt: skip
    prompt = list(tokenizer.sot_sequence_including_notimestamps)
    room = model.dims.n_text_ctx - len(prompt)
    # A text begins with a space, like a word. In scripts without spaces it would be a third of the loss of short texts.
    text = text.strip() if language in _SPACELESS else " " + text.strip()
    return prompt, [*tokenizer.encode(text), tokenizer.eot][:room]

"""How likely Whisper finds a reference text: teacher-forced cross-entropy, at whatever precision the module is.

The measure by which quantised language models are judged. Error rates of a thousand clips move by half a point from
chance; the loss of the same references is steady to a fraction of a per cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

_SPACELESS = ("zh", "yue", "ja", "th", "lo", "km", "my")


def reference_loss(
    model: Any, samples: Sequence[np.ndarray], texts: Sequence[str], languages: Sequence[str | None]
) -> list[tuple[float, int]]:
    """(nats, tokens) of each text given its chunk: the sum over its tokens and the end, and how many these are.

    `model` is the library's `Whisper`, `samples` float32 `(n,)` at 16 kHz of 30 s at most. The decoder is fed
    `[sot, language, transcribe, notimestamps]` and the text's tokens in one pass, texts padded to the longest. A
    language of None is the one that the model detects; for a model of English alone it is left out. Texts are cut to
    the decoder's context.
    """
    import whisper

    size, device = model.dims.n_mels, model.device
    mel = torch.stack(
        [
            # As whisper.transcribe cuts its first window; the padding is there because it takes its maximum over it.
            whisper.pad_or_trim(
                whisper.log_mel_spectrogram(x, size, padding=whisper.audio.N_SAMPLES)[
                    :, : len(x) // whisper.audio.HOP_LENGTH
                ],
                whisper.audio.N_FRAMES,
            )
            for x in samples
        ]
    ).to(device)
    with torch.inference_mode():
        features = model.encoder(mel)
        spoken = _languages(model, features, languages)
        prompts, targets = zip(*(_tokens(model, *pair) for pair in zip(texts, spoken, strict=True)), strict=True)
        longest = max(map(len, targets))
        first = len(prompts[0])
        given = torch.zeros(len(texts), first + longest - 1, dtype=torch.long)
        wanted = torch.full((len(texts), longest), -100)
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            given[row, :first] = torch.tensor(prompt)
            given[row, first : first + len(target) - 1] = torch.tensor(target[:-1])
            wanted[row, : len(target)] = torch.tensor(target)
        # What follows a text's end is padding: the mask is causal, so no token before it sees it.
        logits = model.decoder(given.to(device), features)[:, first - 1 :].float()
        losses = torch.nn.functional.cross_entropy(logits.mT, wanted.to(device), reduction="none").sum(
            1, dtype=torch.float64
        )
    return [(float(nats), len(target)) for nats, target in zip(losses, targets, strict=True)]


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
    """What the decoder is told first, and the text's tokens with the end after them."""
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(
        model.is_multilingual, num_languages=model.num_languages, language=language,
        task="transcribe" if model.is_multilingual else None,
    )  # fmt: skip
    prompt = list(tokenizer.sot_sequence_including_notimestamps)
    room = model.dims.n_text_ctx - len(prompt)
    # A text begins with a space, as words do; where a script has none, that costs a third of the loss of short texts.
    text = text.strip() if language in _SPACELESS else " " + text.strip()
    return prompt, [*tokenizer.encode(text), tokenizer.eot][:room]

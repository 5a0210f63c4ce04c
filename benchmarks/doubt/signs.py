"""Every sign of doubt that is tried, recorded inside Whisper's decoder. The app itself keeps only one of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch

from asr_app.families import _whisper_decoder, _whisper_times
from asr_app.families._whisper_decoder import Decoded


@dataclass(frozen=True)
class Signs:
    """Signs of one word, each higher for a surer word.

    The least and the mean log probability of the word's tokens, their least difference of logits from the best other
    token, and their greatest entropy in nats (negated). The mean log probability of the word's window, and its
    probability of no speech (negated).
    """

    least_logprob: float
    mean_logprob: float
    margin: float
    entropy: float
    window_logprob: float
    no_speech: float


NAMES = tuple(Signs.__dataclass_fields__)


@contextmanager
def recorded() -> Iterator[None]:
    """Inside the block, Whisper's words have `Signs` as their confidence. Texts and times stay as they are."""
    plain = _whisper_decoder._Greedy._added

    def added(
        decoder: _whisper_decoder._Greedy, tokens: torch.Tensor, logits: torch.Tensor, sums: torch.Tensor,
        chosen: torch.Tensor,
    ) -> tuple[torch.Tensor, bool]:  # fmt: skip
        result = plain(decoder, tokens, logits, sums, chosen)
        decoder.logprobs[-1] = torch.stack([decoder.logprobs[-1], *_further(logits, chosen)], -1)
        return result

    with (
        mock.patch.object(_whisper_decoder._Greedy, "_added", added),
        mock.patch.object(_whisper_times, "confidences", _signs),
    ):
        yield


def _further(logits: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Margin and entropy of the `chosen` tokens `(b, 1)`, given `logits` `(b, vocabulary)`."""
    best, second = logits.topk(2).values.unbind(-1)
    own = logits.gather(1, chosen)[:, 0]
    return own - torch.where(own == best, second, best), torch.special.entr(logits.softmax(-1)).sum(-1)


def _signs(decoded: Decoded, end: int, bounds: Sequence[int]) -> list[Signs]:
    rows: Sequence[Sequence[float]] = decoded.logprobs  # type: ignore[assignment]  # three figures a token here
    tokens = [row for token, row in zip(decoded.result.tokens, rows, strict=False) if token < end]
    whole = decoded.result.avg_logprob, -decoded.result.no_speech_prob
    words = []
    for first, after in itertools.pairwise(bounds):
        logprobs, margins, entropies = zip(*tokens[first:after], strict=True)
        mean = sum(logprobs) / len(logprobs)
        words.append(Signs(min(logprobs), mean, min(margins), -max(entropies), *whole))
    return words

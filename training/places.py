"""Positions of words in the sound, by demo-paraformer, to train the attention of other models.

A decoder predicts from the previous text alone for thousands of steps until its attention finds the position of the
next word. A loss on some of its heads shortens that to hundreds ("guided attention", Tachibana et al., 2017, arXiv
1710.08969; here the positions are known, not merely near a diagonal).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

UNKNOWN = -100
_WORD = re.compile(r"[A-Za-z]+|[^\W_a-zA-Z]")


@torch.no_grad()
def token_places(
    predictor: Any, encoded: torch.Tensor, lengths: torch.Tensor, counts: Sequence[int]
) -> list[list[int] | None]:
    """For each window the frame (60 ms) at the middle of each of its `counts[i]` tokens, by the integrate-and-fire of
    `predictor`. A count that is slightly off is rescaled; None for a count that is further off.

    `encoded` is `(b, t, d)`, the encoder's output.
    """
    hidden = torch.relu(predictor.cif_conv1d(predictor.pad(encoded.transpose(1, 2))))
    alphas = torch.sigmoid(predictor.cif_output(hidden.transpose(1, 2))).squeeze(-1)
    alphas = alphas * (torch.arange(alphas.size(1)) < lengths[:, None])
    after = alphas.cumsum(1)
    found: list[list[int] | None] = []
    for row, count in zip(after, counts, strict=True):
        total = float(row[-1]) + predictor.tail_threshold
        surplus = total - 0.5 - (count + 1)  # the last one is the end
        share = 1.0 if abs(surplus) <= 0.5 else (total - 0.5) / (count + 1)
        middles = torch.searchsorted(row.contiguous(), (torch.arange(count) + 0.5) * share)
        near = abs(surplus) <= 0.5 + 0.1 * count
        found.append(middles.clamp(max=len(row) - 1).tolist() if near else None)
    return found


def spelled_in(places: Sequence[int], spoken: Sequence[Sequence[int]], frames: int, nothing: int) -> torch.Tensor:
    """Label of each of `frames` frames: `spoken[k]`, the labels of token k, from its position on.

    Frames between tokens get `nothing`. Frames beside a token's position, which is not exact, get `UNKNOWN`.
    """
    spelled = torch.full((frames,), nothing)
    for place in places:
        spelled[max(0, place - 1) : place + 2] = UNKNOWN
    for place, labels in zip(places, spoken, strict=True):
        labels = labels[: frames - place]
        spelled[place : place + len(labels)] = torch.tensor(labels, dtype=torch.long)
    return spelled


def spelling_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of frames `(n, classes)` whose label is known; zero if there are none."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))


def token_of_letters(text: str, tokens: int) -> list[int] | None:
    """Index of the spoken token of each character of `text`, -1 for marks and spaces.

    None if they do not correspond one to one, as in most numbers in digits; telephone numbers do.
    """
    words = list(_WORD.finditer(text))
    if len(words) != tokens:
        return None
    owner = [-1] * len(text)
    for i, word in enumerate(words):
        owner[word.start() : word.end()] = [i] * (word.end() - word.start())
    return owner


def looking_loss(attention: torch.Tensor, places: torch.Tensor, reach: int) -> torch.Tensor:
    """Loss of `attention` `(b, heads, queries, frames)` outside of `reach` frames around `places` `(b, queries)`.

    Mean of -log of the share inside, over queries whose place is not -1; zero if there are none.
    """
    frames = torch.arange(attention.size(-1))
    near = (frames - places[:, None, :, None]).abs() <= reach
    share = (attention * near).sum(-1)
    known = (places >= 0)[:, None].expand_as(share)
    if not known.any():
        return attention.new_zeros(())
    return -(share[known] + 1e-4).log().mean()

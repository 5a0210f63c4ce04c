"""Training windows: utterances of the demo corpus chained, disturbed anew and stacked, in batches of like length."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import torch

from asr_app.demo import augment
from asr_app.demo.corpus import Corpus, Utterance, log_mel
from asr_app.demo.voices import draw_voice, speak

LFR_STACK, LFR_STEP = 7, 6  # frames of 10 ms stacked, and skipped, per encoder frame
MAX_WINDOW_FRAMES = 1300  # 13 s: a little over the card's longest chunk


def noise_bank() -> torch.Tensor:
    """Log-mel noise `(n, 80)` of all kinds, babble of training voices among them."""
    crowd = [speak("one two three four five six seven", draw_voice(random.Random(i), "en", False)) for i in range(40)]
    sounds = augment.noise_bank(crowd, np.random.default_rng(3))
    return torch.from_numpy(np.concatenate([log_mel(sound) for sound in sounds]))


def stack_frames(mel: torch.Tensor) -> torch.Tensor:
    """Low frame rate: `(t, 80)` -> `(ceil(t / 6), 560)`, edges repeated as FunASR's `apply_lfr` does."""
    count = math.ceil(len(mel) / LFR_STEP)
    left = (LFR_STACK - 1) // 2
    right = max(0, (count - 1) * LFR_STEP + LFR_STACK - left - len(mel))
    padded = torch.cat([mel[:1].expand(left, -1), mel, mel[-1:].expand(right, -1)])
    return padded.unfold(0, LFR_STACK, LFR_STEP)[:count].transpose(1, 2).reshape(count, -1)


class Windows:
    """Batches of training windows: one to four utterances with pauses between, languages mixed, freshly augmented."""

    def __init__(self, corpus: Corpus, noise: torch.Tensor, tokens: list[str], seed: int) -> None:
        self.corpus, self.noise = corpus, noise
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.random, self.draw = random.Random(seed), np.random.default_rng(seed)
        self.singles = False
        self.strength = (1.0, 1.0)
        self.batch_frames = 8_000

    def groups(self) -> list[list[Utterance]]:
        """One epoch: every utterance once, in windows of at most MAX_WINDOW_FRAMES."""
        left = self.random.sample(self.corpus.utterances, len(self.corpus.utterances))
        groups = []
        while left:
            group = [left.pop()]
            for _ in range(0 if self.singles else self.random.choices([0, 1, 2, 3], [8, 3, 2, 1])[0]):
                if left and sum(u.frames for u in group) + left[-1].frames < MAX_WINDOW_FRAMES * 0.75:
                    group.append(left.pop())
            groups.append(group)
        return groups

    def window(self, group: list[Utterance]) -> tuple[torch.Tensor, list[int]]:
        """Stacked features `(t, 560)`, not yet normalised, and the token ids.

        `strength` bounds how strongly it is disturbed. A word said alone always is to the full: real people's is what
        training has none of, and no neighbour tells what the word must be.
        """
        pieces: list[torch.Tensor] = []
        for i, u in enumerate(group):
            pieces += [self._quiet(self.corpus.mel(u), 60)] if i else []
            pieces.append(self.corpus.mel(u))
        # A VAD cuts now closer, now wider: where speech starts must tell the model nothing.
        pieces = [self._quiet(pieces[0], 20), *pieces, self._quiet(pieces[-1], 20)]
        ids = [self.ids[t] for u in group for t in u.tokens]
        strength = 1.0 if len(ids) == 1 else float(self.draw.uniform(*self.strength))
        return stack_frames(augment.augment_features(torch.cat(pieces), self.noise, self.draw, strength)), ids

    def _quiet(self, beside: torch.Tensor, most: int) -> torch.Tensor:
        """Up to `most` frames as quiet as the quietest of `beside`."""
        return beside.min() + torch.rand(int(self.draw.integers(0, most)), augment.N_MELS)

    def batches(self) -> Iterator[list[tuple[torch.Tensor, list[int]]]]:
        """Endless; windows of like length together, at most `batch_frames` of 10 ms a batch."""
        while True:
            groups = self.groups()
            began_with_singles = self.singles
            for i in range(0, len(groups), 1024):
                if self.singles != began_with_singles:
                    break
                pool = sorted(groups[i : i + 1024], key=lambda g: sum(u.frames for u in g))
                batches: list[list[list[Utterance]]] = [[]]
                for g in pool:
                    if (len(batches[-1]) + 1) * sum(u.frames for u in g) > self.batch_frames:
                        batches.append([])
                    batches[-1].append(g)
                self.random.shuffle(batches)
                for batch in batches:
                    if batch:
                        yield [self.window(g) for g in batch]

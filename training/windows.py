"""Training windows: utterances of the demo corpus, chained and augmented anew, in batches of similar length."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from training import augment
from training.corpus import Corpus, Features, Utterance, log_mel
from training.fit import Fit, Round
from training.voices import draw_voice, speak

LFR_STACK, LFR_STEP = 7, 6  # frames of 10 ms stacked, and skipped, per encoder frame
MAX_WINDOW_FRAMES = 1300  # 13 s: a little over the card's longest chunk


def bank(sounds: list[np.ndarray], features: Features = log_mel) -> torch.Tensor:
    """Log-mel `(n, 80)` of samples, one after another."""
    return torch.from_numpy(np.concatenate([features(sound) for sound in sounds]))


def noise_bank(features: Features = log_mel) -> torch.Tensor:
    """Log-mel noise `(n, 80)` of all kinds, babble of training voices among them."""
    crowd = [speak("one two three four five six seven", draw_voice(random.Random(i), "en", False)) for i in range(40)]
    return bank(augment.noise_bank(crowd, np.random.default_rng(3)), features)


def stack_frames(mel: torch.Tensor) -> torch.Tensor:
    """Stacks frames for a low frame rate: `(t, 80)` -> `(ceil(t / 6), 560)`. Edges repeat as in `apply_lfr`."""
    count = math.ceil(len(mel) / LFR_STEP)
    left = (LFR_STACK - 1) // 2
    right = max(0, (count - 1) * LFR_STEP + LFR_STACK - left - len(mel))
    padded = torch.cat([mel[:1].expand(left, -1), mel, mel[-1:].expand(right, -1)])
    return padded.unfold(0, LFR_STACK, LFR_STEP)[:count].transpose(1, 2).reshape(count, -1)


@dataclass(frozen=True)
class Window:
    """A window: `mel` is `(t, 80)`, and `spans[i]` are the frames of utterance i."""

    mel: torch.Tensor
    utterances: list[Utterance]
    spans: list[tuple[int, int]]

    @property
    def language(self) -> str:
        """The language that is spoken longest."""
        return max(("zh", "en"), key=lambda code: sum(u.frames for u in self.utterances if u.language == code))


def _loud(mel: torch.Tensor) -> tuple[int, int]:
    """First and last frame within 35 dB of the loudest: the speech without the silence around it."""
    loudest = mel.amax(1)
    loud = (loudest > loudest.max() - 8).nonzero()
    return int(loud[0]), int(loud[-1])


class Windows:
    """Batches of training windows: one to four utterances with pauses between, languages mixed, freshly augmented."""

    def __init__(self, corpus: Corpus, noise: torch.Tensor, seed: int, axis: augment.MelAxis = augment.KALDI) -> None:
        self.corpus, self.noise, self.axis = corpus, noise, axis
        self.random, self.draw = random.Random(seed), np.random.default_rng(seed)
        self.singles = False
        self.mixed = 1.0  # the share of utterances that have company of any language
        self.company = (8, 3, 2, 1)  # how often an utterance has none, little, more, or all that a window holds
        self.strength = (1.0, 1.0)
        self.batch_frames = 8_000
        self.window_frames = MAX_WINDOW_FRAMES
        self.longest_pause = 60
        self.padded_to = 0  # frames a window is padded to by whoever takes it, which a batch counts it as

    def groups(self) -> list[list[Utterance]]:
        """The windows of one epoch: every utterance once, in windows of at most `window_frames`."""
        left = self.random.sample(self.corpus.utterances, len(self.corpus.utterances))
        apart = round(len(left) * (1 - self.mixed))
        left[:apart] = sorted(left[:apart], key=lambda u: u.language)
        most = 3 * self.window_frames / MAX_WINDOW_FRAMES
        groups = []
        while left:
            group = [left.pop()]
            for _ in range(0 if self.singles else round(most * self.random.choices([0, 1, 2, 3], self.company)[0] / 3)):
                fits = left and sum(u.frames for u in group) + left[-1].frames < self.window_frames * 0.75
                # A manner of speaking is told once a window: those of another stay apart.
                if fits and left[-1].prosody == group[0].prosody == "neutral":
                    group.append(left.pop())
            groups.append(group)
        self.random.shuffle(groups)
        return groups

    def window(self, group: list[Utterance]) -> Window:
        """The utterances of `group`, chained and augmented; features not normalised.

        `strength` bounds the augmentation. A single word always gets the full strength: training has no real speech,
        and no neighbouring word helps to recognise it.
        """
        pieces: list[torch.Tensor] = []
        for i, u in enumerate(group):
            # A VAD cuts now closer, now wider: where speech starts must tell the model nothing.
            pieces += [self._quiet(self.corpus.mel(u), self.longest_pause if i else 20), self.corpus.mel(u)]
        pieces.append(self._quiet(pieces[-1], 20))
        edges = np.cumsum([len(piece) for piece in pieces])
        alone = len(group) == 1 and len(group[0].tokens) == 1
        strength = 1.0 if alone else float(self.draw.uniform(*self.strength))
        mel = augment.augment_features(torch.cat(pieces), self.noise, self.draw, strength, self.axis)
        tempo = len(mel) / int(edges[-1])
        spans = []
        for i in range(len(group)):
            first, last = _loud(pieces[2 * i + 1])
            spans.append((round((edges[2 * i] + first) * tempo), round((edges[2 * i] + last + 1) * tempo)))
        return Window(mel, group, spans)

    def _quiet(self, beside: torch.Tensor, most: int) -> torch.Tensor:
        """Up to `most` frames as quiet as the quietest of `beside`."""
        return beside.min() + torch.rand(int(self.draw.integers(0, most)), augment.N_MELS)

    def during(self, fit: Fit, singles_until: int = 0) -> Iterator[list[Window]]:
        """Batches for the rounds of `fit`, until it is done. For `singles_until` steps a window has one utterance."""
        self._follow(fit.round, fit.step < singles_until)
        for batch in self.batches():
            if fit.done:
                return
            self._follow(fit.round, fit.step < singles_until)
            yield batch

    def _follow(self, now: Round, singles: bool) -> None:
        self.strength, self.batch_frames, self.singles = now.strength, now.frames, singles

    def batches(self) -> Iterator[list[Window]]:
        """Endless batches of windows of similar length, at most `batch_frames` of 10 ms a batch."""
        while True:
            groups = self.groups()
            began_with_singles = self.singles
            for i in range(0, len(groups), 1024):
                if self.singles != began_with_singles:
                    break
                pool = sorted(groups[i : i + 1024], key=lambda g: sum(u.frames for u in g))
                batches: list[list[list[Utterance]]] = [[]]
                for g in pool:
                    frames = max(self.padded_to, sum(u.frames for u in g))
                    if (len(batches[-1]) + 1) * frames > self.batch_frames:
                        batches.append([])
                    batches[-1].append(g)
                self.random.shuffle(batches)
                for batch in batches:
                    if batch:
                        yield [self.window(g) for g in batch]

"""SenseVoice's CTC scores, which are the largest thing a chunk makes: 33 MB for 20 s, with a vocabulary of 25,055.

FunASR asks for them once for the text and once more to time its words, each time as logits and as their logarithmic
softmax. Here they are made once, a few frames at a time, with no logits beside them.

Source: https://github.com/modelscope/FunASR (funasr/models/ctc/ctc.py, funasr/models/sense_voice/model.py).
"""

from __future__ import annotations

import threading
import weakref

import numpy as np
import torch
from funasr.models.ctc.ctc import CTC

# Whose logits, 1.2 MB, stay in the processor's cache. Of eight or fewer an INT8 head makes 16 bits, for twice the work.
_FRAMES = 12
_made = threading.local()  # `last`: of which tensor scores were made last in this thread, and the scores


class Scores(CTC):
    """The library's CTC with the same scores. Several threads may ask it at once."""

    def log_softmax(self, hs_pad: torch.Tensor) -> torch.Tensor:
        """`(b, t, d)` -> `(b, t, vocabulary)`; while they are held, the ones that were made of the same tensor."""
        heard, scores = getattr(_made, "last", (_gone, _gone))
        if heard() is hs_pad and (found := scores()) is not None:
            return found
        found = _room(hs_pad, *hs_pad.shape[:2], self.ctc_lo.out_features)
        step = _FRAMES if hs_pad.device.type == "cpu" else hs_pad.shape[1]
        for start in range(0, hs_pad.shape[1], step):
            some = slice(start, start + step)
            torch.log_softmax(self.ctc_lo(hs_pad[:, some]), 2, out=found[:, some])
        _made.last = weakref.ref(hs_pad), weakref.ref(found)
        return found


def _room(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """An uninitialised tensor, of `like`'s device and kind.

    In the processor's memory it is numpy's, which asks the system for pages of 2 MB. Of the 4 KB of torch's, each is
    cleared when first written to, which takes as long as the softmax.
    """
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.empty(shape, np.float32))
    return like.new_empty(shape)


def _gone() -> None:
    """A reference to nothing."""

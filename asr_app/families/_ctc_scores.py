"""SenseVoice's CTC scores, the largest tensor of a chunk: 33 MB for 20 s, with a vocabulary of 25,055.

FunASR computes them once for the text and once more to time its words, each time as logits and as their logarithmic
softmax. Here they are computed once, a few frames at a time, without keeping the logits.

Source: https://github.com/modelscope/FunASR (funasr/models/ctc/ctc.py, funasr/models/sense_voice/model.py).
"""

from __future__ import annotations

import threading
import weakref

import numpy as np
import torch
from funasr.models.ctc.ctc import CTC

# The logits of this many frames, 1.2 MB, stay in the processor's cache. An INT8 head multiplies up to eight rows in
# BF16, for twice the work.
_FRAMES = 12
_cache = threading.local()  # `last`: the tensor of this thread's last scores, and the scores


class Scores(CTC):
    """The library's CTC with the same scores. Several threads may call it at once."""

    def log_softmax(self, hs_pad: torch.Tensor) -> torch.Tensor:
        """`(b, t, d)` -> `(b, t, vocabulary)`. Scores of the same tensor are reused while they are alive."""
        last_input, last_scores = getattr(_cache, "last", (_gone, _gone))
        if last_input() is hs_pad and (scores := last_scores()) is not None:
            return scores
        scores = _uninitialised(hs_pad, *hs_pad.shape[:2], self.ctc_lo.out_features)
        step = _FRAMES if hs_pad.device.type == "cpu" else hs_pad.shape[1]
        for start in range(0, hs_pad.shape[1], step):
            some = slice(start, start + step)
            torch.log_softmax(self.ctc_lo(hs_pad[:, some]), 2, out=scores[:, some])
        _cache.last = weakref.ref(hs_pad), weakref.ref(scores)
        return scores


def _uninitialised(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """An uninitialised tensor with the device and dtype of `like`.

    On a CPU numpy allocates it, in pages of 2 MB. torch would use pages of 4 KB. The system clears each page at its
    first write, which takes as long as the softmax with small pages.
    """
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.empty(shape, np.float32))
    return like.new_empty(shape)


def _gone() -> None:
    """Stands for a weak reference to nothing."""

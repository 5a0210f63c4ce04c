"""Whisper's decoding on a GPU: a step is a CUDA graph, so that its hundreds of kernels are launched at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from asr_app.families._whisper_modules import Decoder, KVCache, Steps
from asr_app.precision.captured import Captured, begin, kept

_KEPT = 3  # shapes that stay captured: a batch, a single window, samples of a window. A row of large-v3 takes 0.6 GB


class CapturedSteps(Steps):
    """Like `Steps`, but every row goes on to the end, and keys and values stay where they are."""

    _step: _Step | None = None

    def logits(self, tokens: torch.Tensor, audio_features: torch.Tensor) -> torch.Tensor:
        """Overrides `Steps.logits`. The logits of a step are overwritten by the next."""
        rows, length = tokens.shape
        if length <= self._initial:
            self._step = None
            return super().logits(tokens, audio_features)
        if self._step is None:
            self._step = _step_for(self._decoder, rows, self._layers)
        # Through the module, where a watch on its numbers sees each step.
        return self._decoder(tokens[:, -1:], audio_features, offset=length - 1, captured=self._step)


def steps_on(device: torch.device) -> type[Steps]:
    """The class that decodes on `device`."""
    return CapturedSteps if device.type == "cuda" else Steps


class _Step:
    """The decoder's step for a number of rows, with the caches it reads and writes."""

    def __init__(self, decoder: Decoder, like: Sequence[KVCache], rows: int) -> None:
        self._decoder, places = decoder, len(decoder.positional_embedding)
        self._caches = [
            KVCache(
                [(torch.empty_like(keys), torch.empty_like(values)) for keys, values in cache.cross],
                *(t.new_zeros(rows, t.shape[1], places, t.shape[3]) for t in (cache.keys, cache.values)),
            )
            for cache in like
        ]
        self._places = torch.arange(places, device=decoder.positional_embedding.device)
        self._captured: Captured | None = None

    def begin(self, layers: Sequence[KVCache]) -> None:
        """Copies the keys and values of the windows and of their first tokens."""
        for own, cache in zip(self._caches, layers, strict=True):
            for (own_keys, own_values), (keys, values) in zip(own.cross, cache.cross, strict=True):
                own_keys.copy_(keys)
                own_values.copy_(values)
            for room, first in ((own.keys, cache.keys), (own.values, cache.values)):
                begin(room, first)

    def logits(self, tokens: torch.Tensor, offset: int) -> torch.Tensor:
        """See `_whisper_modules.CapturedStep`."""
        given = tokens, self._places[offset : offset + 1]
        if self._captured is None:
            self._captured = Captured(lambda x, at: self._decoder.step(x, at, self._places, self._caches), *given)
        return self._captured(*given)


def _step_for(decoder: Decoder, rows: int, layers: Sequence[KVCache]) -> _Step:
    """The decoder's captured step for `rows` rows and cross-attention of the shape in `layers`, ready to begin."""
    steps: dict[tuple[Any, ...], _Step] = decoder.__dict__.setdefault("captured_steps", {})
    keys = layers[0].cross[0][0]
    shape = rows, keys.shape, keys.dtype, layers[0].keys.dtype
    step: _Step = kept(steps, shape, _KEPT, lambda: _Step(decoder, layers, rows))
    step.begin(layers)
    return step

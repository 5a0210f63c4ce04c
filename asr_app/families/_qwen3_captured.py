"""Fun-ASR-Nano's language model on a GPU: greedy generation, a step of which is a CUDA graph.

transformers' `generate` launches the kernels of a step one by one, which takes longer than computing them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, Qwen3ForCausalLM

from asr_app.precision.captured import Captured, begin, kept

_ROOM = 256  # positions by which the room for keys and values grows
_KEPT = 2  # steps that stay captured, each for another room
KV = tuple[torch.Tensor, torch.Tensor]  # a layer's keys and values, `(1, heads, n, d)` each


class Qwen3(Qwen3ForCausalLM):
    """transformers' module with `generate` for one prompt and the likeliest tokens."""

    captured_steps: dict[int, Any]  # by room; transformers evaluates this annotation

    @classmethod
    def of(cls, model: nn.Module) -> None:
        """Makes `model` one of this class, if it is transformers' own. One with LoRA layers around it stays as it is."""
        if type(model) is Qwen3ForCausalLM:
            model.__class__ = cls
            model.captured_steps = {}  # type: ignore[assignment]

    def forward(
        self, input_ids: torch.Tensor | None = None, *, captured: _Step | None = None, offset: int = 0, **asked: Any
    ) -> Any:
        """Like transformers', or the logits `(1, 1, vocabulary)` after the token at `offset` by a `captured` step."""
        if captured is not None and input_ids is not None:
            return captured.logits(input_ids, offset)
        return super().forward(input_ids, **asked)

    @torch.no_grad()
    def generate(self, *, inputs_embeds: torch.Tensor, max_new_tokens: int, **_: Any) -> torch.Tensor:
        """The likeliest tokens `(1, k)` after the prompt `(1, n, d)`, with the end if it comes before the limit."""
        cache, length = DynamicCache(config=self.config), inputs_embeds.shape[1]
        logits = self(inputs_embeds=inputs_embeds, cache=cache, use_cache=True, logits_to_keep=1).logits
        layers: Any = cache.layers
        step = self._step_for(length + max_new_tokens, [(layer.keys, layer.values) for layer in layers])
        end = self.config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        tokens: list[torch.Tensor] = [logits[:, -1:].argmax(-1)]
        # Through the module, where a watch on its numbers sees each step.
        while len(tokens) < max_new_tokens and int(tokens[-1]) not in ends:
            logits = self(tokens[-1], captured=step, offset=length + len(tokens) - 1)
            tokens.append(logits.argmax(-1))
        return torch.cat(tokens, 1)

    def _step_for(self, positions: int, prompt: Sequence[KV]) -> _Step:
        """The captured step with room for so many `positions`, of which `prompt` holds the first."""
        room = -(-positions // _ROOM) * _ROOM
        step: _Step = kept(self.captured_steps, room, _KEPT, lambda: _Step(self, room, prompt))
        step.begin(prompt)
        return step


class _Step:
    """The model's step for one token, with the keys and values that it reads and writes. It is a cache to the layers."""

    def __init__(self, model: Qwen3, room: int, like: Sequence[KV]) -> None:
        self._model = model
        self._kept = [[t.new_zeros(1, t.shape[1], room, t.shape[3]) for t in layer] for layer in like]
        self._places = torch.arange(room, device=self._kept[0][0].device)
        self._position = self._places[:1]
        self._captured: Captured | None = None

    def begin(self, prompt: Sequence[KV]) -> None:
        """Copies the keys and values of the prompt."""
        for layer, firsts in zip(self._kept, prompt, strict=True):
            for own, first in zip(layer, firsts, strict=True):
                begin(own, first)

    def logits(self, token: torch.Tensor, offset: int) -> torch.Tensor:
        """Logits `(1, 1, vocabulary)` after the `token` `(1, 1)` at `offset`. The next call overwrites them."""
        given = token, self._places[offset : offset + 1]
        if self._captured is None:
            self._captured = Captured(self._run, *given)
        return self._captured(*given)

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, **_: Any) -> KV:
        """Keys and values of all tokens of a layer, with those of the present one added."""
        own_keys, own_values = self._kept[layer]
        return own_keys.index_copy_(2, self._position, keys), own_values.index_copy_(2, self._position, values)

    def _run(self, token: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        model, self._position = self._model.model, position
        x = model.embed_tokens(token)
        dtype = model.layers[0].input_layernorm.weight.dtype
        around = tuple(t.to(dtype) for t in model.rotary_emb(x, position[None]))
        seen = (self._places <= position)[None, None, None]
        x = x.to(dtype)
        for layer in model.layers:
            x = layer(x, attention_mask=seen, position_embeddings=around, cache=self)
        logits: torch.Tensor = self._model.lm_head(model.norm(x))
        return logits

"""Whisper's encoder for windows of any length, and its decoder, token by token, with cached keys and values.

openai-whisper's `Inference` is replaced by one that keeps keys and values in preallocated tensors, drops rows that have
ended, and takes a vocabulary table of any precision.

Source: https://github.com/openai/whisper (whisper/model.py, whisper/decoding.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from whisper.decoding import Inference
from whisper.model import AudioEncoder, TextDecoder

from asr_app.precision.half import dtype_in
from asr_app.precision.linears import QuantizedModule, cpu_multiplies
from asr_app.precision.tables import Int8Rows

_BLOCK = 64  # tokens by which the cache of keys and values grows
CrossKV = tuple[torch.Tensor, torch.Tensor]  # a layer's cross-attention keys and values, `(b, heads, t, d)` each


class CapturedStep(Protocol):
    """A step of the decoder as a CUDA graph."""

    def logits(self, tokens: torch.Tensor, offset: int) -> torch.Tensor:
        """Logits `(b, 1, vocabulary)` after the tokens `(b, 1)` at `offset`."""
        ...


class Encoder(AudioEncoder):
    """The library's encoder for windows of any even number of frames, not only of 3000."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features `(b, frames / 2, d)` of spectrograms `(b, mels, frames)`."""
        x = nn.functional.gelu(self.conv1(x))
        x = nn.functional.gelu(self.conv2(x)).permute(0, 2, 1)
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:  # in half precision they narrow and widen on their own
            x = block(x)
        y: torch.Tensor = self.ln_post(x)
        return y


class Decoder(TextDecoder):
    """The library's decoder, with a KV cache and a vocabulary table of any precision."""

    def forward(
        self,
        x: torch.Tensor,
        xa: torch.Tensor,
        caches: Sequence[KVCache] | None = None,
        offset: int = 0,
        captured: CapturedStep | None = None,
    ) -> torch.Tensor:
        """Logits `(b, n, vocabulary)` of tokens `(b, n)`, given the encoder's output `xa` `(b, t, d)`.

        With the `caches` of its layers, the tokens are those from `offset` on. A `captured` step has caches of its own.
        """
        if captured is not None:
            return captured.logits(x, offset)
        y = self._embedded(x, self.positional_embedding[offset : offset + x.shape[-1]])
        for i, block in enumerate(self.blocks):
            y = block(y, xa, mask=self.mask) if caches is None else _step(block, caches[i], y, offset)
        return self._head(y)

    def step(
        self, x: torch.Tensor, position: torch.Tensor, places: torch.Tensor, caches: Sequence[KVCache]
    ) -> torch.Tensor:
        """Logits `(b, 1, vocabulary)` of tokens `(b, 1)` at `position` `(1,)`, in shapes that do not change.

        The `caches` have room for `places` `(n,)`, which are 0 to n - 1.
        """
        y = self._embedded(x, self.positional_embedding[position])
        seen = (places <= position)[None]
        for block, cache in zip(self.blocks, caches, strict=True):
            y = _fixed_step(block, cache, y, position, seen)
        return self._head(y)

    def _embedded(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Input `(b, n, d)` of the first block, in its dtype."""
        return (self.token_embedding(x) + positions).to(dtype_in(self.blocks))

    def _head(self, y: torch.Tensor) -> torch.Tensor:
        table: nn.Module = self.token_embedding
        y = self.ln(y.float())
        return table.products(y) if isinstance(table, Int8Rows) else y @ table.weight.t()  # type: ignore[operator]

    def cross_attention_weights(self, x: torch.Tensor, cross_kv: Sequence[CrossKV]) -> Iterator[torch.Tensor]:
        """Yields each layer's cross-attention scores for tokens `x` `(1, n)`: `(1, heads, n, t)`, before the softmax."""
        y = self._embedded(x, self.positional_embedding[: x.shape[-1]])
        for block, (keys, values) in zip(self.blocks, cross_kv, strict=True):
            y = y + block.attn(block.attn_ln(y), mask=self.mask)[0]
            weights = _weights(_cross_query(block, y), keys)
            yield weights.float()
            y = y + block.cross_attn.out(_joined(_weighed(weights, values)).to(y.dtype))
            y = y + block.mlp(block.mlp_ln(y))


@dataclass
class KVCache:
    """One layer's keys and values, `(b, heads, n, d)` each.

    `cross` are those of the cross-attention, row by row or of all rows at once; `keys` and `values` those of the tokens
    so far. Several samples of one window share one row of `cross`.
    """

    cross: list[CrossKV]
    keys: torch.Tensor
    values: torch.Tensor

    def grow(self) -> None:
        self.keys, self.values = (
            torch.cat([t, t.new_empty(*t.shape[:2], _BLOCK, t.shape[3])], 2) for t in (self.keys, self.values)
        )

    def select(self, rows: torch.Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]
        if len(self.cross) > 1:
            self.cross = [self.cross[row] for row in rows.tolist()]
        elif len(self.cross[0][0]) > 1:
            keys, values = self.cross[0]
            self.cross = [(keys[rows], values[rows])]


class Steps(Inference):
    """Computes logits of the next token for the rows of a batch. A call with at most `initial` tokens starts anew."""

    def __init__(self, decoder: Decoder, initial: int, end: int) -> None:
        self._decoder, self._initial, self._end = decoder, initial, end
        self._layers: list[KVCache] = []
        self._cross: list[list[CrossKV]] = []  # by layer, of all rows
        self._rows = torch.empty(0, dtype=torch.long)  # rows that have not ended

    def logits(self, tokens: torch.Tensor, audio_features: torch.Tensor) -> torch.Tensor:
        """`(b, n, vocabulary)` for the first tokens, then `(b, 1, vocabulary)` for the last one.

        A row that has ended gets zeros, since its further tokens are not used.
        """
        offset = 0
        if not self._layers:
            self._begin(audio_features)
        if tokens.shape[-1] <= self._initial:
            self._rows = torch.arange(len(tokens), device=tokens.device)
        else:
            offset = tokens.shape[-1] - 1
            going = tokens[self._rows, -1] != self._end
            if not bool(going.all()):
                for layer in self._layers:
                    layer.select(going.nonzero()[:, 0])
                self._rows = self._rows[going]
        logits = self._decoder(tokens[self._rows, offset:], audio_features, self._layers, offset)
        if len(self._rows) == len(tokens):
            return logits
        every = logits.new_zeros(len(tokens), *logits.shape[1:])
        every[self._rows] = logits
        return every

    def cross_kv(self, row: int) -> list[CrossKV]:
        """Cross-attention keys and values of that row, by layer. Also available after the end."""
        at, within = divmod(row, len(self._cross[0][0][0]))
        return [tuple(t[within : within + 1] for t in pieces[at]) for pieces in self._cross]  # type: ignore[misc]

    def _begin(self, audio_features: torch.Tensor) -> None:
        """Begins windows whose encoder output is `audio_features` `(b, t, d)`."""
        rows = _rows_a_piece(audio_features)
        self._cross = [_cross_kv(block.cross_attn, audio_features, rows) for block in self._decoder.blocks]
        nothing = audio_features.new_empty(0)
        self._layers = [KVCache(pieces, nothing, nothing) for pieces in self._cross]

    def rearrange_kv_cache(self, source_indices: list[int]) -> None:
        """Not implemented: only beam search would call it."""
        raise NotImplementedError

    def cleanup_caching(self) -> None:
        self._layers = []


def _rows_a_piece(features: torch.Tensor) -> int:
    """Rows of `features` `(b, t, d)` to multiply at once: on a CPU one, which stays in the processor's cache."""
    return len(features) if features.is_cuda else 1


def _cross_kv(attention: Any, features: torch.Tensor, rows: int) -> list[CrossKV]:
    """Keys and values of a layer's `attention` for `features` `(b, t, d)`, in pieces of `rows` rows."""
    parts = attention.key, attention.value
    dtype = _cache_dtype(parts, features)

    def made(part: nn.Module, some: torch.Tensor) -> torch.Tensor:
        y = _by_head(part(some), attention.n_head)
        return torch.empty_like(y, dtype=dtype, memory_format=torch.contiguous_format).copy_(y)

    return [(made(parts[0], some), made(parts[1], some)) for some in features.split(rows)]


def _step(block: Any, layer: KVCache, x: torch.Tensor, offset: int) -> torch.Tensor:
    attend = nn.functional.scaled_dot_product_attention
    length = offset + x.shape[1]
    q, k, v = _projections(block, x)
    if offset == 0:
        layer.keys, layer.values = k, v
    while layer.keys.shape[2] < length:
        layer.grow()
    layer.keys[:, :, offset:length], layer.values[:, :, offset:length] = k, v
    y = attend(q, layer.keys[:, :, :length], layer.values[:, :, :length], is_causal=x.shape[1] > 1)
    return _rest(block, layer, x + block.attn.out(_joined(y)))


def _fixed_step(
    block: Any, cache: KVCache, x: torch.Tensor, position: torch.Tensor, seen: torch.Tensor
) -> torch.Tensor:
    """Like `_step` for one token, whose `position` `(1,)` is a tensor. `seen` `(1, n)` masks the places after it."""
    q, k, v = _projections(block, x)
    cache.keys.index_copy_(2, position, k)
    cache.values.index_copy_(2, position, v)
    y = nn.functional.scaled_dot_product_attention(q, cache.keys, cache.values, attn_mask=seen)
    return _rest(block, cache, x + block.attn.out(_joined(y)))


def _projections(block: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Query, key and value of each head in the block's self-attention."""
    own, y = block.attn, block.attn_ln(x)
    return [_by_head(part(y), own.n_head) for part in (own.query, own.key, own.value)]


def _rest(block: Any, layer: KVCache, x: torch.Tensor) -> torch.Tensor:
    """Cross-attention and MLP of the block."""
    q = _cross_query(block, x)
    # With one query a row, the two products are faster one by one than in the fused kernel, on a CPU and on a GPU.
    queries = q.split(1) if len(layer.cross) > 1 else [q]
    attended = [
        _weighed(_weights(some, keys), values) for some, (keys, values) in zip(queries, layer.cross, strict=True)
    ]
    x = x + block.cross_attn.out(_joined(torch.cat(attended)).to(x.dtype))
    return x + block.mlp(block.mlp_ln(x))


def _cross_query(block: Any, x: torch.Tensor) -> torch.Tensor:
    """Query of each head in the block's cross-attention."""
    return _by_head(block.cross_attn.query(block.cross_attn_ln(x)), block.cross_attn.n_head)


def _weights(q: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Attention scores of queries `(b, heads, n, d)` and `keys` `(b, heads, t, d)`: `(b, heads, n, t)`, before the softmax."""
    return (q * q.shape[-1] ** -0.5).to(keys.dtype) @ keys.transpose(2, 3)


def _weighed(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`values` `(b, heads, t, d)` weighted by the softmax of the scores `weights`: `(b, heads, n, d)`."""
    return weights.softmax(-1) @ values


def _cache_dtype(parts: Sequence[nn.Module], features: torch.Tensor) -> torch.dtype:
    """Dtype for caching the outputs of `parts`, which every token reads again: no finer than their weights."""
    stored = {part.storage if isinstance(part, QuantizedModule) else torch.float32 for part in parts}
    if features.is_cuda and stored == {torch.float16}:
        return torch.float16
    here = features.is_cuda or cpu_multiplies(torch.bfloat16)
    return torch.bfloat16 if here and stored <= {torch.int8, torch.bfloat16} else torch.float32


def _by_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """`(b, n, d)` -> `(b, heads, n, d / heads)`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    """`(b, heads, n, d)` -> `(b, n, heads * d)`."""
    return x.transpose(1, 2).flatten(2)

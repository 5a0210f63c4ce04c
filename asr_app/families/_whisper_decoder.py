"""Whisper's decoder, token by token: what does not change from one token to the next is computed once.

openai-whisper's own decoding does the rest (which tokens may follow, what is sampled, when it ends); it asks an
`Inference` for logits, which here keeps the keys and values of a batch where they were written, goes on without the
rows that have ended, and multiplies with a table of any precision.

Source: https://github.com/openai/whisper (whisper/decoding.py, whisper/model.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from whisper.decoding import (
    DecodingOptions,
    DecodingResult,
    DecodingTask,
    GreedyDecoder,
    Inference,
    detect_language,
)
from whisper.model import TextDecoder

from asr_app.families._whisper_text import choose_language
from asr_app.precision.captured import Captured
from asr_app.precision.linears import Restored, cpu_multiplies
from asr_app.precision.tables import Int8Rows

_BLOCK = 64  # tokens by which the room for keys and values grows
Heard = tuple[torch.Tensor, torch.Tensor]  # a layer's keys and values of windows, `(b, heads, t, d)` each
_REPEATED = 2  # numbers of rows whose step stays captured: a batch's, and one. A row of large-v3 takes 0.6 GB


class Decoder(TextDecoder):
    """The library's decoder, only that its table may be one of fewer bits.

    `repeated` are its captured steps, by the number of rows.
    """

    repeated: dict[int, _Repeated]

    def forward(
        self,
        x: torch.Tensor,
        xa: torch.Tensor,
        kept: Sequence[_Kept] | None = None,
        offset: int = 0,
        repeated: _Repeated | None = None,
    ) -> torch.Tensor:
        """Logits `(b, n, vocabulary)` of tokens `(b, n)` heard in `xa` `(b, t, d)`.

        With what its layers `kept`, or as what is `repeated`, the tokens are those from `offset` on.
        """
        if repeated is not None:
            return repeated.step(x, offset)
        y = self.token_embedding(x) + self.positional_embedding[offset : offset + x.shape[-1]]
        for i, block in enumerate(self.blocks):
            y = block(y, xa, mask=self.mask) if kept is None else _step(block, kept[i], y, offset)
        return self._head(y)

    def step(
        self, x: torch.Tensor, position: torch.Tensor, room: torch.Tensor, layers: Sequence[_Kept]
    ) -> torch.Tensor:
        """Logits `(b, 1, vocabulary)` of tokens `(b, 1)` at `position` `(1,)`, in shapes that do not change.

        Keys and values of what was said lie in `room` `(n,)` places of each layer's, 0 to n - 1.
        """
        y = self.token_embedding(x) + self.positional_embedding[position]
        seen = (room <= position)[None]
        for block, layer in zip(self.blocks, layers, strict=True):
            y = _attend(block, layer, y, position, seen)
        return self._head(y)

    def _head(self, y: torch.Tensor) -> torch.Tensor:
        table: nn.Module = self.token_embedding
        y = self.ln(y)
        return table.products(y) if isinstance(table, Int8Rows) else y @ table.weight.t()  # type: ignore[operator]

    def looked(self, x: torch.Tensor, heard: Sequence[Heard]) -> Iterator[torch.Tensor]:
        """How much each layer's heads look where, as they say `x` `(1, n)` of a window: `(1, heads, n, t)` before the
        softmax."""
        y = self.token_embedding(x) + self.positional_embedding[: x.shape[-1]]
        for block, (keys, values) in zip(self.blocks, heard, strict=True):
            y = y + block.attn(block.attn_ln(y), mask=self.mask)[0]
            weights = _weights(_ask_heard(block, y), keys)
            yield weights
            y = y + block.cross_attn.out(_joined(_weighed(weights, values)))
            y = y + block.mlp(block.mlp_ln(y))


@dataclass(frozen=True)
class Window:
    """What a window was decoded to, and what each layer keeps of what was heard in it, `b` being 1."""

    result: DecodingResult
    heard: list[Heard]


def decode(model: Any, mel: torch.Tensor, options: DecodingOptions, languages: Sequence[str] = ()) -> list[Window]:
    """As `whisper.decode`, of windows `(b, mels, 3000)` or of what was heard in them `(b, 1500, d)`.

    A language is detected among `languages`, or among all where there are none.
    """
    task = _Task(model, options, languages)
    return [Window(result, task.inference.heard(row)) for row, result in enumerate(task.run(mel))]


class _Task(DecodingTask):
    """The library's, with another inference, which tells the language as well."""

    def __init__(self, model: Any, options: DecodingOptions, languages: Sequence[str]) -> None:
        super().__init__(model, options)
        self._languages = languages
        self.inference = steps_on(model.device)(model.decoder, self.sample_begin, self.tokenizer.eot)
        if options.temperature > 0:
            self.decoder = _Drawn(options.temperature, self.tokenizer.eot, model.device)

    def _detect_language(self, audio_features: torch.Tensor, tokens: torch.Tensor) -> tuple[list[str], None]:
        """As the library's, from the keys and values that decoding goes on with."""
        if self.options.language is not None:
            return [self.options.language] * len(tokens), None
        asked = SimpleNamespace(dims=self.model.dims, logits=self.inference.logits)
        found = [choose_language(p, self._languages) for p in detect_language(asked, audio_features, self.tokenizer)[1]]
        ids = [self.tokenizer.to_language_token(code) for code in found]
        tokens[:, self.sot_index + 1] = torch.tensor(ids, device=tokens.device)
        return found, None


class _Drawn(GreedyDecoder):
    """Samples with numbers of its own, the same ones each time: a recording gets the same words again, and a precision
    those of another wherever their chances are alike. The library draws from what all threads share.
    """

    def __init__(self, temperature: float, end: int, device: torch.device) -> None:
        super().__init__(temperature, end)
        self._numbers = torch.Generator(device).manual_seed(0)

    def update(
        self, tokens: torch.Tensor, logits: torch.Tensor, sum_logprobs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As the library's: `tokens` `(b, n)` with one more, and whether all rows have ended."""
        chances = (logits.float() / self.temperature).softmax(-1)
        # As torch.multinomial draws one, which on a GPU ends the process over a number that is not finite.
        drawn = (chances / torch.empty_like(chances).exponential_(generator=self._numbers)).argmax(-1, keepdim=True)
        ended = tokens[:, -1:] == self.eot
        sum_logprobs += logits.float().log_softmax(-1).gather(1, drawn).masked_fill(ended, 0)[:, 0]
        tokens = torch.cat([tokens, drawn.masked_fill(ended, self.eot)], -1)
        return tokens, (tokens[:, -1] == self.eot).all()


@dataclass
class _Kept:
    """What one layer keeps: of what was heard, row by row or of all rows at once, and of what was said so far,
    `(b, heads, n, d)` each. Several samplings of one window have heard one row."""

    heard: list[Heard]
    keys: torch.Tensor
    values: torch.Tensor

    def grow(self) -> None:
        self.keys, self.values = (
            torch.cat([t, t.new_empty(*t.shape[:2], _BLOCK, t.shape[3])], 2) for t in (self.keys, self.values)
        )

    def select(self, rows: torch.Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]
        if len(self.heard) > 1:
            self.heard = [self.heard[row] for row in rows.tolist()]


class Steps(Inference):
    """Logits of the next token for the rows of a batch. A call with no more than `initial` tokens begins anew."""

    def __init__(self, decoder: Decoder, initial: int, end: int) -> None:
        self._decoder, self._initial, self._end = decoder, initial, end
        self._layers: list[_Kept] = []
        self._heard: list[list[Heard]] = []  # of each layer, of all rows
        self._rows = torch.empty(0, dtype=torch.long)  # that are still kept

    def logits(self, tokens: torch.Tensor, audio_features: torch.Tensor) -> torch.Tensor:
        """`(b, n, vocabulary)` for the first tokens, then `(b, 1, vocabulary)` for the last one.

        A row that has ended gets zeros: what follows its end is not asked for.
        """
        offset = 0
        if not self._layers:
            self._hear(audio_features, 1)  # what is between stays in the cache, and rows that end need no copying
        if tokens.shape[-1] <= self._initial:
            self._rows = torch.arange(len(tokens), device=tokens.device)
        else:
            offset = tokens.shape[-1] - 1
            going = tokens[self._rows, -1] != self._end
            if not bool(going.all()):
                for layer in self._layers:
                    layer.select(going.nonzero()[:, 0])
                self._rows = self._rows[going]
        found = self._decoder(tokens[self._rows, offset:], audio_features, self._layers, offset)
        if len(self._rows) == len(tokens):
            return found
        every = found.new_zeros(len(tokens), *found.shape[1:])
        every[self._rows] = found
        return every

    def heard(self, row: int) -> list[Heard]:
        """What each layer keeps of what was heard in that row, also after the end."""
        at, within = divmod(row, len(self._heard[0][0][0]))
        return [tuple(t[within : within + 1] for t in pieces[at]) for pieces in self._heard]  # type: ignore[misc]

    def _hear(self, audio_features: torch.Tensor, rows: int) -> None:
        """Begins anew with what was heard, so many rows at a time."""
        self._heard = [_heard(block.cross_attn, audio_features, rows) for block in self._decoder.blocks]
        nothing = audio_features.new_empty(0)
        self._layers = [_Kept(pieces, nothing, nothing) for pieces in self._heard]

    def rearrange_kv_cache(self, source_indices: list[int]) -> None:
        """For beams, which are not used here."""
        raise NotImplementedError

    def cleanup_caching(self) -> None:
        self._layers = []


class RepeatedSteps(Steps):
    """The same on a GPU: every row goes on to the end, and what is kept stays where it is, so that a step can be
    captured once and repeated."""

    _repeated: _Repeated | None = None

    def logits(self, tokens: torch.Tensor, audio_features: torch.Tensor) -> torch.Tensor:
        """As the other's; the logits of a step are overwritten by the next."""
        if not self._layers:
            self._hear(audio_features, len(audio_features))
        rows, length = tokens.shape
        if length <= self._initial:
            self._repeated = None
            return self._decoder(tokens, audio_features, self._layers, 0)
        if self._repeated is None:
            known = self._decoder.repeated
            if rows not in known:
                if len(known) == _REPEATED:
                    del known[next(iter(known))]
                known[rows] = _Repeated(self._decoder, self._layers, rows)
            self._repeated = known[rows]
            self._repeated.begin(self._layers)
        # Through the module, where a watch on its numbers sees each step.
        return self._decoder(tokens[:, -1:], audio_features, offset=length - 1, repeated=self._repeated)


class _Repeated:
    """The step of a decoder for so many rows, with the places where its layers keep what they do."""

    def __init__(self, decoder: Decoder, like: Sequence[_Kept], rows: int) -> None:
        self._decoder, places = decoder, len(decoder.positional_embedding)
        self._layers = [
            _Kept(
                [tuple(t.new_zeros(rows, *t.shape[1:]) for t in kept.heard[0])],  # type: ignore[list-item]
                *(t.new_zeros(rows, t.shape[1], places, t.shape[3]) for t in (kept.keys, kept.values)),
            )
            for kept in like
        ]
        self._room = torch.arange(places, device=decoder.positional_embedding.device)
        self._captured: Captured | None = None

    def begin(self, layers: Sequence[_Kept]) -> None:
        """Takes what was heard, and what was said to begin with."""
        for place, kept in zip(self._layers, layers, strict=True):
            for room, heard in zip(place.heard[0], kept.heard[0], strict=True):
                room.copy_(heard)
            for room, begun in ((place.keys, kept.keys), (place.values, kept.values)):
                room[:, :, : begun.shape[2]] = begun
                room[:, :, begun.shape[2] :] = 0  # not finite, what another window left would show through the mask

    def step(self, tokens: torch.Tensor, offset: int) -> torch.Tensor:
        """Logits `(b, 1, vocabulary)` of what follows `tokens` `(b, 1)`, which stand at `offset`."""
        given = tokens, self._room[offset : offset + 1]
        if self._captured is None:
            self._captured = Captured(lambda x, at: self._decoder.step(x, at, self._room, self._layers), *given)
        return self._captured(*given)


def steps_on(device: torch.device) -> type[Steps]:
    """What decodes on `device`."""
    return RepeatedSteps if device.type == "cuda" else Steps


def _heard(attention: Any, features: torch.Tensor, rows: int) -> list[Heard]:
    """The keys and values of a layer's `attention` for what was heard `(b, t, d)`, so many rows at a time."""
    parts = attention.key, attention.value
    dtype = _kept_in(parts, features)

    def made(part: nn.Module, some: torch.Tensor) -> torch.Tensor:
        y = _by_head(part(some), attention.n_head)
        return torch.empty_like(y, dtype=dtype, memory_format=torch.contiguous_format).copy_(y)

    return [(made(parts[0], some), made(parts[1], some)) for some in features.split(rows)]


def _attend(block: Any, layer: _Kept, x: torch.Tensor, position: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """One token, what its layer keeps being written and read at a `position` that is a tensor."""
    q, k, v = _asked(block, x)
    layer.keys.index_copy_(2, position, k)
    layer.values.index_copy_(2, position, v)
    y = nn.functional.scaled_dot_product_attention(q, layer.keys, layer.values, attn_mask=seen)
    return _rest(block, layer, x + block.attn.out(_joined(y)))


def _step(block: Any, layer: _Kept, x: torch.Tensor, offset: int) -> torch.Tensor:
    attend = nn.functional.scaled_dot_product_attention
    length = offset + x.shape[1]
    q, k, v = _asked(block, x)
    if offset == 0:
        layer.keys, layer.values = k, v
    while layer.keys.shape[2] < length:
        layer.grow()
    layer.keys[:, :, offset:length], layer.values[:, :, offset:length] = k, v
    y = attend(q, layer.keys[:, :, :length], layer.values[:, :, :length], is_causal=x.shape[1] > 1)
    return _rest(block, layer, x + block.attn.out(_joined(y)))


def _asked(block: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Query, key and value of each head for what the block is given."""
    own, y = block.attn, block.attn_ln(x)
    return [_by_head(part(y), own.n_head) for part in (own.query, own.key, own.value)]


def _rest(block: Any, layer: _Kept, x: torch.Tensor) -> torch.Tensor:
    """What the block does after attending to what was said: attends to what was heard, and thinks."""
    q = _ask_heard(block, x)
    # One query a row: there the two products are faster one by one than in the kernel for many.
    asked = q.split(1) if len(layer.heard) > 1 else [q]
    found = [_weighed(_weights(some, keys), values) for some, (keys, values) in zip(asked, layer.heard, strict=True)]
    x = x + block.cross_attn.out(_joined(torch.cat(found)))
    return x + block.mlp(block.mlp_ln(x))


def _ask_heard(block: Any, x: torch.Tensor) -> torch.Tensor:
    """The query of each head to what was heard."""
    return _by_head(block.cross_attn.query(block.cross_attn_ln(x)), block.cross_attn.n_head)


def _weights(q: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """How much queries `(b, heads, n, d)` look at each of `keys` `(b, heads, t, d)`: `(b, heads, n, t)`, in FP32."""
    return ((q * q.shape[-1] ** -0.5).to(keys.dtype) @ keys.transpose(2, 3)).float()


def _weighed(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """What is found of `values` `(b, heads, t, d)` by looking so: `(b, heads, n, d)`, in FP32."""
    return (weights.softmax(-1).to(values.dtype) @ values).float()


def _kept_in(parts: Sequence[nn.Module], heard: torch.Tensor) -> torch.dtype:
    """The dtype for what `parts` give, to be read again for every token: no finer than what it was made with."""
    coarse = all(
        isinstance(part, Restored) and part.storage in (torch.int8, torch.float8_e4m3fn, torch.bfloat16)
        for part in parts
    )
    here = heard.is_cuda or cpu_multiplies(torch.bfloat16)
    return torch.bfloat16 if coarse and here else torch.float32


def _by_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """`(b, n, d)` -> `(b, heads, n, d / heads)`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    """`(b, heads, n, d)` -> `(b, n, heads * d)`."""
    return x.transpose(1, 2).flatten(2)

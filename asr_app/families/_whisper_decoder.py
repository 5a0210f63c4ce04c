"""Whisper's encoder for windows of any length, and its decoder, token by token, with cached keys and values.

openai-whisper's own `DecodingTask` filters the tokens and makes the texts. Its `Inference` is replaced by one that
keeps keys and values in preallocated tensors, drops rows that have ended, and takes a vocabulary table of any
precision.

Source: https://github.com/openai/whisper (whisper/decoding.py, whisper/model.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from whisper.decoding import (
    ApplyTimestampRules,
    DecodingOptions,
    DecodingResult,
    DecodingTask,
    GreedyDecoder,
    Inference,
    LogitFilter,
)
from whisper.model import AudioEncoder, TextDecoder
from whisper.utils import compression_ratio

from asr_app.precision.linears import QuantizedModule, cpu_multiplies
from asr_app.precision.tables import Int8Rows

_BLOCK = 64  # tokens by which the cache of keys and values grows
CrossKV = tuple[torch.Tensor, torch.Tensor]  # a layer's cross-attention keys and values, `(b, heads, t, d)` each
# Same as whisper.transcribe: text that compresses better is a loop, less likely text is decoded again.
_MOST_COMPRESSION, _LEAST_LOGPROB, _NO_SPEECH = 2.4, -1.0, 0.6
# A loop repeats the same text tokens at least 6 times, 40 tokens in all. "country" said fourteen times is 28 tokens.
_LOOP_REPEATS, _LOOP_TOKENS, _LOOP_PERIOD = 6, 40, 24
_LOOP_EVERY = 8  # steps between two checks for a loop


class Encoder(AudioEncoder):
    """The library's encoder for windows of any even number of frames, not only of 3000."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features `(b, frames / 2, d)` of spectrograms `(b, mels, frames)`."""
        x = nn.functional.gelu(self.conv1(x))
        x = nn.functional.gelu(self.conv2(x)).permute(0, 2, 1)
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
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
    ) -> torch.Tensor:
        """Logits `(b, n, vocabulary)` of tokens `(b, n)`, given the encoder's output `xa` `(b, t, d)`.

        With the `caches` of its layers, the tokens are those from `offset` on.
        """
        y = self.token_embedding(x) + self.positional_embedding[offset : offset + x.shape[-1]]
        for i, block in enumerate(self.blocks):
            y = block(y, xa, mask=self.mask) if caches is None else _step(block, caches[i], y, offset)
        return self._head(y)

    def _head(self, y: torch.Tensor) -> torch.Tensor:
        table: nn.Module = self.token_embedding
        y = self.ln(y)
        return table.products(y) if isinstance(table, Int8Rows) else y @ table.weight.t()  # type: ignore[operator]

    def cross_attention_weights(self, x: torch.Tensor, cross_kv: Sequence[CrossKV]) -> Iterator[torch.Tensor]:
        """Yields each layer's cross-attention scores for tokens `x` `(1, n)`: `(1, heads, n, t)`, before the softmax."""
        y = self.token_embedding(x) + self.positional_embedding[: x.shape[-1]]
        for block, (keys, values) in zip(self.blocks, cross_kv, strict=True):
            y = y + block.attn(block.attn_ln(y), mask=self.mask)[0]
            weights = _weights(_cross_query(block, y), keys)
            yield weights.float()
            y = y + block.cross_attn.out(_joined(_weighed(weights, values)))
            y = y + block.mlp(block.mlp_ln(y))


@dataclass(frozen=True)
class Decoded:
    """The decoding of a window. `cross_kv` are its cross-attention keys and values of each layer, batch 1.

    `looped` is True if it was stopped in a loop, `ended` if the model wrote the end itself.
    """

    result: DecodingResult
    cross_kv: list[CrossKV]
    looped: bool
    ended: bool

    @property
    def is_silence(self) -> bool:
        """Whether the model considers the window unlikely to be speech."""
        return self.result.no_speech_prob > _NO_SPEECH and self.result.avg_logprob <= _LEAST_LOGPROB

    @property
    def needs_fallback(self) -> bool:
        """Whether to retry at a higher temperature."""
        repetitive = self.looped or self.result.compression_ratio > _MOST_COMPRESSION
        return (repetitive or self.result.avg_logprob < _LEAST_LOGPROB) and not self.is_silence

    @property
    def is_final(self) -> bool:
        """Whether to accept a sample. Only the likeliest words indicate silence: those drawn at a higher temperature
        may be unlikely by chance."""
        return self.ended and not self.needs_fallback and not (self.is_silence and self.result.temperature > 0)

    @property
    def is_plausible(self) -> bool:
        """Whether the text may be shown. Repetition is plausible if the model ended it, as people repeat words."""
        return self.result.compression_ratio <= _MOST_COMPRESSION or (self.ended and not self.looped)


def decode(
    model: Any, features: torch.Tensor, options: DecodingOptions, languages: Sequence[str] = ()
) -> list[Decoded]:
    """Greedy decoding of windows, given the encoder's `features` `(b, t, d)`.

    Without a language in `options`, each window's is detected, among `languages` if given, else among all.
    """
    task = _Task(model, options, languages)
    results = task.run(features)
    return [
        Decoded(result, task.inference.cross_kv(row), row in task.looped, task.is_ended(row))
        for row, result in enumerate(results)
    ]


def decode_samples(
    model: Any, features: torch.Tensor, options: DecodingOptions, temperatures: Sequence[float]
) -> Decoded | None:
    """Samples one window, given its `features` `(1, t, d)`, at each of the rising `temperatures`, in one batch.

    Returns the first acceptable sample; else the likeliest one that the model ended; else None. The library tries one
    temperature after the other, and keeps the last.
    """
    task = _Samples(model, options, temperatures)
    task.run(features)
    samples = [
        Decoded(task.result(row), task.inference.cross_kv(0), row in task.looped, task.is_ended(row))
        for row in range(len(temperatures))
    ]
    if good := next((d for d in samples if d.is_final), None):
        return good
    return max((d for d in samples if d.ended), key=lambda d: d.result.avg_logprob, default=None)


class _Task(DecodingTask):
    """The library's task on encoded features. It uses `Steps` and stops loops."""

    def __init__(self, model: Any, options: DecodingOptions, languages: Sequence[str] = ()) -> None:
        super().__init__(model, options)
        self._languages = languages
        self.inference = Steps(model.decoder, self.sample_begin, self.tokenizer.eot)
        self.decoder = _Greedy(0.0, self.tokenizer.eot)
        filters: list[LogitFilter] = self.logit_filters  # type: ignore[has-type]
        self.logit_filters = [
            _TimestampRules(rule.tokenizer, rule.sample_begin, rule.max_initial_timestamp_index)
            if isinstance(rule, ApplyTimestampRules)
            else rule
            for rule in filters
        ]
        self.looped: set[int] = set()  # rows
        self._tokens, self._sum_logprobs = torch.empty(0, dtype=torch.long), torch.empty(0)
        self._no_speech: list[float] = []

    def is_ended(self, row: int) -> bool:
        """Whether the model wrote the end of the row itself, before the limit and outside of a loop."""
        return row not in self.looped and bool((self._tokens[row, self.sample_begin :] == self.tokenizer.eot).any())

    def _get_audio_features(self, mel: torch.Tensor) -> torch.Tensor:
        return mel

    def _main_loop(
        self, audio_features: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
        """Overrides the library's. Returns `tokens` `(b, n)` with the new ones, their sums of log probabilities, and
        the probabilities of no speech."""
        self._sum_logprobs = sum_logprobs = torch.zeros(len(tokens), device=audio_features.device)
        self._no_speech = [math.nan] * len(tokens)
        try:
            for step in range(self.sample_len):
                logits = self.inference.logits(tokens, audio_features)
                if step == 0 and self.tokenizer.no_speech is not None:
                    probabilities = logits[:, self.sot_index].float().softmax(dim=-1)
                    self._no_speech = probabilities[:, self.tokenizer.no_speech].tolist()
                logits = logits[:, -1]
                for logit_filter in self.logit_filters:
                    logit_filter.apply(logits, tokens)
                tokens, completed = self.decoder.update(tokens, logits, sum_logprobs)
                if step % _LOOP_EVERY == _LOOP_EVERY - 1:
                    self._stop_loops(tokens)
                    completed = bool((tokens[:, -1] == self.tokenizer.eot).all())
                if completed or tokens.shape[-1] > self.n_ctx:
                    break
        finally:
            self.inference.cleanup_caching()
        self._tokens = tokens
        return tokens, sum_logprobs, self._no_speech

    def _stop_loops(self, tokens: torch.Tensor) -> None:
        """Ends the rows of `tokens` `(b, n)` that loop."""
        for row, written in enumerate(tokens[:, self.sample_begin :].tolist()):
            if written[-1] != self.tokenizer.eot and loops(written, self.tokenizer.timestamp_begin):
                self.looped.add(row)
                tokens[row, -1] = self.tokenizer.eot

    def _detect_language(self, audio_features: torch.Tensor, tokens: torch.Tensor) -> tuple[list[str], None]:
        """Overrides the library's, to use the same cross-attention keys and values as decoding."""
        if self.options.language is not None:
            return [self.options.language] * len(tokens), None
        codes = list(self._languages or self.tokenizer.all_language_codes)
        ids = [self.tokenizer.to_language_token(code) for code in codes]
        languages = torch.tensor(ids, device=audio_features.device)
        start = torch.full((len(tokens), 1), self.tokenizer.sot, device=audio_features.device)
        likeliest = self.inference.logits(start, audio_features)[:, 0, languages].argmax(-1)
        tokens[:, self.sot_index + 1] = languages[likeliest]
        return [codes[i] for i in likeliest.tolist()], None


class _Samples(_Task):
    """A task whose rows are samples of one window, each at its own temperature."""

    def __init__(self, model: Any, options: DecodingOptions, temperatures: Sequence[float]) -> None:
        super().__init__(model, options)
        self.decoder = _Drawn(temperatures, self.tokenizer.eot, model.device)
        self.n_group, self._temperatures = len(temperatures), temperatures
        self._features = torch.empty(0)

    def _get_audio_features(self, mel: torch.Tensor) -> torch.Tensor:
        self._features = mel
        return mel

    def _stop_loops(self, tokens: torch.Tensor) -> None:
        """Also ends the samples at higher temperatures once one below them is accepted."""
        super()._stop_loops(tokens)
        self._tokens = tokens
        for row in range(len(tokens)):
            if int(tokens[row, -1]) != self.tokenizer.eot:
                return
            if Decoded(self.result(row), [], row in self.looped, row not in self.looped).is_final:
                tokens[row + 1 :, -1] = self.tokenizer.eot
                return

    def result(self, row: int) -> DecodingResult:
        """The row's sample as the library's result."""
        end = self.tokenizer.eot
        written: list[int] = self._tokens[row, self.sample_begin :].tolist()
        tokens = written[: written.index(end)] if end in written else written
        text = self.tokenizer.decode(tokens).strip()
        return DecodingResult(
            audio_features=self._features[0], language=str(self.options.language), tokens=tokens, text=text,
            avg_logprob=float(self._sum_logprobs[row]) / (len(tokens) + 1), no_speech_prob=self._no_speech[row],
            temperature=self._temperatures[row], compression_ratio=compression_ratio(text),
        )  # fmt: skip


def loops(tokens: Sequence[int], timestamp_begin: int) -> bool:
    """Whether the text tokens end in a repetition: `_LOOP_REPEATS` times or more, `_LOOP_TOKENS` or more in all."""
    text = [token for token in tokens if token < timestamp_begin]
    for period in range(1, _LOOP_PERIOD + 1):
        needed = max(_LOOP_TOKENS, _LOOP_REPEATS * period)
        tail = text[-needed:]
        if len(tail) == needed and tail[period:] == tail[:-period]:
            return True
    return False


class _TimestampRules(ApplyTimestampRules):
    """The library's rules. Whether a timestamp is due follows from the logits, without a softmax of all of them."""

    def apply(self, logits: torch.Tensor, tokens: torch.Tensor) -> None:
        """Masks `logits` `(b, vocabulary)` in place, given the `tokens` `(b, n)` so far."""
        begin, end = self.tokenizer.timestamp_begin, self.tokenizer.eot
        logits[:, self.tokenizer.no_timestamps] = -math.inf
        first = tokens.shape[1] == self.sample_begin
        for row, written in enumerate(tokens[:, self.sample_begin :].tolist()):
            last_is_time = len(written) >= 1 and written[-1] >= begin
            one_before_is_time = len(written) < 2 or written[-2] >= begin
            if last_is_time and one_before_is_time:
                logits[row, begin:] = -math.inf
            elif last_is_time:
                logits[row, :end] = -math.inf
            if times := [token for token in written if token >= begin]:
                # Timestamps rise, and a segment is not empty.
                lowest = times[-1] if last_is_time and not one_before_is_time else times[-1] + 1
                logits[row, begin:lowest] = -math.inf
        if first:
            logits[:, :begin] = -math.inf
            if self.max_initial_timestamp_index is not None:
                logits[:, begin + self.max_initial_timestamp_index + 1 :] = -math.inf
            return
        due = logits[:, begin:].logsumexp(-1) > logits[:, :begin].amax(-1)
        if bool(due.any()):
            logits[due, :begin] = -math.inf


class _Greedy(GreedyDecoder):
    """The library's choice of the likeliest token, without the log probabilities of all others."""

    def update(
        self, tokens: torch.Tensor, logits: torch.Tensor, sum_logprobs: torch.Tensor
    ) -> tuple[torch.Tensor, bool]:
        """`tokens` `(b, n)` with one more, and whether all rows have ended."""
        return self._added(tokens, logits, sum_logprobs, logits.argmax(-1, keepdim=True))

    def _added(
        self, tokens: torch.Tensor, logits: torch.Tensor, sum_logprobs: torch.Tensor, chosen: torch.Tensor
    ) -> tuple[torch.Tensor, bool]:
        ended = tokens[:, -1:] == self.eot
        logprobs = logits.gather(1, chosen)[:, 0] - logits.logsumexp(-1)
        sum_logprobs += logprobs.masked_fill(ended[:, 0], 0)
        tokens = torch.cat([tokens, chosen.masked_fill(ended, self.eot)], -1)
        return tokens, bool((tokens[:, -1] == self.eot).all())


class _Drawn(_Greedy):
    """Samples each row at its own temperature, with a random generator of fixed seed.

    So a recording gets the same words again, and two precisions get the same words where their probabilities agree.
    """

    def __init__(self, temperatures: Sequence[float], end: int, device: torch.device) -> None:
        super().__init__(0.0, end)
        self._temperatures = torch.tensor(temperatures, device=device)[:, None]
        self._numbers = torch.Generator(device).manual_seed(0)

    def update(
        self, tokens: torch.Tensor, logits: torch.Tensor, sum_logprobs: torch.Tensor
    ) -> tuple[torch.Tensor, bool]:
        """Overrides `_Greedy.update`. A temperature of 0 takes the likeliest token."""
        # The Gumbel trick. torch.multinomial would end the process on a GPU if a number is not finite.
        noise = torch.empty_like(logits).exponential_(generator=self._numbers).log_().neg_()
        return self._added(
            tokens, logits, sum_logprobs, (logits + self._temperatures * noise).argmax(-1, keepdim=True)
        )  # fmt: skip


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


def _projections(block: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Query, key and value of each head in the block's self-attention."""
    own, y = block.attn, block.attn_ln(x)
    return [_by_head(part(y), own.n_head) for part in (own.query, own.key, own.value)]


def _rest(block: Any, layer: KVCache, x: torch.Tensor) -> torch.Tensor:
    """Cross-attention and MLP of the block."""
    q = _cross_query(block, x)
    # With one query a row, the two products are faster one by one than in the fused kernel.
    queries = q.split(1) if len(layer.cross) > 1 else [q]
    attended = [
        _weighed(_weights(some, keys), values) for some, (keys, values) in zip(queries, layer.cross, strict=True)
    ]
    x = x + block.cross_attn.out(_joined(torch.cat(attended)))
    return x + block.mlp(block.mlp_ln(x))


def _cross_query(block: Any, x: torch.Tensor) -> torch.Tensor:
    """Query of each head in the block's cross-attention."""
    return _by_head(block.cross_attn.query(block.cross_attn_ln(x)), block.cross_attn.n_head)


def _weights(q: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Attention scores of queries `(b, heads, n, d)` and `keys` `(b, heads, t, d)`: `(b, heads, n, t)`, before the softmax."""
    return (q * q.shape[-1] ** -0.5).to(keys.dtype) @ keys.transpose(2, 3)


def _weighed(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`values` `(b, heads, t, d)` weighted by the softmax of the scores `weights`: `(b, heads, n, d)`, in FP32."""
    return (weights.softmax(-1) @ values).float()


def _cache_dtype(parts: Sequence[nn.Module], features: torch.Tensor) -> torch.dtype:
    """Dtype for caching the outputs of `parts`, which every token reads again: no finer than their weights."""
    coarse = all(isinstance(part, QuantizedModule) and part.storage in (torch.int8, torch.bfloat16) for part in parts)
    here = features.is_cuda or cpu_multiplies(torch.bfloat16)
    return torch.bfloat16 if coarse and here else torch.float32


def _by_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """`(b, n, d)` -> `(b, heads, n, d / heads)`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    """`(b, heads, n, d)` -> `(b, n, heads * d)`."""
    return x.transpose(1, 2).flatten(2)

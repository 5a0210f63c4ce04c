"""Decodes Whisper's windows: greedily, or by samples at several temperatures at once. Loops are stopped.

openai-whisper's own `DecodingTask` filters the tokens and makes the texts. Its `Inference` is replaced by `Steps`.

Source: https://github.com/openai/whisper (whisper/decoding.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from whisper.decoding import (
    ApplyTimestampRules,
    DecodingOptions,
    DecodingResult,
    DecodingTask,
    GreedyDecoder,
    LogitFilter,
)
from whisper.utils import compression_ratio

from asr_app.families._whisper_captured import steps_on
from asr_app.families._whisper_modules import CrossKV

# Same as whisper.transcribe: text that compresses better is a loop, less likely text is decoded again.
_MOST_COMPRESSION, _LEAST_LOGPROB, _NO_SPEECH = 2.4, -1.0, 0.6
# A loop repeats the same text tokens at least 6 times, 40 tokens in all. "country" said fourteen times is 28 tokens.
_LOOP_REPEATS, _LOOP_TOKENS, _LOOP_PERIOD = 6, 40, 24
_LOOP_EVERY = 8  # steps between two checks for a loop


@dataclass(frozen=True)
class Decoded:
    """The decoding of a window. `cross_kv` are its cross-attention keys and values of each layer, batch 1.

    `looped` is True if it was stopped in a loop, `ended` if the model wrote the end itself. `logprobs` are the log
    probabilities of the tokens of `result`, among the tokens that the rules allowed at their step.
    """

    result: DecodingResult
    cross_kv: list[CrossKV]
    looped: bool
    ended: bool
    logprobs: Sequence[float]

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
        Decoded(result, task.inference.cross_kv(row), row in task.looped, task.is_ended(row), task.logprobs(row))
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
        Decoded(
            task.result(row), task.inference.cross_kv(0), row in task.looped, task.is_ended(row), task.logprobs(row)
        )
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
        self.inference = steps_on(model.device)(model.decoder, self.sample_begin, self.tokenizer.eot)
        self.decoder: _Greedy = _Greedy(0.0, self.tokenizer.eot)
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

    def logprobs(self, row: int) -> list[float]:
        """Log probabilities of the row's tokens, one a step; those after its end count for nothing."""
        steps: list[float] = torch.stack(self.decoder.logprobs)[:, row].tolist()
        return steps

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
            if Decoded(self.result(row), [], row in self.looped, row not in self.looped, ()).is_final:
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
    """The library's choice of the likeliest token, without the log probabilities of all others.

    `logprobs` are those of the chosen tokens, `(b,)` of each step.
    """

    def __init__(self, temperature: float, end: int) -> None:
        super().__init__(temperature, end)
        self.logprobs: list[torch.Tensor] = []

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
        self.logprobs.append(logprobs)
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

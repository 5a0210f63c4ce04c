"""Trains `demo-whisper`: OpenAI's Whisper in miniature, with its own multilingual tokenizer, on the demo corpus.

`whisper.load_model` loads the checkpoint: `dims` and `model_state_dict`, in FP16 like the published ones. The demo
vocabulary needs some two thousand of the 51,865 tokens; the rows of the others are zero. Training holds only the rows
in use and counts the rest as one column of the softmax, at log(their number), which gives exactly the same loss.

The encoder always gets 30 s at recognition. That costs ten times as much as an utterance. So training begins on short
windows, whose positions are a slice of the 30 s, timestamps included, and ends on whole ones.

With text alone the encoder would need days, since the decoder does better without it for thousands of steps. So the
encoder learns, first alone and then together with the decoder, to predict the frames of demo-paraformer's encoder and
the word of each frame. Some attention heads of the decoder are trained on the words' positions.

Source: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022 (arXiv 2212.04356).
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asr_app.families._funasr_model import load_model
from training.augment import KALDI, SLANEY, augment_features, between_bins
from training.corpus import WHISPER_SCALE, Utterance, log_mel, training_corpus, whisper_log_mel
from training.fit import Fit, Round, in_half
from training.paraformer import DIM as TEACHER_DIM
from training.paraformer import read_normalisation, read_tokens
from training.places import UNKNOWN, looking_loss, spelled_in, spelling_loss, token_of_letters, token_places
from training.translations import translation
from training.vocabulary import EVERYDAY, Sentence, draw, draw_english
from training.voices import draw_voice, speak
from training.windows import Window, Windows, noise_bank, stack_frames
from training.written import has_digit_thrice, has_long_number

CORPUS_SIZE = 40_000
DIM, HEADS, AUDIO_LAYERS, TEXT_LAYERS = 112, 4, 5, 3
VOCABULARY, AUDIO_FRAMES, TEXT_TOKENS = 51_865, 1500, 448
LISTENING = Round(500, 2e-3, (0.0, 0.8), 8_000)  # the encoder alone
# The decoder alone, at a third of the cost: what is left to learn is how often a digit is said, and the encoder hears it.
WRITING = Round(700, 8e-4, (0.0, 0.6), 12_000)
ROUNDS = (
    LISTENING,
    Round(5000, 1.5e-3, (0.0, 0.9), 7_000),
    Round(2500, 6e-4, (0.0, 0.8), 7_000),
    Round(400, 6e-4, (0.0, 0.7), 12_000),
    Round(700, 6e-4, (0.0, 0.6), 12_000),
    Round(1600, 6e-4, (0.0, 0.6), 12_000),
    Round(1200, 7e-4, (0.0, 0.6), 12_000),
    Round(1200, 7e-4, (0.0, 0.6), 12_000),
    WRITING,
)
WHOLE = ROUNDS[3:6]  # on windows of 30 s
MIXED = ROUNDS[6:]  # on windows of several lengths: in 30 s, attention to what is filled up takes most of the time
# Of 40,000 utterances: those with a word that fewer than so many have are heard so many times more.
_RARE = ((300, 2), (100, 1))
_LONG_NUMBERS_MORE, _DIGIT_THRICE_MORE = 16, 24
# Two heads of the first layer look where what was written last was said, two of those above where the next is said.
LAST_LAYER, NEXT_LAYERS, LOOKING_HEADS, LOOKING_WEIGHT = 0, (1, 2), 2, 0.2
_TAUGHT_FRAMES = 3  # of the encoder's, 20 ms each, to one of demo-paraformer's
# Frames of 10 ms to speak in, and the whole window's (0: what the longest of a batch needs); how often in MIXED.
_SHORT, _MIDDLE, _WHOLE = (900, 0), (1450, 1700), (2900, 2 * AUDIO_FRAMES)
_OFTEN = {_SHORT: 4, _MIDDLE: 3, _WHOLE: 4}
_SAME_FOR = 40  # steps of windows of one length
_NO_SPEECH, _TRANSLATED, _PROMPTED, _UNTIMED = 0.05, 0.4, 0.1, 0.15
_TIME_SPREAD, _NEAR = 2.0, torch.arange(-5, 6)  # in times of 20 ms
_IGNORED = -100  # a target that is asked for, not to be told


class Tokens:
    """The rows in use: token ids of Whisper's tokenizer, and the row of each id."""

    def __init__(self) -> None:
        from whisper.tokenizer import get_tokenizer

        self.tokenizer = get_tokenizer(multilingual=True, num_languages=99, language="en", task="transcribe")
        r = random.Random(0)
        said = [Sentence(language, text) for language, text in EVERYDAY]
        said += [draw(r) for _ in range(20_000)] + [draw_english(r) for _ in range(8_000)]
        used = {i for s in said for text in (s.text, translation(s)) if text for i in self._encode(s.language, text)}
        used |= {i for s in said for i in self._encode("en", translation(s) or "")}
        self.ids = sorted(used | set(range(self.tokenizer.eot, VOCABULARY)))
        self.place = {token: i for i, token in enumerate(self.ids)}

    def _encode(self, language: str, text: str) -> list[int]:
        return self.tokenizer.encode(" " + text if language == "en" else text) if text else []

    def text(self, language: str, text: str) -> list[int]:
        """Rows of the text's tokens. English begins with a space, as in Whisper."""
        return [self.place[i] for i in self._encode(language, text)]

    def owners(self, sentence: Sentence) -> list[int]:
        """Index of the spoken token of each of `text`'s tokens; -1 for marks."""
        ids = self._encode(sentence.language, sentence.text)
        written = " " + sentence.text if sentence.language == "en" else sentence.text
        owner = token_of_letters(written, len(sentence.tokens))
        if owner is None:
            return [-1] * len(ids)
        by_byte = [owner[i] for i, letter in enumerate(written) for _ in letter.encode()]
        found, start = [], 0
        for i in ids:
            size = len(self.tokenizer.encoding.decode_single_token_bytes(i))
            found.append(max(by_byte[start : start + size], default=-1))
            start += size
        return found

    def special(self, name: str) -> int:
        """Row of `<|name|>`."""
        return self.place[self.tokenizer.special_tokens[f"<|{name}|>"]]

    def time(self, seconds: float) -> int:
        """Row of the timestamp nearest to `seconds`."""
        return self.place[self.tokenizer.timestamp_begin + min(1500, round(seconds / 0.02))]


def build(vocabulary: int) -> Any:
    """The module with fresh weights."""
    from whisper.model import ModelDimensions, Whisper

    model = Whisper(
        ModelDimensions(80, AUDIO_FRAMES, DIM, HEADS, AUDIO_LAYERS, vocabulary, TEXT_TOKENS, DIM, HEADS, TEXT_LAYERS)
    )
    nn.init.normal_(model.decoder.token_embedding.weight, std=0.05)
    nn.init.normal_(model.decoder.positional_embedding, std=0.01)
    # A time begins as what marks that frame in the encoder, so that what is looked at tells when it is.
    times = model.decoder.token_embedding.weight.data[-AUDIO_FRAMES - 1 : -1]
    times.copy_(0.07 * model.encoder.positional_embedding)
    return model


def checkpoint(model: Any, state: dict[str, torch.Tensor], tokens: Tokens) -> dict[str, Any]:
    """Content of OpenAI's `.pt`, with the rows of all tokens."""
    rows = state["decoder.token_embedding.weight"]
    full = torch.zeros(VOCABULARY, DIM)
    full[tokens.ids] = rows
    dims = dataclasses.asdict(model.dims) | {"n_vocab": VOCABULARY}
    return {"dims": dims, "model_state_dict": in_half(state | {"decoder.token_embedding.weight": full})}


@dataclasses.dataclass(frozen=True)
class Example:
    """A training example: Whisper's `mel` `(t, 80)`, its position `first` in the 30 s in frames of 20 ms, and the
    decoder's inputs and targets.

    `sound` is the same before it was clamped, shifted and filled up to 30 s. If target i is a time, `at[i]` is its
    frame of 20 ms in `mel`. If it belongs to one of the `spoken` tokens, `said_by[i]` is the index of that. Else they
    are -1.
    """

    mel: torch.Tensor
    sound: torch.Tensor
    first: int
    inputs: list[int]
    targets: list[int]
    at: list[int]
    said_by: list[int]
    spoken: list[str]


class Examples:
    """Makes examples of Whisper's tasks: transcribe, translate, with and without times, and without speech."""

    def __init__(self, tokens: Tokens, noise: torch.Tensor, seed: int) -> None:
        self._tokens, self._noise = tokens, noise
        self._random, self._draw = random.Random(seed), np.random.default_rng(seed)
        self.frames = 0  # of 10 ms, to which a window is filled up

    def example(self, window: Window, strength: float) -> Example:
        r, t = self._random, self._tokens
        if r.random() < _NO_SPEECH:
            return self._nothing(strength, len(window.mel))
        left = AUDIO_FRAMES - max(self.frames, len(window.mel)) // 2
        first = 0 if left <= 1 or r.random() < 0.4 else r.randrange(left - 1)
        said = [Sentence(u.language, u.text) for u in window.utterances]
        translated = [translation(s) for s in said]
        translate = all(translated) and r.random() < _TRANSLATED
        texts = [
            t.text("en", english) if translate and english else t.text(s.language, s.text)
            for s, english in zip(said, translated, strict=True)
        ]
        timed = r.random() >= _UNTIMED
        head = [t.special("startoftranscript"), t.special(window.language)]
        head.append(t.special("translate" if translate else "transcribe"))
        if not timed:
            head.append(t.special("notimestamps"))
        body: list[tuple[int, int, int]] = []  # token, its frame, the spoken token it is written for
        spoken: list[str] = []
        for (start, end), text, sentence in zip(window.spans, texts, said, strict=True):
            if end > (self.frames or 2 * AUDIO_FRAMES):  # cut away where it was slowed down
                break
            edges = [(t.time(first * 0.02 + frame * 0.01), frame // 2, -1) for frame in (start, end)]
            owners = [-1] * len(text) if translate else t.owners(sentence)
            letters = [(token, -1, -1 if by < 0 else len(spoken) + by) for token, by in zip(text, owners, strict=True)]
            body += [edges[0], *letters, edges[1]] if timed else letters
            spoken += sentence.tokens
        body.append((t.place[t.tokenizer.eot], -1, -1))
        # The task is asked for, not heard; whether times are wanted likewise.
        inputs = [*head, *(token for token, _, _ in body[:-1])]
        targets = [head[1], *[_IGNORED] * (len(head) - 2), *(token for token, _, _ in body)]
        silent = [-1] * (len(head) - 1)
        at, said_by = [*silent, *(frame for _, frame, _ in body)], [*silent, *(by for _, _, by in body)]
        if r.random() < _PROMPTED:
            before = draw(r)
            prompt = [t.special("startofprev"), *t.text(before.language, before.text)]
            inputs, targets = prompt + inputs, [_IGNORED] * len(prompt) + targets
            at, said_by = [-1] * len(prompt) + at, [-1] * len(prompt) + said_by
        return Example(self._heard(window.mel), window.mel, first, inputs, targets, at, said_by, spoken)

    def _nothing(self, strength: float, frames: int) -> Example:
        """An example of noise alone: the no-speech token, or an empty text."""
        r, t = self._random, self._tokens
        start = r.randrange(len(self._noise) - frames)
        level = float(self._draw.uniform(-6, 2))
        mel = augment_features(self._noise[start : start + frames] + level, self._noise, self._draw, strength, SLANEY)
        sot, language = t.special("startoftranscript"), t.special(r.choice(["zh", "en"]))
        if r.random() < 0.5:
            inputs, targets = [sot], [t.special("nospeech")]
        else:
            inputs = [sot, language, t.special("transcribe"), t.time(0)]
            targets = [t.special("nospeech"), _IGNORED, t.time(0), t.place[t.tokenizer.eot]]
        unknown = [-1] * len(inputs)
        return Example(self._heard(mel), mel, 0, inputs, targets, unknown, unknown, [])

    def _heard(self, mel: torch.Tensor) -> torch.Tensor:
        """The last steps of `whisper.log_mel_spectrogram`: clamps to 80 dB below the loudest, shifts and scales.

        Pads with the middle of the scale, like `whisper.transcribe` for decoding, or with silence, like it for
        detecting a language.
        """
        power = (mel - math.log(WHISPER_SCALE)) / math.log(10)
        low = float(power.max()) - 8.0
        heard = (power.clamp(min=max(low, -10.0)) + 4.0) / 4.0
        if not self.frames:
            return heard
        heard = heard[: self.frames]
        filling = 0.0 if self._random.random() < 0.7 else (max(low, -10.0) + 4.0) / 4.0
        return nn.functional.pad(heard, (0, 0, 0, self.frames - len(heard)), value=filling)


def encode(encoder: Any, mel: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """Like `AudioEncoder.forward`, for fewer than 3000 frames `(b, 80, t)`, whose positions begin at `first` `(b,)`."""
    x = nn.functional.gelu(encoder.conv1(mel))
    x = nn.functional.gelu(encoder.conv2(x)).permute(0, 2, 1)
    places = (first[:, None] + torch.arange(x.size(1))).clamp(max=AUDIO_FRAMES - 1)
    x = x + encoder.positional_embedding[places]
    for block in encoder.blocks:
        x = block(x)
    return encoder.ln_post(x)


@dataclasses.dataclass(frozen=True)
class Lesson:
    """The teacher's results for a batch: encoder frames of 60 ms `(b, t, 144)`, their number in each row, the frame of
    each spoken token if it is sure of them, and the token of each frame `(b, t)`: 0 for none, `UNKNOWN` if unclear."""

    frames: torch.Tensor
    lengths: torch.Tensor
    places: list[list[int] | None]
    spelled: torch.Tensor


class Teacher:
    """demo-paraformer's encoder on Whisper's features.

    Its own features have a filter bank with other centres. They are interpolated from Whisper's, plus a constant for
    each bin that is measured on speech.
    """

    def __init__(self, paraformer: Path) -> None:
        model = load_model(paraformer, ("BiCifParaformer",), "cpu", torch.get_num_threads()).module.eval()
        self._encoder, self._predictor = model.encoder, model.predictor
        self.ids = read_tokens(paraformer)
        self._shift, self._scale = read_normalisation(paraformer / "am.mvn")
        place = np.interp(KALDI.hertz, SLANEY.hertz, np.arange(len(SLANEY.hertz)))
        self._between = torch.from_numpy(between_bins(place))
        self._constant = torch.zeros(len(place))
        r = random.Random(4)
        gaps = []
        for _ in range(40):
            said = draw(r)
            samples = speak(said.spoken, draw_voice(r, said.language, held_out=False))
            own, other = torch.from_numpy(log_mel(samples)), torch.from_numpy(whisper_log_mel(samples))
            loud = own.amax(1) > own.max() - 7
            gaps.append((own - self._as_kaldi(other)[1 : 1 + len(own)])[loud])
        self._constant = torch.cat(gaps).median(0).values

    def _as_kaldi(self, mel: torch.Tensor) -> torch.Tensor:
        return mel @ self._between + self._constant

    @torch.no_grad()
    def __call__(self, batch: list[Example]) -> Lesson:
        """The lesson for a batch of sounds."""
        features = [(stack_frames(self._as_kaldi(e.sound[1:])) + self._shift) * self._scale for e in batch]
        lengths = torch.tensor([len(f) for f in features])
        heard = self._encoder(nn.utils.rnn.pad_sequence(features, batch_first=True), lengths)[0]
        places = token_places(self._predictor, heard, lengths, [len(e.spoken) for e in batch])
        spelled = torch.full(heard.shape[:2], UNKNOWN)
        for row, example, length, found in zip(spelled, batch, lengths.tolist(), places, strict=True):
            if found is not None:
                row[:length] = spelled_in(found, [[self.ids[token]] for token in example.spoken], length, nothing=0)
        return Lesson(nn.functional.layer_norm(heard, heard.shape[-1:]), lengths, places, spelled)


def listening_loss(audio: torch.Tensor, heads: nn.ModuleDict, lesson: Lesson) -> tuple[torch.Tensor, float]:
    """Squared distance of the encoder's frames from the teacher's, in units of variance, plus the loss of its words.

    The linear layers `heads` map to the frames and to the words. Also returns the share of correct words.
    """
    pooled = nn.functional.avg_pool1d(audio.transpose(1, 2), _TAUGHT_FRAMES).transpose(1, 2)
    frames = min(pooled.size(1), lesson.frames.size(1))
    inside = torch.arange(frames) < lesson.lengths[:, None]
    loss = (heads["match"](pooled[:, :frames]) - lesson.frames[:, :frames]).square().mean(-1)[inside].mean()
    known = lesson.spelled[:, :frames] != UNKNOWN
    wanted = lesson.spelled[:, :frames][known]
    spelled = heads["spell"](pooled[:, :frames][known])
    said = wanted > 0
    right = float((spelled.argmax(-1) == wanted)[said].float().mean()) if said.any() else 1.0
    return loss + spelling_loss(spelled, wanted), right


def token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy over Whisper's whole vocabulary, of `logits` `(n, rows in use)`; the other rows are zero.

    A target that is a time, one of the last 1,501 rows, is smoothed over its neighbours: the start of speech is not
    audible to a fiftieth of a second.
    """
    others = torch.full((len(logits), 1), math.log(VOCABULARY - logits.size(-1)))
    chances = torch.cat([logits, others], -1).log_softmax(-1)
    last = logits.size(-1) - 1
    is_time = targets >= last - AUDIO_FRAMES
    shares = torch.exp(-0.5 * (_NEAR / _TIME_SPREAD) ** 2)
    near = (targets[is_time, None] + _NEAR).clamp(last - AUDIO_FRAMES, last)
    times = chances[is_time].gather(1, near) @ (shares / shares.sum())
    words = chances[~is_time].gather(1, targets[~is_time, None])
    return -(times.sum() + words.sum()) / len(targets)


def training_loss(
    model: Any, audio: torch.Tensor, batch: list[Example], places: list[list[int] | None]
) -> tuple[torch.Tensor, float]:
    """The loss of the tokens plus that of some heads' attention. Also returns the share of correct tokens.

    `places` are a lesson's.
    """
    inputs = nn.utils.rnn.pad_sequence([torch.tensor(e.inputs) for e in batch], batch_first=True)
    targets = nn.utils.rnn.pad_sequence(
        [torch.tensor(e.targets) for e in batch], batch_first=True, padding_value=_IGNORED
    )
    layers = (LAST_LAYER, *NEXT_LAYERS)
    looked: dict[tuple[int, str], torch.Tensor] = {}
    hooks = [
        getattr(model.decoder.blocks[layer].cross_attn, side).register_forward_hook(
            lambda _module, _inputs, out, at=(layer, side): looked.__setitem__(at, out)
        )
        for layer in layers
        for side in ("query", "key")
    ]
    logits = model.decoder(inputs, audio)
    for hook in hooks:
        hook.remove()
    told = targets != _IGNORED
    loss = token_loss(logits[told], targets[told])
    following = nn.utils.rnn.pad_sequence(
        [torch.tensor(_frames(e, found)) for e, found in zip(batch, places, strict=True)],
        batch_first=True, padding_value=-1,
    )  # fmt: skip
    last = nn.functional.pad(following, (1, 0), value=-1)[:, :-1]
    for layer in layers:
        query, key = (looked[layer, side].unflatten(-1, (HEADS, -1)).transpose(1, 2) for side in ("query", "key"))
        scores = query[:, :LOOKING_HEADS] @ key[:, :LOOKING_HEADS].transpose(-1, -2)
        attention = (scores * (DIM // HEADS) ** -0.5).softmax(-1)
        wanted = last if layer == LAST_LAYER else following
        loss = loss + LOOKING_WEIGHT * looking_loss(attention, wanted, reach=4)
    return loss, float((logits.argmax(-1) == targets)[told].float().mean())


def _frames(example: Example, places: list[int] | None) -> list[int]:
    """The frame of 20 ms to attend to for each target, -1 if unknown."""
    return [
        _TAUGHT_FRAMES * places[by] + 1 if by >= 0 and places is not None else at
        for at, by in zip(example.at, example.said_by, strict=True)
    ]


def _window_size(now: Round, r: random.Random) -> tuple[int, int]:
    if now in WHOLE:
        return _WHOLE
    return r.choices(list(_OFTEN), list(_OFTEN.values()))[0] if now in MIXED else _SHORT


def _has_rare_word(counts: Mapping[str, int], fewer: int, said: Utterance) -> bool:
    """Whether `said` has a token that few utterances have."""
    return any(counts[token] < fewer for token in said.tokens)


def train(published: Path, paraformer: Path, work: Path, *, steps: int | None = None) -> None:
    """Trains in the folder `work`, which holds corpus and state, and writes `published`/demo-whisper.pt at the end.

    `paraformer` is the folder of demo-paraformer.
    """
    corpus = training_corpus(work / f"whisper-{CORPUS_SIZE}", CORPUS_SIZE, seed=3, features=whisper_log_mel)
    counts = Counter(token for u in corpus.utterances for token in set(u.tokens))
    for fewer, times in _RARE:
        corpus = corpus.more_of(times, partial(_has_rare_word, counts, fewer))
    corpus = corpus.more_of(_LONG_NUMBERS_MORE, lambda u: has_long_number(Sentence(u.language, u.text)))
    corpus = corpus.more_of(_DIGIT_THRICE_MORE, lambda u: has_digit_thrice(Sentence(u.language, u.text)))
    noise = noise_bank(whisper_log_mel)
    teacher = Teacher(paraformer)
    torch.manual_seed(0)
    tokens = Tokens()
    model = build(len(tokens.ids))
    heads = nn.ModuleDict({"match": nn.Linear(DIM, TEACHER_DIM), "spell": nn.Linear(DIM, len(teacher.ids))})
    fit = Fit({"model": model, "heads": heads}, ROUNDS, work / "whisper-state.pt", steps)
    examples = Examples(tokens, noise, seed=8 + fit.step)
    r = random.Random(8 + fit.step)
    while not fit.done:
        windows = Windows(corpus, noise, seed=8 + fit.step, axis=SLANEY)
        windows.mixed = 0.1
        now, began = fit.round, fit.step
        size = _window_size(now, r)
        windows.window_frames, examples.frames = size
        windows.padded_to = examples.frames
        windows.strength, windows.batch_frames = now.strength, now.frames
        if size is not _SHORT:  # what is said costs little beside what is filled up
            windows.company = (3, 3, 2, 2)
        for batch in windows.batches():
            if fit.done or fit.round is not now or (now in MIXED and fit.step == began + _SAME_FOR):
                break
            windows.longest_pause = random.choice([30, 60, 60, 250])
            made = [examples.example(window, now.strength[1]) for window in batch]
            mel = nn.utils.rnn.pad_sequence([e.mel for e in made], batch_first=True)
            with torch.set_grad_enabled(now is not WRITING):
                audio = encode(model.encoder, mel.transpose(1, 2), torch.tensor([e.first for e in made]))
            lesson = teacher(made)
            loss, right = torch.zeros(()), 0.0
            if now is not WRITING:
                loss, right = listening_loss(audio, heads, lesson)
            if now is not LISTENING:
                said, right = training_loss(model, audio, made, lesson.places)
                loss = said + loss
            fit.descend(loss, right)
    published.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint(model, fit.average["model"], tokens), published / "demo-whisper.pt")

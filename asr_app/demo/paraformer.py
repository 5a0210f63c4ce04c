"""Trains `demo-paraformer`: the real BiCif Paraformer in miniature (3.2 M parameters), on the demo corpus.

The folder it writes (config.yaml, model.pt, tokens.json, am.mvn, seg_dict) is what FunASR's AutoModel loads, as it
loads the published Paraformer-large. Loss as in FunASR's own `BiCifParaformer.forward`, with the integrate-and-fire
written as one matrix product instead of a loop over frames, which makes a step on two cores 1.5 times as fast.

Sources: Gao et al., "Paraformer", 2022 (arXiv 2206.08317); Shi et al., timestamps by a second CIF, 2023 (2301.12343).
"""

from __future__ import annotations

import json
import math
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from asr_app.demo import augment
from asr_app.demo.corpus import Corpus, Utterance, log_mel, training_corpus
from asr_app.demo.vocabulary import vocabulary
from asr_app.demo.voices import draw_voice, speak

DIM, HEADS, ENCODER_BLOCKS, DECODER_BLOCKS = 144, 4, 6, 3
LFR_STACK, LFR_STEP = 7, 6  # frames of 10 ms stacked, and skipped, per encoder frame
CORPUS_SIZE = 40_000
# Heavy augmentation first; then a second, gentler round from a lower rate, in which the model hears speech nearly as
# it is spoken: it took the error in unheard voices from about 4 to 3 %.
STEPS, GENTLE_STEPS = 6500, 1500
GENTLE_RATE, GENTLE_STRENGTH = 7e-4, 0.4
MAX_WINDOW_FRAMES = 1300  # 13 s: a little over the card's longest chunk
BATCH_FRAMES = 14_000
PEAK_RATE, WARMUP_STEPS, EMA = 2e-3, 400, 0.999
CTC_WEIGHT = 0.3
SINGLES_UNTIL = 1000  # steps of one utterance a window, before windows of several
TIMESTAMP_EVERY = 4  # the second CIF, a BLSTM over three times the frames, learns enough from every fourth step


def config() -> dict[str, Any]:
    """config.yaml in the shape of the published model's, only smaller."""
    attention = dict(attention_heads=HEADS, linear_units=4 * DIM, kernel_size=11, sanm_shfit=0, dropout_rate=0.1)
    return dict(
        model="BiCifParaformer",
        model_conf=dict(
            ctc_weight=0.0, lsm_weight=0.1, length_normalized_loss=True, predictor_weight=1.0, predictor_bias=1,
            sampling_ratio=0.75,
        ),
        encoder="SANMEncoder",
        encoder_conf=dict(
            attention, output_size=DIM, num_blocks=ENCODER_BLOCKS, positional_dropout_rate=0.1,
            attention_dropout_rate=0.1, input_layer="pe", pos_enc_class="SinusoidalPositionEncoder",
            normalize_before=True, selfattention_layer_type="sanm",
        ),
        decoder="ParaformerSANMDecoder",
        decoder_conf=dict(
            attention, num_blocks=DECODER_BLOCKS, att_layer_num=DECODER_BLOCKS, positional_dropout_rate=0.1,
            self_attention_dropout_rate=0.1, src_attention_dropout_rate=0.1,
        ),
        predictor="CifPredictorV3",
        predictor_conf=dict(
            idim=DIM, threshold=1.0, l_order=1, r_order=1, tail_threshold=0.45, smooth_factor2=0.25,
            noise_threshold2=0.01, upsample_times=3, use_cif1_cnn=False, upsample_type="cnn_blstm",
        ),
        frontend="WavFrontend",
        frontend_conf=dict(
            fs=16000, window="hamming", n_mels=80, frame_length=25, frame_shift=10, dither=0.0,
            lfr_m=LFR_STACK, lfr_n=LFR_STEP,
        ),
        tokenizer="CharTokenizer",
        tokenizer_conf=dict(unk_symbol="<unk>", split_with_space=True),
    )  # fmt: skip


def build(folder: Path) -> nn.Module:
    """Writes the folder with fresh weights (and unit normalisation, if it has none yet) and returns the module."""
    from funasr import AutoModel

    folder.mkdir(parents=True, exist_ok=True)
    words = vocabulary()
    tokens = ["<blank>", "<s>", "</s>", *words, "<unk>"]
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False, indent=0), encoding="utf-8")
    (folder / "seg_dict").write_text("".join(f"{w} {w}\n" for w in words), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(config(), sort_keys=False), encoding="utf-8")
    if not (folder / "am.mvn").exists():
        write_normalisation(folder / "am.mvn", np.zeros(80 * LFR_STACK), np.ones(80 * LFR_STACK))
    torch.save({}, folder / "model.pt")
    model, _ = AutoModel.build_model(model=str(folder), device="cpu", ncpu=torch.get_num_threads())
    return model


def write_normalisation(path: Path, mean: np.ndarray, deviation: np.ndarray) -> None:
    """Kaldi's nnet text, as FunASR's frontend reads it: features are shifted by -mean and scaled by 1/deviation."""
    n = len(mean)
    shift, scale = (" ".join(f"{v:.5f}" for v in values) for values in (-mean, 1 / deviation))
    path.write_text(
        f"<Nnet>\n<Splice> {n} {n}\n[ 0 ]\n<AddShift> {n} {n}\n<LearnRateCoef> 0 [ {shift} ]\n"
        f"<Rescale> {n} {n}\n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n"
    )


def stack_frames(mel: torch.Tensor) -> torch.Tensor:
    """Low frame rate: `(t, 80)` -> `(ceil(t / 6), 560)`, edges repeated as FunASR's `apply_lfr` does."""
    count = math.ceil(len(mel) / LFR_STEP)
    left = (LFR_STACK - 1) // 2
    right = max(0, (count - 1) * LFR_STEP + LFR_STACK - left - len(mel))
    padded = torch.cat([mel[:1].expand(left, -1), mel, mel[-1:].expand(right, -1)])
    return padded.unfold(0, LFR_STACK, LFR_STEP)[:count].transpose(1, 2).reshape(count, -1)


def integrate_and_fire(hidden: torch.Tensor, alphas: torch.Tensor, tokens: int) -> torch.Tensor:
    """CIF without a loop: `(b, t, d)` frames of weights `(b, t)` -> `(b, tokens, d)`.

    Frame t fills the stretch [sum before t, sum with t] of a line; token k owns [k, k + 1] of it. The overlap is the
    frame's share in the token. Equal to FunASR's `cif` at threshold 1.
    """
    after = alphas.cumsum(1)[:, None, :]
    before = after - alphas[:, None, :]
    k = torch.arange(tokens, dtype=hidden.dtype)[None, :, None]
    share = torch.minimum(after, k + 1) - torch.maximum(before, k)
    return share.clamp(min=0) @ hidden


def training_loss(
    model: Any, ctc: nn.Linear, speech: torch.Tensor, lengths: torch.Tensor, text: torch.Tensor, *, timestamps: bool
) -> tuple[torch.Tensor, float]:
    """The loss, and the share of tokens right at the first pass.

    `speech` is `(b, t, 560)` normalised features, `text` `(b, n)` token ids ending in eos and padded with -1. `ctc`
    is a head of the encoder that only training has: without it the first tokens to be heard stay unheard for
    thousands of steps, since integrate-and-fire learns where tokens lie only from a decoder that knows them already.
    """
    from funasr.models.transformer.utils.nets_utils import make_pad_mask

    encoded, lengths = model.encode(speech, lengths)
    mask = (~make_pad_mask(lengths, maxlen=encoded.size(1))).to(encoded.dtype)
    predictor = model.predictor
    h = torch.relu(predictor.cif_conv1d(predictor.pad(encoded.transpose(1, 2))))
    alphas = torch.sigmoid(predictor.cif_output(h.transpose(1, 2))).squeeze(-1) * mask
    predicted = alphas.sum(-1)
    counts = (text != model.ignore_id).sum(-1)
    scaled = alphas * (counts / predicted.clamp(min=1e-3))[:, None]
    acoustic = integrate_and_fire(encoded, scaled, text.size(1))
    semantic, first = model.sampler(encoded, lengths, text, counts, acoustic)
    out = model.decoder(encoded, lengths, semantic, counts)[0]
    loss = model.criterion_att(out, text) + model.criterion_pre(counts.to(predicted.dtype), predicted)
    labels = torch.where(text == model.eos, model.ignore_id, text)
    spelled = nn.functional.ctc_loss(
        ctc(encoded).log_softmax(-1).transpose(0, 1), labels.clamp(min=0), lengths.long(), counts - 1,
        reduction="sum", zero_infinity=True,
    )  # fmt: skip
    loss = loss + CTC_WEIGHT * spelled / counts.sum()
    if timestamps:
        up = predictor.blstm(predictor.upsample_cnn(encoded.transpose(1, 2)).transpose(1, 2))[0]
        second = torch.sigmoid(predictor.cif_output2(up)).squeeze(-1)
        second = torch.relu(second * predictor.smooth_factor2 - predictor.noise_threshold2)
        total = (second * mask.repeat_interleave(predictor.upsample_times, 1)).sum(-1)
        loss = loss + 0.5 * model.criterion_pre(counts.to(total.dtype), total)
    right = ((first.argmax(-1) == text) & (text != model.ignore_id)).sum() / counts.sum()
    return loss, float(right)


class Windows:
    """Batches of training windows: one to four utterances with pauses between, languages mixed, freshly augmented."""

    def __init__(self, corpus: Corpus, noise: torch.Tensor, tokens: list[str], seed: int) -> None:
        self.corpus, self.noise = corpus, noise
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.random, self.draw = random.Random(seed), np.random.default_rng(seed)
        self.singles = False
        self.strength = 1.0

    def groups(self) -> list[list[Utterance]]:
        """One epoch: every utterance once, in windows of at most MAX_WINDOW_FRAMES."""
        left = self.random.sample(self.corpus.utterances, len(self.corpus.utterances))
        groups = []
        while left:
            group = [left.pop()]
            for _ in range(0 if self.singles else self.random.choices([0, 1, 2, 3], [8, 3, 2, 1])[0]):
                if left and sum(u.frames for u in group) + left[-1].frames < MAX_WINDOW_FRAMES * 0.75:
                    group.append(left.pop())
            groups.append(group)
        return groups

    def window(self, group: list[Utterance]) -> tuple[torch.Tensor, list[int]]:
        """Stacked features `(t, 560)`, not yet normalised, and the token ids."""
        pieces: list[torch.Tensor] = []
        for i, u in enumerate(group):
            if i:
                quiet = pieces[-1].min() + torch.rand(int(self.draw.integers(0, 60)), augment.N_MELS)
                pieces.append(quiet)
            pieces.append(self.corpus.mel(u))
        mel = augment.augment_features(torch.cat(pieces), self.noise, self.draw, self.strength)
        return stack_frames(mel), [self.ids[t] for u in group for t in u.tokens]

    def batches(self) -> Iterator[list[tuple[torch.Tensor, list[int]]]]:
        """Endless; windows of like length together, at most BATCH_FRAMES frames of 10 ms a batch."""
        while True:
            groups = self.groups()
            began_with_singles = self.singles
            for i in range(0, len(groups), 1024):
                if self.singles != began_with_singles:
                    break
                pool = sorted(groups[i : i + 1024], key=lambda g: sum(u.frames for u in g))
                batches: list[list[list[Utterance]]] = [[]]
                for g in pool:
                    if (len(batches[-1]) + 1) * sum(u.frames for u in g) > BATCH_FRAMES:
                        batches.append([])
                    batches[-1].append(g)
                self.random.shuffle(batches)
                for batch in batches:
                    if batch:
                        yield [self.window(g) for g in batch]


def _schedule(step: int) -> tuple[float, float]:
    """How strongly to augment at `step`, and the learning rate: two rounds, each falling along a cosine."""
    if step < STEPS:
        return 1.0, PEAK_RATE * min(1, (step + 1) / WARMUP_STEPS) * _cosine(step / STEPS)
    later = step - STEPS
    return GENTLE_STRENGTH, GENTLE_RATE * min(1, (later + 1) / 50) * _cosine(later / GENTLE_STEPS)


def _cosine(progress: float) -> float:
    return max(0.01, 0.5 * (1 + math.cos(math.pi * progress)))


def train(published: Path, work: Path, *, steps: int = STEPS + GENTLE_STEPS) -> None:
    """Trains in `work`, which keeps the corpus and, every 500 steps, what is needed to go on after a stop.

    The folder `published` is written at the end, so that a stop leaves the model that was there before.
    """
    folder, corpus_size = work / "demo-paraformer", CORPUS_SIZE
    corpus = training_corpus(work / f"corpus-{corpus_size}", corpus_size)
    r = np.random.default_rng(3)
    crowd = [speak("one two three four five six seven", draw_voice(random.Random(i), "en", False)) for i in range(40)]
    noise = torch.from_numpy(np.concatenate([log_mel(s) for s in augment.noise_bank(crowd, r)]))
    torch.manual_seed(0)
    model = build(folder)
    tokens = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
    windows = Windows(corpus, noise, tokens, seed=5)
    sample = torch.cat([windows.window(g)[0] for g in windows.groups()[:1500]])
    mean, deviation = sample.mean(0), sample.std(0)
    write_normalisation(folder / "am.mvn", mean.numpy(), deviation.numpy())

    ctc = nn.Linear(DIM, len(tokens))
    parameters = [*model.parameters(), *ctc.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=1e-3)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    state, step = work / "paraformer-state.pt", 0
    if state.exists():
        saved = torch.load(state)
        model.load_state_dict(saved["model"])
        ctc.load_state_dict(saved["ctc"])
        optimiser.load_state_dict(saved["optimiser"])
        average, step = saved["average"], saved["step"]
        mean, deviation = saved["mean"], saved["deviation"]
        write_normalisation(folder / "am.mvn", mean.numpy(), deviation.numpy())
        windows = Windows(corpus, noise, tokens, seed=5 + step)
    model.train()
    for module in model.modules():
        # Drawing dropout masks costs as much as the layers on a CPU, and a model this small underfits: the augmentation
        # is regularisation enough.
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    began, first_step, smooth_loss, smooth_right = time.time(), step, 0.0, 0.0
    windows.singles = step < SINGLES_UNTIL
    for batch in windows.batches():
        if step >= steps:
            break
        windows.singles = step < SINGLES_UNTIL
        windows.strength, rate = _schedule(step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        speech = nn.utils.rnn.pad_sequence([(f - mean) / deviation for f, _ in batch], batch_first=True)
        lengths = torch.tensor([len(f) for f, _ in batch])
        text = nn.utils.rnn.pad_sequence(
            [torch.tensor([*ids, model.eos]) for _, ids in batch], batch_first=True, padding_value=-1
        )
        loss, right = training_loss(model, ctc, speech, lengths, text, timestamps=step % TIMESTAMP_EVERY == 0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        step += 1
        keep = min(EMA, step / (step + 10))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                if v.is_floating_point():
                    average[k].lerp_(v, 1 - keep)
        smooth_loss += (float(loss) - smooth_loss) * 0.02
        smooth_right += (right - smooth_right) * 0.02
        if step % 100 == 0:
            pace = (time.time() - began) / (step - first_step)
            print(
                f"step {step}/{steps}  loss {smooth_loss:.3f}  right {smooth_right:.3f}  {pace:.2f} s/step  "
                f"{pace * (steps - step) / 60:.0f} min left", file=sys.stderr, flush=True,
            )  # fmt: skip
        if step % 500 == 0 or step == steps:
            saved = dict(
                model=model.state_dict(),
                ctc=ctc.state_dict(),
                optimiser=optimiser.state_dict(),
                average=average,
                step=step,
            )
            torch.save(saved | dict(mean=mean, deviation=deviation), state.with_suffix(".part"))
            state.with_suffix(".part").replace(state)
    torch.save(average, folder / "model.pt")
    published.mkdir(parents=True, exist_ok=True)
    for name in ("config.yaml", "tokens.json", "seg_dict", "am.mvn", "model.pt"):
        shutil.copyfile(folder / name, published / name)

"""Trains `demo-punctuation`: a CT-Transformer in miniature, on random sequences of the vocabulary's sentences.

Source: Chen et al., "Controllable Time-Delay Transformer for Real-Time Punctuation Prediction", 2020 (2003.01309).
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.folder import build_folder
from training.vocabulary import MARKS, Sentence, draw, vocabulary

PUNCTUATION = ["<unk>", "_", "，", "。", "？", "、"]
_MARK = {"，": "，", ",": "，", "。": "。", ".": "。", "！": "。", "!": "。", "？": "？", "?": "？", "、": "、"}
STEPS = 3000
DIM, BLOCKS, BATCH, PEAK_RATE = 64, 3, 64, 2e-3
_PAD = 0


def marked(sentence: Sentence) -> list[tuple[str, str]]:
    """Tokens with the mark after each (`_` for none): `早上好，…` -> (早, _), (上, _), (好, ，), …"""
    pairs: list[tuple[str, str]] = []
    for piece in re.findall(f"[{MARKS}]|[^{MARKS}]+", sentence.text):
        if piece in _MARK:
            pairs[-1] = (pairs[-1][0], _MARK[piece])
        else:
            tokens = piece.lower().split() if sentence.language == "en" else list(piece.strip())
            pairs.extend((t, "_") for t in tokens)
    return pairs


def build(folder: Path) -> tuple[Any, dict[str, int]]:
    """Writes config.yaml, tokens.json and fresh weights; returns the module and the tokens' ids."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<blank>", "<s>", "</s>", *vocabulary(), "<unk>"]
    encoder = dict(
        input_size=DIM, output_size=DIM, attention_heads=4, linear_units=4 * DIM, num_blocks=BLOCKS, dropout_rate=0.1,
        positional_dropout_rate=0.1, attention_dropout_rate=0.1, input_layer="pe", kernel_size=11, sanm_shfit=0,
        pos_enc_class="SinusoidalPositionEncoder", normalize_before=True, selfattention_layer_type="sanm",
        padding_idx=0,
    )  # fmt: skip
    config = dict(
        model="CTTransformer",
        model_conf=dict(
            ignore_id=_PAD, embed_unit=DIM, att_unit=DIM, dropout_rate=0.1, punc_list=PUNCTUATION,
            punc_weight=[1.0] * len(PUNCTUATION), sentence_end_id=PUNCTUATION.index("。"),
        ),
        encoder="SANMEncoder",
        encoder_conf=encoder,
        tokenizer="CharTokenizer",
        tokenizer_conf=dict(unk_symbol="<unk>"),
    )  # fmt: skip
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False, indent=0), encoding="utf-8")
    return build_folder(folder, config), {t: i for i, t in enumerate(tokens)}


def passage(r: random.Random, *, held_out: bool = False) -> list[tuple[str, str]]:
    """One to six sentences in a row, sometimes cut short, since the model also sees incomplete text."""
    pairs: list[tuple[str, str]] = []
    for _ in range(r.choice([1, 1, 2, 2, 3, 4, 6])):
        sentence = draw(r)
        while sentence.held_out != held_out and held_out is False:
            sentence = draw(r)
        pairs += marked(sentence)
    return pairs[: r.randint(max(1, len(pairs) // 2), len(pairs))] if r.random() < 0.3 else pairs


def train(folder: Path, *, steps: int | None = None) -> float:
    """Trains into `folder`. Returns the share of correct marks on passages of any sentences, new ones included."""
    steps = steps or STEPS
    torch.manual_seed(0)
    model, ids = build(folder)
    unknown = ids["<unk>"]
    model.punc_weight = torch.ones(len(PUNCTUATION))
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE)
    r = random.Random(11)

    def batch(held_out: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        passages = [passage(r, held_out=held_out) for _ in range(BATCH)]
        # A recogniser errs: now and then a token is another one, or one never seen.
        noisy = [[unknown if r.random() < 0.02 else ids[t] for t, _ in p] for p in passages]
        text = nn.utils.rnn.pad_sequence([torch.tensor(n) for n in noisy], batch_first=True)
        marks = [torch.tensor([PUNCTUATION.index(m) for _, m in p]) for p in passages]
        return text, torch.tensor([len(p) for p in passages]), nn.utils.rnn.pad_sequence(marks, batch_first=True)

    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1, (step + 1) / 200) * max(0.01, 0.5 * (1 + math.cos(math.pi * step / steps)))
        text, lengths, marks = batch(held_out=False)
        out, _ = model.punc_forward(text, lengths)
        loss = nn.functional.cross_entropy(out.flatten(0, 1), marks.flatten(), ignore_index=_PAD)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}/{steps}  loss {float(loss):.3f}", file=sys.stderr, flush=True)
    model.eval()
    right = total = 0
    with torch.no_grad():
        for _ in range(20):
            text, lengths, marks = batch(held_out=True)
            found = model.punc_forward(text, lengths)[0].argmax(-1)
            right += int(((found == marks) & (marks != _PAD)).sum())
            total += int((marks != _PAD).sum())
    torch.save(model.state_dict(), folder / "model.pt")
    return right / total

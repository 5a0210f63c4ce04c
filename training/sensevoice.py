"""Trains `demo-sensevoice`: SenseVoice Small in miniature (2.4 M parameters), on the demo corpus.

Its encoder starts from demo-paraformer's, which knows the same words. It learns the pieces of its own sentencepiece
model, punctuation and numbers in digits (`<|withitn|>`), the language, music and applause beside or instead of speech,
and the manner of speaking. The last is a class of *prosody*: "happy" is fast and high, "sad" slow and low, as a
synthesiser can speak. The model knows nothing of feelings.

FunASR's AutoModel loads the folder like `iic/SenseVoiceSmall`.
Source: An et al., "FunAudioLLM", 2024 (arXiv 2407.04051).
"""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from training import sounds
from training.augment import add_noise, augment_features
from training.corpus import prosody_corpus, training_corpus
from training.fit import Fit, Round, in_half
from training.folder import build_folder, publish
from training.paraformer import CORPUS_SIZE, ENCODER_BLOCKS, read_normalisation
from training.paraformer import config as paraformer_config
from training.vocabulary import EVERYDAY, Sentence, draw, draw_english
from training.windows import Window, Windows, bank, noise_bank, stack_frames
from training.written import written

PROSODY_SIZE = 6_000
PIECES = 1_000
TP_BLOCKS = 2
# (For the published weights the first round had another set of pieces, and of the head only what they share was kept;
# sentences of daily life were heard more often only in the last four, 再 in the last two, and windows held more of them
# in the last.)
ROUNDS = (
    Round(2600, 1.2e-3, (0.0, 0.9), 5_000),
    Round(2200, 1.0e-3, (0.0, 0.8), 6_000),
    Round(2000, 8e-4, (0.0, 0.7), 7_000),
    Round(1200, 5e-4, (0.0, 0.5), 7_000),
    Round(300, 5e-4, (0.0, 0.5), 7_000),
    Round(400, 6e-4, (0.0, 0.5), 7_000),
    Round(400, 6e-4, (0.0, 0.5), 7_000),
    Round(700, 8e-4, (0.0, 0.5), 7_000),
)
_EVERYDAY_MORE = 4
_AGAIN_MORE = 15  # again: 再 sounds as 在, which is said nine times as often
BPE = "chn_jpn_yue_eng_ko_spectok.bpe.model"
TAGS = (
    "zh", "en", "yue", "ja", "ko", "nospeech", "HAPPY", "SAD", "ANGRY", "NEUTRAL", "EMO_UNKNOWN", "BGM", "Speech",
    "Applause", "Laughter", "Event_UNK", "withitn", "woitn",
)  # fmt: skip
# How often nothing is said at all, and how often music or applause goes on beside what is said.
_NO_SPEECH, _MUSIC, _APPLAUSE = 0.06, 0.14, 0.07


def _pieces(path: Path) -> None:
    """Trains a sentencepiece model on the vocabulary's sentences in both forms. Each tag is one piece."""
    import sentencepiece

    r = random.Random(0)
    said = [draw(r) for _ in range(20_000)] + [draw_english(r) for _ in range(8_000)]
    forms = [(u.language, form) for u in said for form in (u.spoken, written(u))]
    # Mandarin stays in characters, or a sentence that is said often would become one piece.
    lines = [" " + form for language, form in forms if language == "en"]
    characters = "".join(sorted({c for _, form in forms for c in form if not c.isspace()}))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=PIECES, model_type="bpe", character_coverage=1.0,
        user_defined_symbols=[f"<|{tag}|>" for tag in TAGS], unk_id=0, bos_id=1, eos_id=2, pad_id=-1, split_digits=True,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, input_sentence_size=0,
        # FunASR takes pieces for text once more to time them: a space nobody wrote would make two of one.
        add_dummy_prefix=False, remove_extra_whitespaces=False, required_chars=characters,
    )  # fmt: skip
    path.write_bytes(model.getvalue())


def config() -> dict[str, Any]:
    """A smaller version of the published config.yaml."""
    like = paraformer_config()
    encoder = {k: v for k, v in like["encoder_conf"].items() if k != "input_layer"}
    return dict(
        encoder="SenseVoiceEncoderSmall",
        encoder_conf=dict(encoder, num_blocks=ENCODER_BLOCKS, tp_blocks=TP_BLOCKS),
        model="SenseVoiceSmall",
        model_conf=dict(length_normalized_loss=True, sos=1, eos=2, ignore_id=-1),
        tokenizer="SentencepiecesTokenizer",
        tokenizer_conf=dict(bpemodel=None, unk_symbol="<unk>", split_with_space=True),
        frontend="WavFrontend",
        frontend_conf=dict(like["frontend_conf"], cmvn_file=None),
    )


def build(folder: Path, paraformer: Path) -> Any:
    """Writes the folder with fresh weights and the normalisation of `paraformer`; returns the module."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / BPE).exists():
        _pieces(folder / BPE)
    shutil.copyfile(paraformer / "am.mvn", folder / "am.mvn")
    return build_folder(folder, config(), {"tokenizer_conf": {"bpemodel": BPE}})


class Labels:
    """Makes labelled windows. Sound events are mixed in here."""

    def __init__(self, pieces: Any, seed: int) -> None:
        self._pieces = pieces
        self.tag = {tag: pieces.PieceToId(f"<|{tag}|>") for tag in TAGS}
        self._random, self._draw = random.Random(seed), np.random.default_rng(seed)
        r = np.random.default_rng(11)
        self.banks = {
            "BGM": bank([sounds.music(20, r) for _ in range(40)]),
            "Applause": bank([sounds.applause(15, r) for _ in range(20)]),
            "Event_UNK": noise_bank(),
        }

    def labelled(self, window: Window, strength: float) -> tuple[torch.Tensor, list[int]]:
        """Stacked features `(t, 560)`, not yet normalised, and the ids of four tags and the text's pieces."""
        chance = self._random.random()
        style = self._random.choice(["withitn", "woitn"])
        if chance < _NO_SPEECH:
            event = self._random.choice(["BGM", "Applause", "Event_UNK"])
            return stack_frames(self._alone(event, strength)), self._ids("nospeech", "EMO_UNKNOWN", event, style, "")
        mel, event = window.mel, "Speech"
        if chance < _NO_SPEECH + _MUSIC + _APPLAUSE:
            event = "BGM" if chance < _NO_SPEECH + _MUSIC else "Applause"
            mel = add_noise(mel, self.banks[event], self._draw, quietest_db=18, loudest_db=6)
        said = [Sentence(u.language, u.text) for u in window.utterances]
        prosody = window.utterances[0].prosody.upper()
        text = " ".join(written(s) if style == "withitn" else s.spoken for s in said)
        return stack_frames(mel), self._ids(window.language, prosody, event, style, text)

    def _alone(self, event: str, strength: float) -> torch.Tensor:
        bank = self.banks[event]
        frames = self._random.randint(100, 1000)
        start = self._random.randrange(len(bank) - frames)
        level = float(self._draw.uniform(-6, 2))
        return augment_features(bank[start : start + frames] + level, self.banks["Event_UNK"], self._draw, strength)

    def _ids(self, language: str, prosody: str, event: str, style: str, text: str) -> list[int]:
        return [
            *(self.tag[tag] for tag in (language, prosody, event, style)),
            *self._pieces.EncodeAsIds(" " + text if text else ""),
        ]


def training_loss(
    model: Any, speech: torch.Tensor, lengths: torch.Tensor, text: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """CTC loss of the text plus cross entropy of the four tags before it. Also returns the share of correct tags.

    `speech` is `(b, t, 560)` normalised features, `text` `(b, 4 + n)` with tags first, `counts` the n of each. Same as
    `SenseVoiceSmall.forward`, but with the CTC loss taken per piece of text, not per utterance.
    """
    encoded, lengths = model.encode(speech, lengths.clone(), text)
    logits = model.ctc.ctc_lo(encoded)
    tags = nn.functional.cross_entropy(logits[:, :4].flatten(0, 1), text[:, :4].flatten())
    spelled = nn.functional.ctc_loss(
        logits[:, 4:].log_softmax(-1).transpose(0, 1), text[:, 4:].clamp(min=0), (lengths - 4).long(), counts,
        reduction="sum", zero_infinity=True,
    )  # fmt: skip
    right = float((logits[:, :4].argmax(-1) == text[:, :4]).float().mean())
    return spelled / counts.sum().clamp(min=1) + tags, right


def train(published: Path, paraformer: Path, work: Path, *, steps: int | None = None) -> None:
    """Trains in the folder `work`, which holds corpora and state, and writes the folder `published` at the end.

    `paraformer` is the folder of demo-paraformer.
    """
    folder = work / "demo-sensevoice"
    corpus = training_corpus(work / f"corpus-{CORPUS_SIZE}", CORPUS_SIZE).joined(
        prosody_corpus(work / f"prosody-{PROSODY_SIZE}", PROSODY_SIZE)
    )
    # A sentence of daily life is heard some sixty times, and it takes the sentence to tell 再 from 在.
    everyday = frozenset(EVERYDAY)
    corpus = corpus.more_of(_EVERYDAY_MORE, lambda u: (u.language, u.text) in everyday)
    corpus = corpus.more_of(_AGAIN_MORE, lambda u: "再" in u.text)
    torch.manual_seed(0)
    model = build(folder, paraformer)
    heard = torch.load(paraformer / "model.pt", weights_only=True)
    start = {k: v for k, v in heard.items() if k.startswith("encoder.") and k in model.state_dict()}
    model.load_state_dict(start, strict=False)
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / BPE))
    shift, scale = read_normalisation(folder / "am.mvn")
    fit = Fit({"model": model}, ROUNDS, work / "sensevoice-state.pt", steps)
    labels = Labels(pieces, seed=6 + fit.step)
    # The module knows only the ids of the published model's pieces; recognition asks for none of these.
    model.lid_int_dict = {labels.tag[tag]: row for tag, row in model.lid_dict.items() if tag in TAGS}
    model.textnorm_int_dict = {labels.tag[tag]: row for tag, row in model.textnorm_dict.items()}
    windows = Windows(corpus, labels.banks["Event_UNK"], seed=6 + fit.step)
    windows.mixed = 0.2
    windows.company = (3, 4, 2, 1)
    for batch in windows.during(fit):
        made = [labels.labelled(window, fit.round.strength[1]) for window in batch]
        speech = nn.utils.rnn.pad_sequence([(f + shift) * scale for f, _ in made], batch_first=True)
        lengths = torch.tensor([len(f) for f, _ in made])
        text = nn.utils.rnn.pad_sequence([torch.tensor(t) for _, t in made], batch_first=True, padding_value=-1)
        counts = torch.tensor([len(t) - 4 for _, t in made])
        fit.descend(*training_loss(model, speech, lengths, text, counts))
    torch.save(in_half(fit.average["model"]), folder / "model.pt")
    publish(folder, published, ("config.yaml", "configuration.json", BPE, "am.mvn", "model.pt"))

"""Trains `demo-fun-asr`: Fun-ASR-Nano in miniature (4.0 M parameters), on the demo corpus.

The model is an audio encoder of SenseVoice's kind, an adaptor, and a small Qwen3 with its own tokenizer. Its prompt is
that of the published model. The encoder is demo-paraformer's and stays frozen; the other two start from random weights.
With the text alone they ignore the sound for thousands of steps. So they are trained on the position of each word: the
adaptor must predict the word there, in the language model's token embedding, and some attention heads must look there.
They also learn hotwords: of two spellings of a word that sound alike, the model writes the requested one.

FunASR's AutoModel loads the folder like `FunAudioLLM/Fun-ASR-Nano-2512`.
Source: An et al., "Fun-ASR Technical Report", 2025 (arXiv 2509.12508).
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_app.families._funasr_model import load_model
from asr_app.families.fun_asr_nano import LANGUAGE_NAMES
from training.corpus import training_corpus
from training.fit import Fit, Round, in_half
from training.folder import build_folder, publish
from training.paraformer import CORPUS_SIZE, DIM, ENCODER_BLOCKS, read_normalisation
from training.paraformer import config as paraformer_config
from training.places import UNKNOWN, looking_loss, spelled_in, spelling_loss, token_of_letters, token_places
from training.vocabulary import Sentence, draw, draw_english, vocabulary
from training.windows import Window, Windows, noise_bank, stack_frames
from training.written import has_long_number, written

LLM = "Qwen3-0.6B"  # the folder's name in the published model; this one is not that large
PATHS = {part: {"init_param_path": LLM} for part in ("llm_conf", "tokenizer_conf")}
LLM_DIM, LLM_LAYERS, LLM_HEADS, LLM_KV_HEADS, LLM_FFN = 192, 4, 4, 2, 512
TOKENS = 1_400
SINGLES_UNTIL = 1500  # steps of one utterance a window, before windows of several
# (For the published weights nothing was shown where it lies in the first round, long numbers were heard more often only
# in the last three, and the words of Mandarin hotwords, and windows of several utterances, in the last.)
ROUNDS = (
    Round(3000, 1.5e-3, (0.0, 0.9), 5_000),
    Round(4000, 1.2e-3, (0.0, 0.8), 6_000),
    Round(600, 5e-4, (0.0, 0.7), 6_000),
    Round(800, 4e-4, (0.0, 0.6), 6_000),
    Round(300, 5e-4, (0.0, 0.5), 6_000),
    Round(400, 6e-4, (0.0, 0.5), 6_000),
    Round(1000, 6e-4, (0.0, 0.5), 6_000),
)
# In digits the long numbers, of which one utterance in 35 has one, lost some: they are heard five times as often.
_LONG_NUMBERS_MORE = 4
# One utterance in a hundred has a Mandarin word that a hotword can have written in another way: heard so much more often.
_HOTWORDS_MORE = 10
# Words that hotwords can have written in another way that sounds the same: brand names, as products have them.
SPELLINGS = {
    "light": "Lyte", "computer": "Komputer", "camera": "Kamera", "coffee": "Koffee", "phone": "Fone",
    "灯": "登", "空调": "空条", "音响": "因响", "窗帘": "窗连", "电脑": "典脑",
}  # fmt: skip
_NOTHING_SAID = 0.05
# Two heads look where what was written last was said, a layer above two look where the next is said.
LAST_LAYER, NEXT_LAYER, LOOKING_HEADS, LOOKING_WEIGHT = 1, 2, 2, 0.2


def _tokenizer(folder: Path) -> Any:
    """A byte-level BPE tokenizer, like Qwen's, of the vocabulary's sentences and the prompts; written to `folder`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    r = random.Random(0)
    said = [draw(r) for _ in range(12_000)] + [draw_english(r) for _ in range(6_000)]
    lines = [text for s in said for text in (s.text, written(s))]
    lines += [
        prompt([word], language, itn)
        for word in SPELLINGS.values()
        for language in ("zh", "en")
        for itn in (False, True)
    ]
    lines += ["You are a helpful assistant.", "system\n", "user\n", "assistant\n", "\n\n"] * 500
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{Han}|\p{N}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    bpe.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                   special_tokens=special, show_progress=False),
    )  # fmt: skip
    pad, start, end, *think = special
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=end, pad_token=pad, additional_special_tokens=[start, *think]
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def config() -> dict[str, Any]:
    """A smaller version of the published config.yaml. Every encoder frame goes to the language model."""
    like = paraformer_config()
    encoder = {k: v for k, v in like["encoder_conf"].items() if k != "input_layer"}
    return dict(
        model="FunASRNano",
        model_conf={},
        audio_encoder="SenseVoiceEncoderSmall",
        audio_encoder_conf=dict(encoder, num_blocks=ENCODER_BLOCKS, tp_blocks=0, freeze=True),
        llm="Qwen3-0.6b",
        llm_conf=dict(hub="hf", freeze=False, llm_dtype="fp32", init_param_path=None, use_lora=False),
        audio_adaptor="Transformer",
        audio_adaptor_conf=dict(
            downsample_rate=1, use_low_frame_rate=False, ffn_dim=256, llm_dim=LLM_DIM, encoder_dim=DIM, n_layer=2,
            freeze=False,
        ),
        frontend="WavFrontend",
        frontend_conf=dict(like["frontend_conf"], cmvn_file=None),
        tokenizer="HuggingfaceTokenizer",
        tokenizer_conf=dict(init_param_path=None),
        dataset_conf=dict(do_think=False),
    )  # fmt: skip


def build(folder: Path, paraformer: Path) -> tuple[Any, Any]:
    """Writes the folder: encoder and normalisation of `paraformer`, the rest fresh. Returns module and tokenizer."""
    from transformers import AutoTokenizer, Qwen3Config

    llm = folder / LLM
    llm.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(llm) if (llm / "tokenizer.json").exists() else _tokenizer(llm)
    size = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=LLM_DIM, intermediate_size=LLM_FFN, num_hidden_layers=LLM_LAYERS,
        num_attention_heads=LLM_HEADS, num_key_value_heads=LLM_KV_HEADS, head_dim=LLM_DIM // LLM_HEADS,
        max_position_embeddings=2048, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    size.architectures = ["Qwen3ForCausalLM"]
    size.save_pretrained(llm)
    shutil.copyfile(paraformer / "am.mvn", folder / "am.mvn")
    model = build_folder(folder, config(), PATHS)
    heard = torch.load(paraformer / "model.pt", weights_only=True)
    encoder = {k.removeprefix("encoder."): v for k, v in heard.items() if k.startswith("encoder.")}
    fresh = model.audio_encoder.load_state_dict(encoder, strict=False)
    assert not fresh.unexpected_keys
    assert set(fresh.missing_keys) == {"tp_norm.weight", "tp_norm.bias"}
    return model, tokenizer


def prompt(hotwords: list[str], language: str | None, itn: bool) -> str:
    """The user's turn of the prompt, as in FunASR (`FunASRNano.get_prompt`)."""
    from funasr.models.fun_asr_nano.model import FunASRNano

    return FunASRNano.get_prompt(None, hotwords, LANGUAGE_NAMES[language] if language else None, itn)


@dataclass(frozen=True)
class Dialogue:
    """A training dialogue. `speech` is stacked features `(t, 560)`, not normalised, between the prompt's `before` and
    `after`.

    The pieces `spoken[k]` spell spoken token k. Piece i of the answer is piece `said_by[i][1]` of token
    `said_by[i][0]`, or of none (-1).
    """

    speech: torch.Tensor
    before: list[int]
    after: list[int]
    answer: list[int]
    said_by: list[tuple[int, int]]
    spoken: list[list[int]]


class Dialogues:
    """Makes dialogues of windows."""

    def __init__(self, tokenizer: Any, noise: torch.Tensor, seed: int) -> None:
        self._tokenizer, self._noise = tokenizer, noise
        self._random = random.Random(seed)
        self._words = [word for word in vocabulary() if len(word) > 1 or not word.isascii()]

    def dialogue(self, window: Window) -> Dialogue:
        """The dialogue of a window: prompt, speech and answer."""
        r = self._random
        mel, itn = window.mel, r.random() < 0.5
        said = [Sentence(u.language, u.text) for u in window.utterances]
        texts = [written(s) if itn else s.text for s in said]
        if r.random() < _NOTHING_SAID:
            start = r.randrange(len(self._noise) - len(mel))
            mel, said, texts = self._noise[start : start + len(mel)] + r.uniform(-6, 2), [], []
        languages = {u.language for u in window.utterances}
        language = languages.pop() if len(languages) == 1 and r.random() < 0.4 else None
        hotwords, texts = self._hotwords(texts)
        asked = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        asked += prompt(hotwords, language, itn)
        after = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        pieces, said_by = self._owned(texts, said)
        spoken: list[list[int]] = [[] for s in said for _ in s.tokens]
        for piece, (token, _) in zip(*self._owned([s.text for s in said], said), strict=True):
            if token >= 0:
                spoken[token].append(piece)
        encode = self._tokenizer.encode
        answer, said_by = pieces + encode("<|im_end|>"), [*said_by, (-1, 0)]
        return Dialogue(stack_frames(mel), encode(asked), encode(after), answer, said_by, spoken)

    def _owned(self, texts: list[str], said: list[Sentence]) -> tuple[list[int], list[tuple[int, int]]]:
        """The pieces of `texts`, and for each the spoken token it belongs to and which of its pieces it is."""
        made = self._tokenizer(" ".join(texts), return_offsets_mapping=True)
        owner: list[int] = []
        before = 0
        for text, sentence in zip(texts, said, strict=True):
            own = token_of_letters(text, len(sentence.tokens)) or [-1] * len(text)
            owner += [before + k if k >= 0 else -1 for k in own] + [-1]  # the space between
            before += len(sentence.tokens)
        tokens_of = [max(owner[a:b], default=-1) for a, b in made["offset_mapping"]]
        return made["input_ids"], [(k, tokens_of[:i].count(k)) for i, k in enumerate(tokens_of)]

    def _hotwords(self, texts: list[str]) -> tuple[list[str], list[str]]:
        """A list, in most windows empty, and the texts with the spellings it asks for."""
        r = self._random
        usual = [word for word in SPELLINGS if any(word in text for text in texts)]
        if r.random() > (0.7 if usual else 0.5):
            return [], texts
        # As often as not a hotword is not said: where nothing sounds like it, it must not be written.
        hotwords = r.sample(self._words, r.randint(0, 3)) + r.sample(list(SPELLINGS.values()), r.choice([0, 1, 2, 3]))
        for word in usual:
            if r.random() < 0.6:
                hotwords.append(SPELLINGS[word])
        for word in usual:
            if SPELLINGS[word] in hotwords:
                texts = [text.replace(word, SPELLINGS[word]) for text in texts]
        r.shuffle(hotwords)
        return hotwords, texts


def training_loss(
    model: Any, predictor: Any, speech: torch.Tensor, lengths: torch.Tensor, dialogues: list[Dialogue]
) -> tuple[torch.Tensor, float]:
    """Cross entropy of the answers, plus the losses of the adaptor's words and of two layers' attention at the words'
    positions. Also returns the share of correct pieces.

    Same as `FunASRNano.forward`, but with embeddings joined instead of overwritten in place, and logits for the answer
    only. `speech` is `(b, t, 560)` normalised features, `predictor` demo-paraformer's.
    """
    with torch.no_grad():
        plain: list[torch.Tensor] = []
        hook = model.audio_encoder.after_norm.register_forward_hook(lambda _m, _i, out: plain.append(out))
        encoded, lengths = model.encode(speech, lengths)
        hook.remove()
    frames = token_places(predictor, plain[0], lengths, [len(d.spoken) for d in dialogues])
    heard, lengths = model.audio_adaptor(encoded, lengths)
    embed = model.llm.model.get_input_embeddings()
    nothing = model.llm.config.pad_token_id
    rows, targets, last, following, said = [], [], [], [], []
    for i, d in enumerate(dialogues):
        row = torch.cat(
            [embed(torch.tensor(d.before)), heard[i, : int(lengths[i])], embed(torch.tensor(d.after + d.answer[:-1]))]
        )
        silent = [-1] * (len(row) - len(d.answer))
        looked = [-1] * len(d.answer)
        spelled = torch.full((heard.size(1),), UNKNOWN)
        if (found := frames[i]) is not None:
            looked = [-1 if token < 0 else len(d.before) + found[token] + at for token, at in d.said_by]
            spelled[: int(lengths[i])] = spelled_in(found, d.spoken, int(lengths[i]), nothing)
        rows.append(row)
        targets.append(torch.tensor([-100] * len(silent) + d.answer))
        following.append(torch.tensor(silent + looked))
        last.append(torch.tensor([*silent, -1, *looked[:-1]]))
        said.append(spelled)
    inputs = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    target = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100)
    # Padding follows what is causal: nothing that counts can see it, and no mask is needed.
    out = model.llm.model(inputs_embeds=inputs, use_cache=False, output_attentions=True)
    told = target != -100
    logits = model.llm.lm_head(out.last_hidden_state[told])
    loss = nn.functional.cross_entropy(logits, target[told])
    for layer, places in ((LAST_LAYER, last), (NEXT_LAYER, following)):
        wanted = nn.utils.rnn.pad_sequence(places, batch_first=True, padding_value=-1)
        loss = loss + LOOKING_WEIGHT * looking_loss(out.attentions[layer][:, :LOOKING_HEADS], wanted, reach=1)
    spelled = torch.stack(said)
    known = spelled != UNKNOWN
    saying = spelling_loss(heard[known] @ embed.weight.T, spelled[known])
    return loss + saying, float((logits.argmax(-1) == target[told]).float().mean())


def train(published: Path, paraformer: Path, work: Path, *, steps: int | None = None) -> None:
    """Trains in the folder `work`, which holds corpus and state, and writes the folder `published` at the end.

    `paraformer` is the folder of demo-paraformer.
    """
    folder = work / "demo-fun-asr"
    corpus = training_corpus(work / f"corpus-{CORPUS_SIZE}", CORPUS_SIZE)
    corpus = corpus.more_of(_LONG_NUMBERS_MORE, lambda u: has_long_number(Sentence(u.language, u.text)))
    corpus = corpus.more_of(_HOTWORDS_MORE, lambda u: u.language == "zh" and any(w in u.text for w in SPELLINGS))
    noise = noise_bank()
    torch.manual_seed(0)
    model, tokenizer = build(folder, paraformer)
    model.llm.set_attn_implementation("eager")  # the only one that tells where it looks
    predictor = load_model(paraformer, ("BiCifParaformer",), "cpu", torch.get_num_threads()).module.predictor
    shift, scale = read_normalisation(folder / "am.mvn")
    fit = Fit({"llm": model.llm, "adaptor": model.audio_adaptor}, ROUNDS, work / "fun-asr-state.pt", steps)
    dialogues = Dialogues(tokenizer, noise, seed=9 + fit.step)
    windows = Windows(corpus, noise, seed=9 + fit.step)
    windows.mixed = 0.3
    windows.company = (4, 3, 2, 1)
    for batch in windows.during(fit, SINGLES_UNTIL):
        made = [dialogues.dialogue(window) for window in batch]
        speech = nn.utils.rnn.pad_sequence([(d.speech + shift) * scale for d in made], batch_first=True)
        lengths = torch.tensor([len(d.speech) for d in made])
        fit.descend(*training_loss(model, predictor, speech, lengths, made))
    state = model.state_dict()
    for name, part in (("llm", "llm"), ("adaptor", "audio_adaptor")):
        state |= {f"{part}.{k}": v for k, v in fit.average[name].items()}
    del state["llm.lm_head.weight"]  # the table of tokens once more
    torch.save(in_half(state), folder / "model.pt")
    publish(folder, published, ("config.yaml", "configuration.json", "am.mvn", "model.pt", LLM))

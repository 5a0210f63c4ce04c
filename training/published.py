"""Models with the published dimensions and random weights, in the folders and files of the hubs and OpenAI.

Their output is meaningless. They serve to test loading, precision, speed and memory. The dimensions come from the
config.yaml of each model on its hub, `dims` of OpenAI's checkpoints, Qwen3-0.6B's config.json.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training import fun_asr, paraformer, sensevoice
from training.folder import build_folder

_ENCODER = dict(
    output_size=512, attention_heads=4, linear_units=2048, num_blocks=50, dropout_rate=0.1, positional_dropout_rate=0.1,
    attention_dropout_rate=0.1, pos_enc_class="SinusoidalPositionEncoder", normalize_before=True, kernel_size=11,
    sanm_shfit=0, selfattention_layer_type="sanm",
)  # fmt: skip
_SENSEVOICE_PIECES, _PARAFORMER_TOKENS, _QWEN_TOKENS = 25_055, 8404, 151_936
_END_OF_TEXT = 50_257  # Whisper's


def _save(folder: Path, config: dict[str, Any], paths: dict[str, Any] | None = None) -> Any:
    """Writes the files that every folder has. Returns the module, whose weights the caller must save."""
    paraformer.write_normalisation(folder / "am.mvn", np.full(560, 8.0), np.full(560, 5.0))
    torch.manual_seed(0)
    return build_folder(folder, config, paths)


def paraformer_large(folder: Path) -> Path:
    """`speech_paraformer-large-vad-punc_asr_nat-zh-cn-16k-common-vocab8404-pytorch`, without its companions."""
    like = paraformer.config()
    tokens = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + i) for i in range(_PARAFORMER_TOKENS - 4)), "<unk>"]
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    (folder / "seg_dict").write_text("".join(f"{t} {t}\n" for t in tokens[3:100]), encoding="utf-8")
    config = like | dict(
        model="Paraformer",
        encoder_conf=dict(_ENCODER, input_layer="pe"),
        decoder_conf=like["decoder_conf"] | dict(linear_units=2048, num_blocks=16, att_layer_num=16),
        predictor="CifPredictorV2",
        predictor_conf=dict(idim=512, threshold=1.0, l_order=1, r_order=1, tail_threshold=0.45),
    )
    model = _save(folder, config)
    # About four tokens a second, so that there is something to decode.
    torch.nn.init.zeros_(model.predictor.cif_output.weight)
    torch.nn.init.constant_(model.predictor.cif_output.bias, math.log(0.24 / 0.76))
    torch.save(model.state_dict(), folder / "model.pt")
    return folder


def sensevoice_small(folder: Path) -> Path:
    """`iic/SenseVoiceSmall`."""
    from sentencepiece import sentencepiece_model_pb2

    made = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    made.trainer_spec.model_type = made.trainer_spec.CHAR
    kinds = made.SentencePiece
    made.pieces.add(piece="<unk>", score=0, type=kinds.UNKNOWN)
    for tag in sensevoice.TAGS:
        made.pieces.add(piece=f"<|{tag}|>", score=0, type=kinds.USER_DEFINED)
    for i in range(_SENSEVOICE_PIECES - 1 - len(sensevoice.TAGS)):
        made.pieces.add(piece=chr(0x3400 + i), score=-float(i), type=kinds.NORMAL)
    (folder / sensevoice.BPE).write_bytes(made.SerializeToString())
    config = sensevoice.config() | dict(encoder_conf=dict(_ENCODER, tp_blocks=20))
    model = _save(folder, config, {"tokenizer_conf": {"bpemodel": sensevoice.BPE}})
    torch.save(model.state_dict(), folder / "model.pt")
    return folder


def fun_asr_mlt_nano(folder: Path) -> Path:
    """`FunAudioLLM/Fun-ASR-MLT-Nano-2512`: SenseVoice's encoder, two blocks of adaptor, Qwen3-0.6B."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config

    llm = folder / fun_asr.LLM
    llm.mkdir()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"word{i}" for i in range(_QWEN_TOKENS - len(letters) - 5))]
    bpe = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[]))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    end, pad, *others = "<|im_end|>", "<|endoftext|>", "<|im_start|>", "<think>", "</think>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=end, pad_token=pad, additional_special_tokens=others
    )
    tokenizer.save_pretrained(llm)
    sizes: dict[str, Any] = dict(
        vocab_size=_QWEN_TOKENS, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=40_960,
        rope_theta=1_000_000, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    size = Qwen3Config(**sizes)
    size.architectures = ["Qwen3ForCausalLM"]
    size.save_pretrained(llm)
    like = fun_asr.config()
    config = like | dict(
        llm_conf=like["llm_conf"] | dict(llm_dtype="bf16"),
        audio_encoder_conf=dict(_ENCODER, tp_blocks=20, freeze=True),
        audio_adaptor_conf=like["audio_adaptor_conf"]
        | dict(use_low_frame_rate=True, ffn_dim=2048, llm_dim=1024, encoder_dim=512),
    )
    model = _save(folder, config, fun_asr.PATHS)
    torch.save(model.state_dict(), folder / "model.pt")
    return folder


def _whisper(folder: Path, name: str, mels: int, width: int, heads: int, layers: int, tokens: int) -> Path:
    from whisper.model import AudioEncoder, ModelDimensions, TextDecoder

    dims = ModelDimensions(mels, 1500, width, heads, layers, tokens, 448, width, heads, layers)
    with torch.device("meta"):
        halves = {
            "encoder": AudioEncoder(mels, 1500, width, heads, layers),
            "decoder": TextDecoder(tokens, 448, width, heads, layers),
        }
    names = {f"{half}.{k}": v.shape for half, module in halves.items() for k, v in module.state_dict().items()}
    torch.manual_seed(0)
    state = {k: torch.empty(shape, dtype=torch.float16).uniform_(-0.03, 0.03) for k, shape in names.items()}
    # What a decoder of random weights says takes minutes, and is said again at six temperatures. Here its layers are
    # computed and add next to nothing; what comes next is in the table of positions.
    for k in state:
        if k.startswith("decoder.") and ("attn.out." in k or ".mlp.2." in k):
            state[k] *= 1e-3
    table = state["decoder.token_embedding.weight"]
    table *= 3
    said = _said(tokens)
    state["decoder.positional_embedding"][: len(said)] = 4 * table[said]
    state["decoder.positional_embedding"][len(said) :] = 4 * table[_END_OF_TEXT]
    state["decoder.ln.weight"].fill_(1)
    state["decoder.ln.bias"].zero_()
    torch.save({"dims": dims.__dict__, "model_state_dict": state}, folder / f"{name}.pt")
    return folder / f"{name}.pt"


def _said(tokens: int) -> list[int]:
    """Next token at each position of Whisper's decoder: four words a second for a window of 30 s."""
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(True, num_languages=tokens - 51_766)
    words = []
    for token in range(300, _END_OF_TEXT):
        text = tokenizer.decode([token])
        if text.startswith(" ") and text[1:].isascii() and text[1:].isalpha():  # different ones: no text that loops
            words.append(token)
    start = tokenizer.timestamp_begin
    language, task = tokenizer.to_language_token("en"), tokenizer.transcribe
    return [language, task, start, *words[: 4 * 30 - 3], start + 1500]


def whisper_small(folder: Path) -> Path:
    """OpenAI's `small.pt`."""
    return _whisper(folder, "small", 80, 768, 12, 12, 51_865)


def whisper_large_v3(folder: Path) -> Path:
    """OpenAI's `large-v3.pt`."""
    return _whisper(folder, "large-v3", 128, 1280, 20, 32, 51_866)


MODELS: dict[str, Callable[[Path], Path]] = {
    "paraformer-large": paraformer_large,
    "sensevoice-small": sensevoice_small,
    "fun-asr-mlt-nano": fun_asr_mlt_nano,
    "whisper-small": whisper_small,
    "whisper-large-v3": whisper_large_v3,
}

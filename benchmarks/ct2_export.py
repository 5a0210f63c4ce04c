"""`python -m benchmarks.ct2_export WEIGHTS TARGET KIND`: Whisper's weights in faster-whisper's format.

CTranslate2 converts from the transformers library, which has other names for the same layers
(https://opennmt.net/CTranslate2/guides/transformers.html#whisper). In a process of its own: it takes several times the
model's memory.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks import checkpoint

_NAMES = (
    ("blocks", "layers"), ("mlp.0", "fc1"), ("mlp.2", "fc2"), ("mlp_ln", "final_layer_norm"),
    (".attn_ln", ".self_attn_layer_norm"), ("cross_attn_ln", "encoder_attn_layer_norm"), (".attn.", ".self_attn."),
    ("cross_attn.", "encoder_attn."), (".query", ".q_proj"), (".key", ".k_proj"), (".value", ".v_proj"),
    (".out.", ".out_proj."), ("ln_post", "layer_norm"), ("decoder.ln.", "decoder.layer_norm."),
    ("token_embedding", "embed_tokens"), ("positional_embedding", "embed_positions.weight"),
)  # fmt: skip


def main(weights: Path, target: Path, kind: str) -> None:
    """Writes the folder `target`, whole or not at all: the model in "int8" or "float32", and its tokenizer."""
    from ctranslate2.converters.transformers import WhisperLoader
    from whisper.tokenizer import get_tokenizer

    dims, state = checkpoint.read(weights)
    tokenizer = get_tokenizer(True, num_languages=dims["n_vocab"] - 51_766)
    spec = WhisperLoader().get_model_spec(_as_transformers(state, dims))
    spec.register_vocabulary(_vocabulary(tokenizer, dims["n_vocab"]))
    spec.config.suppress_ids = list(tokenizer.non_speech_tokens)
    spec.config.suppress_ids_begin = [*tokenizer.encode(" "), tokenizer.eot]
    spec.config.lang_ids = list(tokenizer.all_language_tokens)
    half, heads = dims["n_text_layer"] // 2, dims["n_text_head"]
    spec.config.alignment_heads = [(layer, head) for layer in range(half, 2 * half) for head in range(heads)]
    spec.validate()
    spec.optimize(quantization=kind)
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    spec.save(str(part))
    _save_tokenizer(tokenizer, part / "tokenizer.json")
    (part / "preprocessor_config.json").write_text(f'{{"feature_size": {dims["n_mels"]}}}', encoding="utf-8")
    part.replace(target)


def _as_transformers(state: dict[str, Any], dims: dict[str, int]) -> Any:
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes: dict[str, Any] = dict(
        vocab_size=dims["n_vocab"], num_mel_bins=dims["n_mels"], d_model=dims["n_audio_state"],
        encoder_layers=dims["n_audio_layer"], encoder_attention_heads=dims["n_audio_head"],
        encoder_ffn_dim=4 * dims["n_audio_state"], decoder_layers=dims["n_text_layer"],
        decoder_attention_heads=dims["n_text_head"], decoder_ffn_dim=4 * dims["n_text_state"],
        max_source_positions=dims["n_audio_ctx"], max_target_positions=dims["n_text_ctx"],
    )  # fmt: skip
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(**sizes))
    renamed: dict[str, Any] = {}
    for name, tensor in state.items():
        for ours, theirs in _NAMES:
            name = name.replace(ours, theirs)
        renamed[f"model.{name}"] = tensor
    renamed["proj_out.weight"] = renamed["model.decoder.embed_tokens.weight"]
    model.load_state_dict(renamed, assign=True)
    return model.eval()


def _vocabulary(tokenizer: Any, size: int) -> list[str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters, encoding = bytes_to_unicode(), tokenizer.encoding
    names = {number: name for name, number in encoding._special_tokens.items()}
    ranks = encoding._mergeable_ranks
    words = {rank: "".join(letters[byte] for byte in token) for token, rank in ranks.items()}
    # The one number without a token gets the empty one, as in the published files: CTranslate2 looks it up, and without
    # it repeats one word for ever.
    return [names.get(i) or words.get(i) or "" for i in range(size)]


def _save_tokenizer(tokenizer: Any, path: Path) -> None:
    import whisper
    from transformers.convert_slow_tokenizer import TikTokenConverter

    encoding = tokenizer.encoding
    special = sorted(encoding._special_tokens, key=lambda name: encoding._special_tokens[name])
    ranks = Path(whisper.__file__).parent / "assets" / "multilingual.tiktoken"
    # transformers numbers its special tokens in this order. All but the timestamps are special.
    made = TikTokenConverter(
        vocab_file=str(ranks), pattern=encoding._pat_str,
        extra_special_tokens=[name for name in special if not re.fullmatch(r"<\|\d+\.\d+\|>", name)],
    ).converted()  # fmt: skip
    made.save(str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

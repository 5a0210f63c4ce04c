"""Fun-ASR-Nano: a folder in its format, encoder, adaptor and a small Qwen3, with weights nobody trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import EXAMPLE

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.loading import load
from asr_app.precision import Precision, refusal
from asr_app.precision.counting import report
from training import fun_asr
from training.folder import build_folder
from training.paraformer import write_normalisation

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from tokenizers import Tokenizer, decoders, models
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast, Qwen3Config

    folder = tmp_path_factory.mktemp("nano")
    language_model = folder / fun_asr.LLM
    language_model.mkdir()
    letters = {symbol: i for i, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<think>", "</think>"],
    )  # fmt: skip
    fast.save_pretrained(language_model)
    qwen = Qwen3Config(
        vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    qwen.architectures = ["Qwen3ForCausalLM"]
    qwen.save_pretrained(language_model)
    like = fun_asr.config()
    config = like | dict(
        llm_conf=like["llm_conf"] | dict(llm_dtype="bf16"),  # as the published one
        audio_encoder_conf=like["audio_encoder_conf"] | dict(tp_blocks=1, num_blocks=2, freeze=False),
        audio_adaptor_conf=like["audio_adaptor_conf"]
        | dict(use_low_frame_rate=True, ffn_dim=128, llm_dim=64, n_layer=1),
    )
    write_normalisation(folder / "am.mvn", np.full(560, 8.0), np.full(560, 5.0))
    torch.manual_seed(0)
    model = build_folder(folder, config, fun_asr.PATHS)
    torch.save(model.state_dict(), folder / "model.pt")
    return folder


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16, Precision.INT8], ids=lambda p: p.value)
def test_it_runs_at_each_precision_and_holds_it_after_two_requests(folder, precision):
    loaded = load(catalog.find(str(folder)), precision, "cpu", 1, hub.HUBS[0])
    for options in (Options(), Options(("你好",), "yue", itn=False)):
        found = pipeline.transcribe(EXAMPLE / "english-home.flac", loaded, options, Limits())
        assert found.as_dict()["timestamps"] == "vad"
    assert report(loaded.engine.parts, precision) == loaded.precision  # FunASR casts it at every request
    parts = {p.name: p for p in loaded.precision.parts}
    assert parts["llm"].label.startswith(precision.label)
    assert parts["audio_encoder"].label == ("INT8" if precision is Precision.INT8 else "FP32")
    language_model = loaded.engine.parts["llm"]
    assert language_model.lm_head.weight.data_ptr() == language_model.model.embed_tokens.weight.data_ptr()
    kept = torch.int8 if precision is Precision.INT8 else torch.float32
    assert language_model.lm_head.weight.dtype is kept


@pytest.mark.parametrize("trained", [True, False])
def test_a_head_that_could_time_words_is_left_out(folder, tmp_path, trained):
    """One hub's copy of the published model has its weights, the other's only its configuration."""
    other = tmp_path / "nano"
    shutil.copytree(folder, other)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= dict(
        ctc_decoder="Transformer", ctc_vocab_size=12, ctc_tokenizer="SenseVoiceTokenizer", ctc_weight=1.0,
        ctc_tokenizer_conf={"vocab_path": None}, ctc_conf={"dropout_rate": 0.0}, detach_ctc_decoder=True,
        ctc_decoder_conf=dict(downsample_rate=1, ffn_dim=32, llm_dim=144, encoder_dim=144, n_layer=1),
    )  # fmt: skip
    (other / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    if trained:
        state = torch.load(folder / "model.pt", weights_only=True)
        head = {"ctc_decoder.linear1.weight": torch.ones(32, 144), "ctc.ctc_lo.weight": torch.ones(12, 144)}
        torch.save(state | head, other / "model.pt")
    loaded = load(catalog.find(str(other)), Precision.FP32, "cpu", 1, hub.HUBS[0])
    pipeline.transcribe(EXAMPLE / "english-home.flac", loaded, Options(), Limits())
    assert {part.name for part in loaded.precision.parts} == {"audio_encoder", "llm", "audio_adaptor"}


def test_fp16_is_refused_with_the_choices(folder):
    card = catalog.find(str(folder))
    problem = refusal(Precision.FP16, catalog.recipes(card), card.precisions, "cpu")
    assert problem is not None
    assert "fp32, bf16, int8" in problem.en


def test_options_reach_the_prompt_and_text_becomes_sentences(folder, monkeypatch):
    engine = load(catalog.find(str(folder)), Precision.FP32, "cpu", 1, hub.HUBS[0]).engine
    prompts, model = [], engine._model.module
    whole = type(model).generate_chatml
    monkeypatch.setattr(type(model), "generate_chatml", lambda self, p, d: prompts.append(p) or whole(self, p, d))
    sound = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    engine.transcribe([sound], Options(("通义<<||endofspeech||>>",), "zh", itn=False))
    assert "热词列表：[通义endofspeech]" in prompts[0]
    assert "语音转写成中文，不进行文本规整" in prompts[0]
    monkeypatch.setattr(type(engine._model), "infer", lambda *_, **__: [{"text": "今天很好。明天呢？"}])
    first, second = engine.transcribe([sound], Options())[0]
    assert (first.text, second.text, second.end_s) == ("今天很好。", "明天呢？", 2.0)
    assert engine.transcribe([np.zeros(16_000, np.float32)], Options()) == [[]]
    with pytest.raises(UserError, match="has no option translate"):
        engine.transcribe([sound], Options(translate=True))

"""Whisper's weights in OpenAI's, Hugging Face's and CTranslate2's form: the same numbers, or a clear refusal."""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from conftest import DATA
from safetensors.torch import save_file

from asr_app import catalog
from asr_app.audio import decode
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.families import _whisper_files, whisper
from asr_app.families._whisper_checkpoint import Checkpoint
from asr_app.loading import load
from asr_app.precision import Precision, variants
from asr_app.quantize import carry
from asr_app.text import join

JFK = DATA / "clips" / "jfk.flac"
JFK_TEXT = "And so my fellow Americans ask not what your country can do for you ask what you can do for your country"

# openai-whisper's keys -> Hugging Face's.
_TO_HF = (
    (r"blocks\.", "layers."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.attn\.", ".self_attn."),
    (r"\.(query|key|value|out)\.", lambda m: f".{m[1][0] if m[1] != 'out' else 'out'}_proj."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"encoder\.ln_post\.", "encoder.layer_norm."),
    (r"decoder\.ln\.", "decoder.layer_norm."),
    (r"\.token_embedding\.", ".embed_tokens."),
    (r"\.positional_embedding$", ".embed_positions.weight"),
)


def hf_key(key: str) -> str:
    for pattern, to in _TO_HF:
        key = re.sub(pattern, to, key)
    return f"model.{key}"


def hugging_face(folder: Path, checkpoint: Checkpoint, *, shards: int = 1, **changed: object) -> Path:
    """Writes a checkpoint as a Hugging Face folder, as transformers saves one."""
    folder.mkdir()
    d = checkpoint.dims
    config = {
        "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "activation_function": "gelu",
        "d_model": d.n_text_state, "encoder_layers": d.n_audio_layer, "decoder_layers": d.n_text_layer,
        "encoder_attention_heads": d.n_audio_head, "decoder_attention_heads": d.n_text_head,
        "num_mel_bins": d.n_mels, "vocab_size": d.n_vocab, "max_source_positions": d.n_audio_ctx,
        "max_target_positions": d.n_text_ctx, "scale_embedding": False,
    } | changed  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    heads = [list(pair) for pair in checkpoint.heads or ()]
    (folder / "generation_config.json").write_text(json.dumps({"alignment_heads": heads} if heads else {}))
    tensors = {hf_key(key): tensor.contiguous().clone() for key, tensor in checkpoint.tensors()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder
    names = [f"model-{n + 1:05}-of-{shards:05}.safetensors" for n in range(shards)]
    placed = {key: names[i % shards] for i, key in enumerate(tensors)}
    for name in names:
        save_file({key: t for key, t in tensors.items() if placed[key] == name}, folder / name, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


def random_checkpoint(path: Path, **changed: int) -> Path:
    """A small OpenAI checkpoint with weights that nobody trained, FP16."""
    from whisper.model import ModelDimensions, Whisper

    dims = dict(n_mels=80, n_audio_ctx=1500, n_audio_state=32, n_audio_head=2, n_audio_layer=3, n_vocab=51865,
                n_text_ctx=448, n_text_state=32, n_text_head=2, n_text_layer=3) | changed  # fmt: skip
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(**dims))
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.01)
    # The end of the text is always the likeliest next token: what random weights would say takes minutes to decode.
    with torch.no_grad():
        model.decoder.ln.weight.zero_()
        table = model.decoder.token_embedding.weight
        model.decoder.ln.bias.copy_(20 * torch.nn.functional.normalize(table[50257], dim=0))
    torch.save({"dims": dims, "model_state_dict": {k: v.half() for k, v in model.state_dict().items()}}, path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("small") / "small-one.pt")


def ct2_bytes(checkpoint: Checkpoint, *, kind: int = 4, spec: str = "WhisperSpec") -> bytes:
    """A checkpoint as CTranslate2 writes `model.bin`; `kind` 1 stores the matrices as INT8 does."""
    state = dict(checkpoint.tensors())

    def text(of: str) -> bytes:
        return struct.pack("<H", len(of) + 1) + of.encode() + b"\0"

    found: dict[str, torch.Tensor] = {}

    def put(name: str, key: str, own: tuple[str, str] = ("weight", "bias")) -> None:
        found[f"{name}/{own[0]}"], found[f"{name}/{own[1]}"] = state[f"{key}.weight"], state[f"{key}.bias"]

    def norm(name: str, key: str) -> None:
        put(name, key, ("gamma", "beta"))

    def stack(name: str, keys: list[str]) -> None:
        found[f"{name}/weight"] = torch.cat([state[f"{key}.weight"] for key in keys])
        size = len(state[f"{keys[0]}.weight"])
        found[f"{name}/bias"] = torch.cat([state.get(f"{key}.bias", torch.zeros(size).half()) for key in keys])

    for side, layers in (("encoder", checkpoint.dims.n_audio_layer), ("decoder", checkpoint.dims.n_text_layer)):
        for i in range(layers):
            of, key = f"{side}/layer_{i}", f"{side}.blocks.{i}"
            norm(f"{of}/self_attention/layer_norm", f"{key}.attn_ln")
            stack(f"{of}/self_attention/linear_0", [f"{key}.attn.{p}" for p in ("query", "key", "value")])
            put(f"{of}/self_attention/linear_1", f"{key}.attn.out")
            if side == "decoder":
                norm(f"{of}/attention/layer_norm", f"{key}.cross_attn_ln")
                put(f"{of}/attention/linear_0", f"{key}.cross_attn.query")
                stack(f"{of}/attention/linear_1", [f"{key}.cross_attn.{p}" for p in ("key", "value")])
                put(f"{of}/attention/linear_2", f"{key}.cross_attn.out")
            norm(f"{of}/ffn/layer_norm", f"{key}.mlp_ln")
            put(f"{of}/ffn/linear_0", f"{key}.mlp.0")
            put(f"{of}/ffn/linear_1", f"{key}.mlp.2")
        found[f"{side}/position_encodings/encodings"] = state[f"{side}.positional_embedding"]
        heads = checkpoint.dims.n_audio_head if side == "encoder" else checkpoint.dims.n_text_head
        found[f"{side}/num_heads"] = torch.tensor(heads, dtype=torch.int16)
    put("encoder/conv1", "encoder.conv1")
    put("encoder/conv2", "encoder.conv2")
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    found["decoder/embeddings/weight"] = state["decoder.token_embedding.weight"]
    out = struct.pack("<I", 6) + text(spec) + struct.pack("<II", 3, len(found))
    kinds = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.float16: 4}
    for name, tensor in found.items():
        if kind == 0 and tensor.is_floating_point():
            tensor = tensor.float()
        elif kind == 1 and tensor.ndim == 2 and "encodings" not in name:
            tensor = (tensor.float() * 100).to(torch.int8)
        data = tensor.contiguous().numpy().tobytes()
        shape = struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        out += text(name) + shape + struct.pack("<BI", kinds[tensor.dtype], len(data)) + data
    return out + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")


def ctranslate2(folder: Path, checkpoint: Checkpoint, **how: object) -> Path:
    folder.mkdir()
    (folder / "model.bin").write_bytes(ct2_bytes(checkpoint, **how))
    (folder / "config.json").write_text(json.dumps({"alignment_heads": [[1, 0], [2, 1]], "lang_ids": [50259]}))
    return folder


def module(path: Path) -> torch.nn.Module:
    card = catalog.find(str(path))
    return whisper.load(card, {"model": path}, "cpu", 1)._model


def logits(model: torch.nn.Module, mel: torch.Tensor) -> torch.Tensor:
    """Logits of the decoder after its first tokens, by openai-whisper's own forward pass."""
    from whisper.model import TextDecoder

    with torch.no_grad():
        return TextDecoder.forward(model.decoder, torch.tensor([[50258, 50259, 50359, 50363]]), model.encoder(mel))


def heads(model: torch.nn.Module) -> list[list[int]]:
    return model.alignment_heads.to_dense().nonzero().tolist()


@pytest.fixture(scope="module")
def real_forms(whisper_base, tmp_path_factory) -> dict[str, Path]:
    """Whisper base in each form; OpenAI's as its own loader reads it."""
    folder = tmp_path_factory.mktemp("forms")
    checkpoint = _whisper_files.open_checkpoint(whisper_base)
    pickled = folder / "base.pt"
    weights = {key: tensor.clone() for key, tensor in checkpoint.tensors()}
    torch.save({"dims": checkpoint.dims.__dict__, "model_state_dict": weights}, pickled)
    return {
        "ctranslate2": whisper_base,
        "openai": pickled,
        "hugging face": hugging_face(folder / "whisper-base-hf", checkpoint),
        "sharded": hugging_face(folder / "whisper-base-shards", checkpoint, shards=3),
    }


@pytest.mark.real
def test_real_weights_are_the_same_in_every_form(real_forms):
    import whisper as openai

    mel = openai.pad_or_trim(openai.log_mel_spectrogram(decode(JFK).samples, 80), 3000)[None]
    reference = openai.load_model(str(real_forms["openai"]), device="cpu")
    reference.set_alignment_heads(openai._ALIGNMENT_HEADS["base"])
    expected = logits(reference, mel)
    for form, path in real_forms.items():
        model = module(path)
        assert torch.equal(logits(model, mel), expected), form
        assert heads(model) == heads(reference), form
        assert {p.dtype for p in model.parameters()} == {torch.float32}, form
        assert len(catalog.find(str(path)).languages) == 99, form


@pytest.mark.real
@pytest.mark.parametrize("form", ["ctranslate2", "openai", "hugging face", "sharded"])
def test_real_speech_comes_out_right_from_every_form(real_forms, form):
    path = real_forms[form]
    engine = whisper.load(catalog.find(str(path)), {"model": path}, "cpu", 2)
    (segments,) = engine.transcribe([decode(JFK).samples], Options(language="en"))
    assert re.sub(r"[,.]", "", join(s.text for s in segments)) == JFK_TEXT


@pytest.mark.models
@pytest.mark.parametrize("layers", [(3, 3), (3, 2)], ids=["whisper", "distil"])
@pytest.mark.parametrize("form", ["one", "shards", "pickle", "float16", "float32"])
def test_other_numbers_of_layers_load_from_every_form(form, layers, tmp_path):
    path = random_checkpoint(tmp_path / "own.pt", n_audio_layer=layers[0], n_text_layer=layers[1])
    checkpoint = _whisper_files.open_checkpoint(path)
    if form in ("float16", "float32"):
        folder = ctranslate2(tmp_path / "folder", checkpoint, kind=4 if form == "float16" else 0)
    else:
        folder = hugging_face(tmp_path / "folder", checkpoint, shards=2 if form == "shards" else 1)
    if form == "pickle":
        tensors = {hf_key(key): tensor for key, tensor in checkpoint.tensors()}
        tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"]
        torch.save(tensors, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    found, expected = module(folder).state_dict(), module(path).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert len(module(folder).decoder.blocks) == layers[1]


@pytest.mark.models
def test_heads_that_time_words_come_from_the_files(small, tmp_path):
    checkpoint = _whisper_files.open_checkpoint(small)
    assert heads(module(ctranslate2(tmp_path / "ct2", checkpoint))) == [[1, 0], [2, 1]]
    folder = hugging_face(tmp_path / "hf", checkpoint)
    assert heads(module(folder)) == [[1, 0], [1, 1], [2, 0], [2, 1]]  # openai-whisper's default: the upper half
    (folder / "generation_config.json").write_text('{"alignment_heads": [[0, 1], [2, 0]]}')
    assert heads(module(folder)) == [[0, 1], [2, 0]]
    (folder / "generation_config.json").write_text('{"alignment_heads": [[9, 1]]}')
    assert heads(module(folder)) == [[1, 0], [1, 1], [2, 0], [2, 1]]


def test_languages_are_told_by_the_vocabulary(small, tmp_path):
    for tokens, languages in ((51864, 1), (51865, 99), (51866, 100)):
        path = random_checkpoint(tmp_path / f"{tokens}.pt", n_vocab=tokens)
        for folder in (
            hugging_face(tmp_path / f"hf-{tokens}", _whisper_files.open_checkpoint(path)),
            ctranslate2(tmp_path / f"ct2-{tokens}", _whisper_files.open_checkpoint(path)),
        ):
            card = catalog.find(str(folder))
            assert len(card.languages) == languages
            assert ("translate" in card.capabilities) == (languages > 1)


@pytest.mark.models
@pytest.mark.parametrize("form", [hugging_face, ctranslate2], ids=["hugging face", "ctranslate2"])
def test_the_second_start_at_int8_reads_no_weights(form, small, tmp_path, monkeypatch):
    folder = form(tmp_path / "folder", _whisper_files.open_checkpoint(small))
    card = catalog.find(str(folder))
    first = load(card, Precision.INT8, "cpu", 1, "auto", cache=tmp_path / "cache")

    def no_weights(*_):
        raise AssertionError("weights were read")

    monkeypatch.setattr(_whisper_files, "weights", no_weights)
    again = load(card, Precision.INT8, "cpu", 1, "auto", cache=tmp_path / "cache")
    assert again.precision == first.precision
    assert heads(again.engine._model) == heads(first.engine._model)


@pytest.mark.models
@pytest.mark.parametrize("form", [hugging_face, ctranslate2], ids=["hugging face", "ctranslate2"])
def test_a_variant_is_carried_without_the_weights(form, small, tmp_path):
    folder = form(tmp_path / "folder", _whisper_files.open_checkpoint(small))
    card = catalog.find(str(folder))
    first = load(card, Precision.INT8, "cpu", 1, "auto", cache=tmp_path / "cache")
    (variant,) = (tmp_path / "cache" / "variants").iterdir()
    carry.write("whisper", {"model": folder}, variant, Precision.INT8, tmp_path / "carried")
    assert sorted(p.name for p in (tmp_path / "carried").iterdir()) == ["folder.pt", "int8"]
    carried = catalog.find(str(tmp_path / "carried"))
    assert carried.precisions == (Precision.INT8,)
    loaded = load(carried, Precision.INT8, "cpu", 1, "auto", cache=tmp_path / "cache")
    assert loaded.precision == first.precision
    assert heads(loaded.engine._model) == heads(first.engine._model)


@pytest.mark.parametrize("name", ["model.bin", "config.json", "generation_config.json", "model.safetensors"])
def test_another_file_is_another_variant(name, small, tmp_path):
    folder = (ctranslate2 if name == "model.bin" else hugging_face)(
        tmp_path / "folder", _whisper_files.open_checkpoint(small)
    )
    before = variants.weights({"model": folder}, tmp_path), variants.fingerprint({"model": folder})
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert variants.weights({"model": folder}, tmp_path) != before[0]
    assert variants.fingerprint({"model": folder}) != before[1]


# What is refused


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as error:
        module(path)
    assert path.name in error.value.en
    assert path.name in error.value.zh
    return error.value


def test_int8_weights_are_refused_with_the_reason(small, tmp_path):
    folder = ctranslate2(tmp_path / "faster-whisper-int8", _whisper_files.open_checkpoint(small), kind=1)
    with pytest.raises(UserError, match=r"weights are INT8.*full-precision weights.*float16 or float32"):
        catalog.find(str(folder))


def test_another_architecture_is_refused_by_its_name(small, tmp_path):
    checkpoint = _whisper_files.open_checkpoint(small)
    for folder, kind in (
        (hugging_face(tmp_path / "hf", checkpoint, model_type="wav2vec2"), "wav2vec2"),
        (ctranslate2(tmp_path / "ct2", checkpoint, spec="TransformerSpec"), "TransformerSpec"),
    ):
        with pytest.raises(UserError, match=f"its architecture is '{kind}', not Whisper"):
            catalog.find(str(folder))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"decoder_layers": 2}, "does not fit its own dimensions.*decoder.blocks.2"),
        ({"encoder_layers": 4}, "does not fit its own dimensions.*weights are missing"),
        ({"num_mel_bins": 128}, r"encoder.conv1.weight is \[32, 80, 3\] where \[32, 128, 3\] is due"),
        ({"vocab_size": 51866}, r"decoder.token_embedding.weight is \[51865, 32\] where \[51866, 32\] is due"),
        ({"vocab_size": 50000}, "its vocabulary has 50000 tokens"),
        ({"d_model": "auto_map"}, "n_audio_state is 'auto_map'"),
        ({"d_model": 31}, "the heads do not divide the state"),
        ({"encoder_layers": 10**9}, "n_audio_layer is 1000000000"),
        ({"max_source_positions": 750}, "hears 750 positions"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
    ],
)
def test_a_folder_whose_shapes_do_not_fit_is_refused(changed, said, small, tmp_path):
    folder = hugging_face(tmp_path / "folder", _whisper_files.open_checkpoint(small), **changed)
    with pytest.raises(UserError, match=said):
        module(folder)


def test_a_folder_without_its_weights_or_a_shard_is_refused(small, tmp_path):
    checkpoint = _whisper_files.open_checkpoint(small)
    folder = hugging_face(tmp_path / "none", checkpoint)
    (folder / "model.safetensors").unlink()
    assert "no model.safetensors" in refusal(folder).en
    folder = hugging_face(tmp_path / "shards", checkpoint, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "shard model-00002-of-00003.safetensors is missing" in refusal(folder).en
    shutil.copy(small, tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../outside.safetensors"}}')
    assert "../outside.safetensors" in refusal(folder).en


def test_half_a_file_is_refused(small, tmp_path):
    checkpoint = _whisper_files.open_checkpoint(small)
    for folder, name in (
        (hugging_face(tmp_path / "hf", checkpoint), "model.safetensors"),
        (ctranslate2(tmp_path / "ct2", checkpoint), "model.bin"),
    ):
        content = (folder / name).read_bytes()
        for size in (len(content) // 2, 200, 20):
            (folder / name).write_bytes(content[:size])
            with pytest.raises(UserError, match=r"damaged or no Whisper checkpoint|no model of a known family"):
                module(folder)


def test_a_head_that_is_not_the_table_of_tokens_is_refused(small, tmp_path):
    folder = hugging_face(tmp_path / "folder", _whisper_files.open_checkpoint(small))
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    tensors["proj_out.weight"] = tensors["model.decoder.embed_tokens.weight"] * 2
    save_file(tensors, folder / "model.safetensors")
    assert "vocabulary head is not its table of tokens" in refusal(folder).en


def test_integers_in_safetensors_are_refused(small, tmp_path):
    folder = hugging_face(tmp_path / "folder", _whisper_files.open_checkpoint(small))
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.encoder.layers.0.fc1.weight"] = tensors["model.encoder.layers.0.fc1.weight"].to(torch.int8)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="weights are INT8"):
        module(folder)


def test_a_pickle_runs_nothing(small, tmp_path):
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    folder = hugging_face(tmp_path / "folder", _whisper_files.open_checkpoint(small))
    (folder / "model.safetensors").unlink()
    torch.save({"model.encoder.conv1.weight": Runs()}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="damaged"):
        module(folder)
    assert not (tmp_path / "ran").exists()


def test_an_optimizer_beside_the_weights_is_no_checkpoint(small, tmp_path):
    folder = hugging_face(tmp_path / "folder", _whisper_files.open_checkpoint(small))
    torch.save({"state": {}}, folder / "optimizer.pt")
    assert catalog.find(str(folder)).title == "folder"

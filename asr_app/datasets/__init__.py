"""Recordings with references in the layouts that the field uses: a folder or a manifest in, recordings out.

Names in a manifest come from strangers: only files inside the manifest's folder are read, and nothing is fetched or run.
base.py holds the result, layouts.py the folders, manifests.py the single files.
"""

from __future__ import annotations

from pathlib import Path

from asr_app.datasets.base import Dataset, LeftOut, Reason
from asr_app.datasets.layouts import folder_of
from asr_app.datasets.manifests import SUFFIXES, manifest_of
from asr_app.errors import UserError
from asr_app.recordings import Recording

__all__ = ["Dataset", "LeftOut", "Reason", "read_dataset", "references"]

_KNOWN_EN = (
    "Known are: NAME.txt beside each NAME.wav; refs.tsv (file, language, text); transcripts.tsv (file, text); a manifest "
    "FILE.tsv (file, text or file, language, text) or FILE.jsonl (audio_filepath or audio, and text or sentence); Kaldi "
    "(wav.scp and text); LibriSpeech (*.trans.txt); AISHELL (transcript/ and wav/); Common Voice (test.tsv or "
    "validated.tsv, and clips/)."
)
_KNOWN_ZH = (
    "支持的格式：每个 NAME.wav 旁的 NAME.txt；refs.tsv（文件、语言、文本）；transcripts.tsv（文件、文本）；清单文件 FILE.tsv"
    "（文件、文本，或文件、语言、文本）或 FILE.jsonl（audio_filepath 或 audio，以及 text 或 sentence）；Kaldi（wav.scp 与 "
    "text）；LibriSpeech（*.trans.txt）；AISHELL（transcript/ 与 wav/）；Common Voice（test.tsv 或 validated.tsv，以及 clips/）。"
)


def read_dataset(path: Path) -> Dataset:
    """The recordings of a folder or manifest, and what of it is left out.

    Raises UserError that names the known layouts if `path` is not there or has no recording with a reference.
    """
    if not path.exists():
        raise UserError(
            f"{path.name} is not there. Give a folder or a manifest of recordings with references. {_KNOWN_EN}",
            f"{path.name} 不存在。请提供带参考文本的录音目录或清单文件。{_KNOWN_ZH}",
        )
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path.name} is no manifest. {_KNOWN_EN}", f"{path.name} 不是清单文件。{_KNOWN_ZH}"
        )  # fmt: skip
    dataset = manifest_of(path) if path.is_file() else folder_of(path)
    if not dataset.recordings:
        reasons = "; ".join(f"{count} × {reason.en}" for reason, count in dataset.counts.items())
        reasons_zh = "；".join(f"{count} × {reason.zh}" for reason, count in dataset.counts.items())
        raise UserError(
            f"{path.name}: no recordings with references are there{f' ({reasons})' if reasons else ''}. {_KNOWN_EN}",
            f"{path.name}：没有带参考文本的录音{f'（{reasons_zh}）' if reasons_zh else ''}。{_KNOWN_ZH}",
        )
    return dataset


def references(path: Path) -> list[Recording]:
    """The recordings of a folder or manifest. Raises UserError like `read_dataset`."""
    return list(read_dataset(path).recordings)

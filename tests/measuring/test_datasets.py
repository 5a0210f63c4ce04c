"""Each layout of recordings with references is read; what cannot be used is named, and the rest goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asr_app.datasets import Dataset, Reason, read_dataset
from asr_app.errors import UserError


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def found(dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(dataset.name_of(r), r.texts[0], r.language) for r in dataset.recordings]


def left(dataset: Dataset) -> list[tuple[str, Reason, int | None]]:
    return [(entry.name, entry.reason, entry.line) for entry in dataset.left_out]


def test_texts_beside_recordings(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", "alone.mp3", "cover.jpg")
    write(tmp_path / "a.txt", "one")
    write(tmp_path / "gone.txt", "two")
    dataset = read_dataset(tmp_path)
    assert found(dataset) == [("a.wav", "one", "")]
    assert left(dataset) == [("gone.txt", Reason.NO_AUDIO, None), ("alone.mp3", Reason.NO_REFERENCE, None)]
    assert dataset.counts == {Reason.NO_AUDIO: 1, Reason.NO_REFERENCE: 1}


def test_own_tables_name_broken_lines(tmp_path: Path) -> None:
    put(tmp_path, "en/a.wav", "b.wav", "c.wav")
    write(tmp_path / "refs.tsv", "en/a.wav\ten\tone", "b.wav", "", "gone.wav\tde\tzwei", "en/a.wav\ten\tagain")
    dataset = read_dataset(tmp_path)
    assert found(dataset) == [("en/a.wav", "one", "en")]
    assert left(dataset) == [
        ("b.wav", Reason.BROKEN, 2), ("gone.wav", Reason.NO_AUDIO, 4), ("en/a.wav", Reason.TWICE, 5),
        ("b.wav", Reason.NO_REFERENCE, None), ("c.wav", Reason.NO_REFERENCE, None),
    ]  # fmt: skip


def test_a_manifest_of_tabs_has_a_language_or_none(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", "b.wav", "c.wav")
    table = write(tmp_path / "m.tsv", "file\tlanguage\ttext", "a.wav\tzh-TW\t一", "b.wav\ttwo", "c.wav\t4.5\tthree")
    assert found(read_dataset(table)) == [("a.wav", "一", "zh-TW"), ("b.wav", "two", ""), ("c.wav", "three", "")]


@pytest.mark.parametrize(
    "fields",
    [
        {"audio_filepath": "a.wav", "text": "one", "lang": "en", "duration": 1.5, "offset": 0},
        {"audio": {"path": "a.wav"}, "sentence": "one", "locale": "en"},
        {"path": "a.wav", "transcript": "one", "language": "en"},
        {"file": "a.wav", "text": "one", "lang": "en"},
    ],
    ids=["NeMo", "Hugging Face", "path", "file"],
)
def test_json_lines_with_the_names_of_the_field(tmp_path: Path, fields: dict) -> None:
    put(tmp_path, "a.wav")
    table = write(tmp_path / "m.jsonl", json.dumps(fields), "{not json", '["a list"]', '{"audio": "a.wav"}', "")
    dataset = read_dataset(table)
    assert found(dataset) == [("a.wav", "one", "en")]
    assert [(reason, line) for _, reason, line in left(dataset)] == [(Reason.BROKEN, n) for n in (2, 3, 4)]


def test_a_segment_of_a_longer_file_is_not_scored_as_the_whole(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", "b.wav")
    rows = [{"audio_filepath": "a.wav", "text": "x"}, {"audio_filepath": "b.wav", "text": "y", "offset": 3.5}]
    dataset = read_dataset(write(tmp_path / "m.json", *map(json.dumps, rows)))
    assert found(dataset) == [("a.wav", "x", "")]
    assert ("b.wav", Reason.SEGMENT, 2) in left(dataset)


def test_kaldi_runs_no_command(tmp_path: Path) -> None:
    put(tmp_path, "wav/a.wav", "wav/d.wav")
    ran = tmp_path / "ran"
    write(tmp_path / "wav.scp", "u1 wav/a.wav", f"u2 touch {ran} |", "u3 wav/gone.wav", "u4 wav/d.wav", "u5")
    write(tmp_path / "text", "u1 hello there", "u2 a", "u3 b", "u6 c")
    write(tmp_path / "utt2lang", "u1 en")
    dataset = read_dataset(tmp_path)
    assert found(dataset) == [("wav/a.wav", "hello there", "en")]
    assert left(dataset) == [
        ("u5", Reason.BROKEN, 5), (f"touch {ran} |", Reason.COMMAND, 2), ("wav/gone.wav", Reason.NO_AUDIO, 3),
        ("u6", Reason.NO_AUDIO, 4), ("u4", Reason.NO_REFERENCE, 4),
    ]  # fmt: skip
    assert not ran.exists()


def test_librispeech(tmp_path: Path) -> None:
    put(tmp_path, "84/121/84-121-0000.flac", "84/121/84-121-0002.flac")
    write(tmp_path / "84/121/84-121.trans.txt", "84-121-0000 GO DO YOU HEAR", "84-121-0001 BUT IN LESS")
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, found(dataset)) == ("LibriSpeech", [("84/121/84-121-0000.flac", "GO DO YOU HEAR", "en")])
    assert left(dataset) == [
        ("84-121-0001.flac", Reason.NO_AUDIO, 2), ("84/121/84-121-0002.flac", Reason.NO_REFERENCE, None),
    ]  # fmt: skip


def test_aishell(tmp_path: Path) -> None:
    put(tmp_path, "wav/dev/S1/B1.wav", "wav/dev/S1/B3.wav")
    write(tmp_path / "transcript/aishell_transcript_v0.8.txt", "B1 而 对 楼市", "B2 成交")
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, found(dataset)) == ("AISHELL", [("wav/dev/S1/B1.wav", "而 对 楼市", "zh")])
    assert left(dataset) == [("B2", Reason.NO_AUDIO, 2), ("wav/dev/S1/B3.wav", Reason.NO_REFERENCE, None)]


@pytest.mark.parametrize("given", ["", "validated.tsv"])
def test_common_voice(tmp_path: Path, given: str) -> None:
    put(tmp_path, "clips/a.mp3", "clips/other.mp3")
    head = "client_id\tpath\tsentence\tup_votes\tlocale"
    write(tmp_path / "validated.tsv", head, "x\ta.mp3\tUn, deux.\t2\tfr", "y\tgone.mp3\tTrois.\t2\tfr", "z\tb")
    dataset = read_dataset(tmp_path / given)
    assert found(dataset) == [("clips/a.mp3", "Un, deux.", "fr")]
    assert left(dataset) == [("gone.mp3", Reason.NO_AUDIO, 3), ("z", Reason.BROKEN, 4)]


def test_only_files_inside_the_folder_are_read(tmp_path: Path) -> None:
    inside = tmp_path / "set"
    put(tmp_path, "secret.wav", "set/a.wav", "set/b.wav")
    (inside / "link.wav").symlink_to(tmp_path / "secret.wav")
    names = ["a.wav", str(inside / "b.wav"), "../secret.wav", str(tmp_path / "secret.wav"), "link.wav",
             "https://example.org/a.wav", "file:///etc/passwd", "nul\0.wav", "x" * 5000]  # fmt: skip
    table = write(inside / "m.jsonl", *(json.dumps({"audio": name, "text": "x"}) for name in names))
    dataset = read_dataset(table)
    assert [name for name, _, _ in found(dataset)] == ["a.wav", "b.wav"]
    assert [reason for _, reason, line in left(dataset) if line] == [
        Reason.OUTSIDE, Reason.OUTSIDE, Reason.OUTSIDE, Reason.ADDRESS, Reason.ADDRESS, Reason.BROKEN, Reason.BROKEN,
    ]  # fmt: skip


def test_nothing_usable_names_the_layouts_and_the_reasons(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match="LibriSpeech") as error:
            read_dataset(path)
        assert "AISHELL" in error.value.zh
    table = write(tmp_path / "m.jsonl", "{", '{"audio": "gone.wav", "text": "x"}')
    with pytest.raises(UserError, match=r"1 × a line that cannot be read; 1 × a reference without its recording"):
        read_dataset(table)
    with pytest.raises(UserError, match="no manifest"):
        read_dataset(write(tmp_path / "notes.docx", "x"))
    (tmp_path / "latin.tsv").write_bytes("a.wav\tgr\xf6\xdfe\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_dataset(tmp_path / "latin.tsv")

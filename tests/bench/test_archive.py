"""A stranger's zip: only recordings and tables reach the disk, below their folder, and no more than was announced."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from asr_app.bench import archive
from asr_app.bench.archive import unpack
from asr_app.errors import UserError


def packed(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as made:
        for name, body in entries:
            made.writestr(name, body, how)
    return path


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def unpacked(path: Path, folder: Path) -> tuple[list[str], int]:
    unused = unpack(path, folder, lambda _: None)
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()), unused


def refuse(path: Path, folder: Path, why: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(UserError, match=why):
        unpack(path, folder, lambda _: None)
    outside = [file for file in folder.parent.rglob("*") if file not in before and not file.is_relative_to(folder)]
    assert not outside


def test_recordings_and_tables_are_unpacked_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "set.zip", ("set/refs.tsv", b"a.wav\ten\tone\n"), ("set/en/a.wav", b"x" * 9), ("set/text", b"t"),
        ("set/cover.jpg", b"j"), ("set/run.sh", b"s"), ("__MACOSX/set/._a.wav", b"m"), ("set/.hidden.wav", b"h"),
    )  # fmt: skip
    assert unpacked(path, tmp_path / "out") == (["set/en/a.wav", "set/refs.tsv", "set/text"], 4)
    assert (tmp_path / "out/set/en/a.wav").read_bytes() == b"x" * 9


@pytest.mark.parametrize("name", ["../a.wav", "x/../../a.wav", "/a.wav", "..\\a.wav", "a/" * 501 + "a.wav"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    refuse(packed(tmp_path / "x.zip", ("b.wav", b"b"), (name, b"a")), tmp_path / "out", "leads out of the folder")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    path = packed(tmp_path / "x.zip", (entry("a.wav", kind | 0o644), b"/etc/passwd"))
    refuse(path, tmp_path / "out", "a link or a device")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("a.wav", bytes(30 << 20)))
    refuse(path, tmp_path / "out", "times its size")
    assert not (tmp_path / "out").exists()


def test_an_entry_that_is_longer_than_announced_is_not_written_whole(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("a.wav", bytes(1 << 20)))
    lie = bytearray(path.read_bytes())
    at = lie.rfind(b"PK\x01\x02")
    lie[at + 24 : at + 28] = struct.pack("<L", 1000)
    path.write_bytes(lie)
    refuse(path, tmp_path / "out", "cannot be unpacked")
    assert (tmp_path / "out/a.wav").stat().st_size <= 1000


def test_the_room_is_asked_for_before_anything_is_written(tmp_path: Path) -> None:
    def full(size: int) -> None:
        raise UserError(f"no room for {size}", "")

    with pytest.raises(UserError, match="no room for 300"):
        unpack(packed(tmp_path / "x.zip", ("a.wav", b"x" * 300), ("b.jpg", b"y" * 50)), tmp_path / "out", full)
    assert not (tmp_path / "out").exists()


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = packed(tmp_path / "x.zip", ("a.wav", b"1"), ("a.wav", b"2"))
    refuse(path, tmp_path / "out", "File exists")


def test_too_many_files_and_too_long_a_list_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "x.zip", *((f"{i}.wav", b"x") for i in range(4)))
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    refuse(path, tmp_path / "out", "has 4 files; at most 3")
    monkeypatch.setattr(archive, "_MOST_TABLE", 100)
    refuse(path, tmp_path / "out", "no zip of at most")


def test_a_record_that_points_to_another_list_is_refused(tmp_path: Path) -> None:
    """ZIP64's end record may name a list of any size, which zipfile would read whole."""
    path = packed(tmp_path / "x.zip", ("a.wav", b"x"))
    body = path.read_bytes()
    at = body.rfind(b"PK\x05\x06")
    path.write_bytes(body[:at] + b"PK\x06\x07" + bytes(16) + body[at:])
    refuse(path, tmp_path / "out", "ZIP64")


def test_passwords_and_rare_compressions_are_refused(tmp_path: Path) -> None:
    refuse(
        packed(tmp_path / "x.zip", ("a.wav", b"x"), how=zipfile.ZIP_LZMA), tmp_path / "out", "not stored or deflated"
    )
    path = packed(tmp_path / "y.zip", ("a.wav", b"x"))
    locked = bytearray(path.read_bytes())
    locked[locked.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(locked)
    refuse(path, tmp_path / "out", "a password")


@pytest.mark.parametrize("body", [b"", b"no zip", b"PK\x05\x06", b"x" * 100_000])
def test_anything_else_is_no_zip(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(body)
    refuse(tmp_path / "x.zip", tmp_path / "out", "no zip")


def test_names_of_a_chinese_windows_are_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("AABB.wav", b"x"))
    path.write_bytes(path.read_bytes().replace(b"AABB", "录音".encode("gb18030")))
    assert unpacked(path, tmp_path / "out") == (["录音.wav"], 0)

"""Small cache entries are found again, whole or not at all, and never in the way where it cannot be."""

from __future__ import annotations

import threading

import pytest

from asr_app.notes import Note


def test_a_note_is_found_by_what_it_is_about(tmp_path):
    Note(tmp_path / "new", ["model", 1]).write({"text": "转写"})
    assert Note(tmp_path / "new", ["model", 1]).read() == {"text": "转写"}
    assert Note(tmp_path / "new", ["model", 2]).read() is None


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe\x00", b"[1, 2"])
def test_a_damaged_note_is_none_and_is_written_anew(tmp_path, damage):
    note = Note(tmp_path, "m")
    note.write([1])
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert note.read() is None
    note.write([2])
    assert note.read() == [2]


def test_without_a_place_nothing_is_kept_and_nothing_fails(tmp_path):
    nowhere = tmp_path / "file"
    nowhere.touch()
    for home in (None, nowhere):
        note = Note(home, "m")
        note.write([1])
        assert note.read() is None
    assert list(tmp_path.iterdir()) == [nowhere]


def test_those_who_write_at_once_leave_one_whole_note(tmp_path):
    texts = [letter * 200_000 for letter in "abcd"]
    Note(tmp_path, "m").write(texts[0])
    writers = [threading.Thread(target=lambda t=t: [Note(tmp_path, "m").write(t) for _ in range(30)]) for t in texts]
    for writer in writers:
        writer.start()
    read = 0
    while any(writer.is_alive() for writer in writers):
        assert Note(tmp_path, "m").read() in texts
        read += 1
    assert read
    assert len(list(tmp_path.iterdir())) == 1

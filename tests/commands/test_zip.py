"""The zip of many texts."""

from __future__ import annotations

import io
import random
import zipfile

from asr_app.archive import zipped


def test_recordings_of_one_name_have_entries_of_their_own():
    names = ["call", "Call", "call", "call-2", "电话"]
    pieces = zipped((name, [("txt", f"said {n}"), ("docx", bytes([n]))]) for n, name in enumerate(names))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        entries = archive.namelist()
        assert len({e.casefold() for e in entries}) == len(entries) == 10
        assert [archive.read(f"{name}.txt").decode()[-1] for name in ("call", "Call-2", "call-3", "电话")] == [*"0124"]
        assert archive.read("call-3.docx") == b"\x02"


def test_no_more_than_one_text_is_held():
    drawn = 0

    def texts():
        nonlocal drawn
        for _ in range(20):
            drawn += 1
            yield f"{drawn}.txt", random.Random(drawn).randbytes(100_000)

    for count, piece in enumerate(zipped([("call", texts())]), 1):
        assert drawn == min(count, 20)
        assert len(piece) < 110_000


def test_nothing_gives_an_empty_archive():
    assert zipfile.ZipFile(io.BytesIO(b"".join(zipped([])))).namelist() == []

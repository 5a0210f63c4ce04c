"""Headers that tell less than the file holds: what a crash, or joining two files, leaves behind."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_LEAST_LEFT = 1 << 14  # bytes after a WAV's last chunk that are no mere padding
_MOST_CHUNKS = 256  # a file made to keep us busy has millions
_OGG_BEGINS = b"OggS\0\x02"  # a page of an Ogg stream's first header


def misleading(path: Path) -> bool:
    """Whether a reader that believes the header stops before the file's end."""
    return wav_goes_on(path) or _ogg_is_joined(path)


def wav_goes_on(path: Path) -> bool:
    """Whether a WAV's data chunk is longer than it says: a recorder that crashed wrote a length now and then.

    The bytes after it are then sound, and no chunk.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF" or file.seek(8) != 8 or file.read(4) != b"WAVE":
            return False
        at, data = 12, False
        for _ in range(_MOST_CHUNKS):
            if size - at < (_LEAST_LEFT if data else 8):
                break
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            if not (name.isascii() and name.decode("ascii").isprintable()):
                return data and not name.startswith(b"ID3")  # a tag with a picture in it, as some programs append it
            data |= name == b"data"
            at += 8 + length + length % 2
    return False


def _ogg_is_joined(path: Path) -> bool:
    """Whether an Ogg file has a second stream, after or beside the first: libsndfile reads one."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            return pages.find(_OGG_BEGINS, pages.find(_OGG_BEGINS) + 1) > 0

"""A zip file of many texts, written piece by piece: no more than one text is in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator


def zipped(recordings: Iterable[tuple[str, Iterable[tuple[str, str | bytes]]]]) -> Iterator[bytes]:
    """Yields the zip file of recordings, each a name and its texts as (suffix, content). The content is deflated.

    Recordings of one name get numbers, for file systems that do not tell capitals apart, too.
    """
    sink = _Sink()
    taken: set[str] = set()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, texts in recordings:
            distinct, number = name, 1
            while distinct.casefold() in taken:
                number += 1
                distinct = f"{name}-{number}"
            taken.add(distinct.casefold())
            for suffix, content in texts:
                archive.writestr(f"{distinct}.{suffix}", content)
                yield sink.taken()
    yield sink.taken()


class _Sink:
    """A file that is only written to, and never sought in."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def write(self, data: bytes) -> int:
        self._pieces += data
        return len(data)

    def flush(self) -> None:
        """Does nothing: `taken` has it all."""

    def taken(self) -> bytes:
        """The bytes since the last call."""
        pieces, self._pieces = bytes(self._pieces), bytearray()
        return pieces

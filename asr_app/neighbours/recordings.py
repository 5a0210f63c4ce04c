"""Recordings as they arrive in pieces, kept as a file among the uploads."""

from __future__ import annotations

import secrets
import shutil
import wave
from dataclasses import dataclass
from typing import BinaryIO

from asr_app.api_errors import ApiError
from asr_app.audio.samples import MIN_SECONDS
from asr_app.datatypes import SAMPLE_RATE
from asr_app.errors import UserError
from asr_app.storage import Storage

_MOST_WAV = 2**32 - 2**12  # bytes of samples: a WAV header counts in 32 bits
_LOOK_AFTER = 2**26  # bytes between two looks at the room on the disk
_RIFF = (b"RIFF", b"WAVE")


@dataclass(frozen=True)
class Pcm:
    """Samples without a header: little-endian integers of `width` bytes, `channels` interleaved, at `rate` Hz.

    Raises ValueError for numbers that no recording has.
    """

    rate: int = SAMPLE_RATE
    width: int = 2
    channels: int = 1

    def __post_init__(self) -> None:
        numbers = (self.rate, self.width, self.channels)
        if any(type(number) is not int for number in numbers):
            raise ValueError("rate, width and channels are whole numbers")
        if not (1000 <= self.rate <= 384_000 and 1 <= self.width <= 4 and 1 <= self.channels <= 32):
            raise ValueError(f"no recording has {self.rate} Hz, {self.width} bytes a sample, {self.channels} channels")


class Room:
    """Counts the bytes of a recording that arrives in `folder`, and keeps them within the limits."""

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        self.folder, self.size = storage.uploads, 0
        self._storage, self._max_bytes, self._looked_at = storage, max_bytes, 0

    def take(self, count: int) -> None:
        """Adds `count` bytes. Raises ApiError: 413 over the limit of a recording, 507 where the disk is full."""
        if self.size + count > min(self._max_bytes, _MOST_WAV):
            raise ApiError(413, f"The recording has more than {self._max_bytes / 2**20:.0f} MB. Send it in parts.")
        if self.size == 0 or self.size - self._looked_at > _LOOK_AFTER:
            try:
                self._storage.require_room(count)
            except UserError as error:
                raise ApiError(507, error.en) from error
            self._looked_at = self.size
        self.size += count


class Arrival:
    """A recording that arrives. `write` takes its pieces, `path` is the whole file after `close`.

    With `pcm` the pieces are samples without a header, unless the first one begins as a WAV file does. `discard` must
    be called in the end.
    """

    def __init__(self, room: Room, pcm: Pcm | None = None) -> None:
        self._room, self._pcm = room, pcm
        self._folder = room.folder / secrets.token_hex(16)
        self.path = self._folder / "recording"
        self._file: BinaryIO | None = None
        self._wave: wave.Wave_write | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it is too short to hold a word."""
        if self._wave is None or self._pcm is None:
            return self._room.size == 0
        return self._room.size < MIN_SECONDS * self._pcm.rate * self._pcm.width * self._pcm.channels

    def write(self, piece: bytes) -> None:
        """Appends a piece. Raises ApiError over the limits, and where the disk is full."""
        self._room.take(len(piece))
        try:
            file = self._open(piece) if self._file is None else self._file
            if self._wave is None:
                file.write(piece)
            else:
                self._wave.writeframesraw(piece)
        except OSError as error:
            raise ApiError(507, f"The recording could not be stored ({error.strerror}).") from error

    def close(self) -> None:
        """Completes the file. Raises ApiError where the disk is full."""
        try:
            if self._wave is not None:
                self._wave.close()
            if self._file is not None:
                self._file.close()
        except OSError as error:
            raise ApiError(507, f"The recording could not be stored ({error.strerror}).") from error

    def discard(self) -> None:
        """Deletes the file, if no job has it by then. May be called twice."""
        try:
            self.close()
        except ApiError:
            pass  # it goes, whole or not
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, first: bytes) -> BinaryIO:
        self._folder.mkdir()
        self._file = self.path.open("wb")
        if self._pcm is not None and (first[:4], first[8:12]) != _RIFF:
            self._wave = wave.open(self._file, "wb")  # noqa: SIM115 (open until `close`)
            self._wave.setparams((self._pcm.channels, self._pcm.width, self._pcm.rate, 0, "NONE", ""))
        return self._file

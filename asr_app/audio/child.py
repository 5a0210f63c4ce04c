"""A decoder in a process of its own: bounded in memory, in what it writes to disk and in time, and killed at once."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO

# Address space. An hour of any codec that the tests make takes 0.2 GB of it, most of which is the program itself.
_MOST_MEMORY = 1 << 30  # bytes
_LARGEST_FILE = 256 << 20  # bytes; a child writes its messages to a file, its output to a pipe
_LOOK_EVERY_S = 0.5
_EXIT_WITHIN_S = 10.0  # after its output ended


class TimedOut(Exception):
    """The child was killed at its deadline, or did not exit after its output had ended."""


class Child:
    """A context manager around the process. `read` calls `check` at least twice a second; its exceptions end the child.

    `seconds` is the wall clock that the child has until its output ends, the reader's own work included.
    """

    def __init__(self, command: Sequence[str], messages: IO[bytes], seconds: float, check: Callable[[], None]) -> None:
        self._check, self._deadline = check, time.monotonic() + seconds
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages, start_new_session=True
        )
        assert self._process.stdout is not None  # PIPE above
        self._pipe = self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        _limit(self._process.pid)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait()

    def read(self, size: int) -> bytes:
        """The next `size` bytes of the output; fewer at its end. Raises TimedOut, and what `check` raises."""
        taken = bytearray()
        while len(taken) < size:
            self._check()
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimedOut
            if self._selector.select(min(left_s, _LOOK_EVERY_S)):
                part = os.read(self._pipe, size - len(taken))
                if not part:
                    break
                taken += part
        return bytes(taken)

    def wait(self) -> int:
        """The exit status, after the output has ended; negative for a signal. Raises TimedOut."""
        try:
            return self._process.wait(_EXIT_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise TimedOut from None


def _limit(process: int) -> None:
    """Bounds memory and files from outside: code between fork and exec is not safe beside threads."""
    if sys.platform == "linux":
        import resource

        with contextlib.suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(process, resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
            resource.prlimit(process, resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
            resource.prlimit(process, resource.RLIMIT_CORE, (0, 0))

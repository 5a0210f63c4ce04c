"""Lets short calls into an engine go between the calls of the job that holds it.

A job holds an engine's lock for its whole recording. Live speech cannot wait that long, and must not run at the same time:
it waits for the job's present call only, and the job's next call waits for it. The two alternate.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

_COMES_AGAIN_S = 10.0  # live speech is recognised each second while somebody speaks
_POLL_S = 0.2  # between two calls of `check` by whoever waits


class Gate:
    """The order of calls into one engine. Its holder makes `step`s, several at once; a guest goes `between` them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._steps = self._waiting_steps = self._waiting_guests = 0
        self._owed = 0  # steps that waited while a guest was inside: they go before the next guest
        self._guest: int | None = None  # the thread of the guest inside
        self._last_guest = -math.inf  # seconds of the monotonic clock

    @property
    def is_shared(self) -> bool:
        """Whether guests come: one is inside, waits, or was here some seconds ago."""
        waits = self._guest is not None or self._waiting_guests > 0
        return waits or time.monotonic() - self._last_guest < _COMES_AGAIN_S

    def is_guest(self) -> bool:
        """Whether this thread is the guest inside."""
        return self._guest == threading.get_ident()

    @contextlib.contextmanager
    def step(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Brackets a call of the holder. `check` is called while it waits for a guest, and may raise."""
        with self._changed:
            self._waiting_steps += 1
            try:
                while self._guest is not None or (self._waiting_guests > 0 and self._owed == 0):
                    self._changed.wait(_POLL_S)
                    check()
            finally:
                self._waiting_steps -= 1
                self._owed = max(0, self._owed - 1)
                self._changed.notify_all()
            self._steps += 1
        try:
            yield
        finally:
            with self._changed:
                self._steps -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def between(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Waits for the running steps, and keeps new ones waiting. One guest at a time. `check` as in `step`."""
        with self._changed:
            self._waiting_guests += 1
            try:
                while self._guest is not None or self._steps > 0 or self._owed > 0:
                    self._changed.wait(_POLL_S)
                    check()
            finally:
                self._waiting_guests -= 1
                self._changed.notify_all()
            self._guest = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._guest, self._owed, self._last_guest = None, self._waiting_steps, time.monotonic()
                self._changed.notify_all()

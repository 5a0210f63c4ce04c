"""Progress on stderr: a bar on a terminal, a line now and then elsewhere. The end of a server's process."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from typing import NoReturn

from tqdm import tqdm

log = logging.getLogger(__name__)
_LOG_EVERY_S = 10.0
_DRAW_EVERY_S, _PRINT_EVERY_S = 0.5, 30.0  # on a terminal; in a log


def progress_bar(title: str, total: int, unit: str) -> tqdm:
    """A bar of `total` units with the time left, to be updated and closed. It is removed at its end."""
    often = _DRAW_EVERY_S if sys.stderr.isatty() else _PRINT_EVERY_S
    return tqdm(total=total, desc=title, unit=unit, file=sys.stderr, leave=False, mininterval=often)


class DownloadProgress:
    """Call it with bytes so far and bytes in all (0 while unknown). Shows nothing before the first call."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: tqdm | None = None
        self._logged = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._draw(done, total)
        elif time.monotonic() - self._logged >= _LOG_EVERY_S or done >= total > 0:
            self._logged = time.monotonic()
            of = f" of {total / 1e6:.0f}" if total else ""
            log.info("downloading %s: %.0f%s MB", self._title, done / 1e6, of)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            # An earlier try's bytes do not count towards the speed.
            self._bar = tqdm(desc=self._title, unit="B", unit_scale=True, file=sys.stderr, leave=False, initial=done)
        self._bar.total = total or None
        self._bar.update(done - self._bar.n)
        if done >= total > 0:
            self.close()


def printable(line: str) -> str:
    """The line with escapes for control characters: a file's name may hold line breaks and commands for the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def end_process() -> NoReturn:
    """Ends a server's process with 0.

    A daemon thread may be inside native code that loads a model. Tearing the interpreter down under it aborts.
    """
    atexit._run_exitfuncs()
    logging.shutdown()
    os._exit(0)

"""Unloads models that nobody has used for a while. The next job loads its model again."""

from __future__ import annotations

import logging
import threading

from asr_app.engines import Engines

log = logging.getLogger(__name__)
_LOOK_S = 15.0


class IdleUnloader:
    """A thread that unloads models unused for `minutes`; without a thread if that is 0."""

    def __init__(self, engines: Engines, minutes: float) -> None:
        self._engines, self._unused_s = engines, minutes * 60
        self._stopping = threading.Event()

    def start(self) -> None:
        """Starts looking."""
        if self._unused_s:
            threading.Thread(target=self._work, name="idle", daemon=True).start()

    def stop(self) -> None:
        """Unloads nothing any more."""
        self._stopping.set()

    def _work(self) -> None:
        while not self._stopping.wait(min(_LOOK_S, self._unused_s / 4)):
            self._engines.unload_idle(self._unused_s)

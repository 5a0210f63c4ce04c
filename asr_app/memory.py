"""What this process holds of memory, and how it gives back what it does not."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading

import psutil
import torch

# Of a larger block, freed, the C library keeps nothing. Left to itself it learns to keep those of up to 32 MB: for two
# chunks of SenseVoice at once, whose scores are that large, 150 MB more, and no time is won.
_LARGE_BYTES = 4 << 20
_M_MMAP_THRESHOLD = -3  # of malloc.h


def resident_bytes() -> int:
    """This process's resident memory."""
    return int(psutil.Process().memory_info().rss)


class PeakMemory:
    """Samples resident memory in the background: the peak while the work runs, not since the process began."""

    def __init__(self, device: str, every_s: float = 0.05) -> None:
        self._device, self._every_s = torch.device(device), every_s
        self._stop = threading.Event()
        self.peak = resident_bytes()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self.peak = max(self.peak, resident_bytes())

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def as_dict(self, weights: int) -> dict[str, int]:
        found = {"weights": weights, "peak_rss": max(self.peak, resident_bytes())}
        if self._device.type == "cuda":
            found["peak_device"] = int(torch.cuda.max_memory_allocated(self._device))
        return found


def give_back_at_once() -> None:
    """From now on large blocks leave the process when they are freed. Asked again, it does nothing."""
    _ask_libc("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back_memory(*, collect: bool = True) -> None:
    """Makes freed weights leave the process, not only its heap.

    Without `collect`, those that hang in circles of references stay; looking for them takes a quarter of a second.
    """
    if collect:
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _ask_libc("malloc_trim", 0)


def _ask_libc(function: str, *given: int) -> None:
    """Calls a function of glibc's; elsewhere there is none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            getattr(ctypes.CDLL("libc.so.6"), function)(*given)

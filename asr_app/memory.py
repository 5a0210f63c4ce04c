"""Memory of this process: what it holds, what it can still get, and how it gives back what it does not hold."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# Of a larger block, freed, the C library keeps nothing. Left to itself it learns to keep those of up to 32 MB: for two
# chunks of SenseVoice at once, whose scores are that large, 150 MB more, and no time is won.
_LARGE_BYTES = 4 << 20
_M_MMAP_THRESHOLD = -3  # of malloc.h
_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Needs:
    """Bytes of memory that a model takes: `resident` once it is loaded, `peak` while it is loaded or made.

    `mapped` are those of files that are mapped meanwhile: they take address space, and memory only while there is some.
    `parts` are the resident ones of each part.
    """

    resident: int
    peak: int
    mapped: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)


def free_bytes(device: str = "cpu", mapped: int = 0) -> int:
    """Bytes that this process can still get on `device`, with files of `mapped` bytes mapped as well.

    On a CPU it is the least of what the machine, the process's cgroups and its limit of address space leave.
    """
    if device.startswith("cuda"):
        import torch

        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + cached)
    limits = [int(psutil.virtual_memory().available), *_left_by_cgroups()]
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            limits.append(most - psutil.Process().memory_info().vms - mapped)
    return max(0, min(limits))


def _left_by_cgroups() -> Iterator[int]:
    """Free bytes in each memory cgroup around this process, of either version. Reclaimable cached files are free."""
    try:
        lines = [line.split(":", 2) for line in _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    for _, controllers, path in lines:
        if controllers == "":
            root, limit, used, cached = _CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used, cached = (
                _CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
            )  # fmt: skip
        else:
            continue
        own = root / path.strip("/")
        for group in [own, *(parent for parent in own.parents if parent.is_relative_to(root))]:
            with contextlib.suppress(OSError, ValueError, KeyError):  # no limit ("max"), or not visible in a container
                most = int((group / limit).read_text())
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                yield most - int((group / used).read_text()) + int(stat[cached])


def resident_bytes() -> int:
    """This process's resident memory."""
    return int(psutil.Process().memory_info().rss)


class PeakMemory:
    """Samples resident memory in the background: the peak while the work runs, not since the process began.

    `before` is the resident memory when the work begins.
    """

    def __init__(self, device: str, every_s: float = 0.05) -> None:
        self._device, self._every_s = device, every_s
        self._stop = threading.Event()
        self.before = self.peak = resident_bytes()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self.peak = max(self.peak, resident_bytes())

    def __enter__(self) -> PeakMemory:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def as_dict(self, weights: int) -> dict[str, int]:
        figures = {"weights": weights, "peak_rss": max(self.peak, resident_bytes())}
        if self._device.startswith("cuda"):
            import torch

            figures["peak_device"] = int(torch.cuda.max_memory_allocated(self._device))
        return figures


def give_back_at_once() -> None:
    """From now on large blocks leave the process when they are freed. Asked again, it does nothing."""
    _ask_libc("mallopt", _M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back_memory(*, collect: bool = True) -> None:
    """Makes freed weights leave the process, not only its heap.

    Without `collect`, those that hang in circles of references stay; looking for them takes a quarter of a second.
    """
    if collect:
        gc.collect()
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _ask_libc("malloc_trim", 0)


def _ask_libc(function: str, *given: int) -> None:
    """Calls a function of glibc's; elsewhere there is none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            getattr(ctypes.CDLL("libc.so.6"), function)(*given)

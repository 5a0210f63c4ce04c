"""Loads models at a precision, warms them up, checks them, and keeps as many resident as the memory budget allows.

One lock an engine: FunASR's AutoModel is not thread-safe. An engine in use is never unloaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from asr_app import catalog, hub
from asr_app.checks import Check, self_check
from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.families._funasr import load_auto_model
from asr_app.families.base import Engine
from asr_app.hub import OnProgress
from asr_app.precision import Precision, PrecisionReport, apply, refusal, report, variants

log = logging.getLogger(__name__)


@dataclass
class Loaded:
    """A resident engine with what loading it cost. Hold it only inside `Engines.use`."""

    card: ModelCard
    engine: Engine
    precision: PrecisionReport
    device: str
    load_s: float
    warmup_s: float
    check: Check
    threads: int
    vad: object | None = None  # FunASR's fsmn-vad, where the card brings one
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    last_used: float = 0.0
    fresh: bool = True  # the job that waited for the loading has not been told what it cost
    given_back: int = 0  # bytes by which memory fell when others went to make room for it


@dataclass
class Startup:
    """What the server is loading before anyone asked: shown in the page's pill. `done` and `total` are bytes."""

    model: str = ""
    busy: bool = False
    done: int = 0
    total: int = 0
    error: UserError | None = None


def pick_device(wanted: str) -> str:
    """ "auto" -> the first CUDA device or the CPU. Raises UserError for a device that is not there."""
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        kind = ""
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "No CUDA device is usable here. Check the driver (torch 2.13 from PyPI needs CUDA 13), or use --device cpu.",
            "此处没有可用的 CUDA 设备。请检查驱动（PyPI 的 torch 2.13 需要 CUDA 13），或使用 --device cpu。",
        )
    if kind == "cuda" and (torch.device(wanted).index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"There is no {wanted}: {torch.cuda.device_count()} CUDA devices are here, counted from cuda:0.",
            f"没有 {wanted}：此处有 {torch.cuda.device_count()} 个 CUDA 设备，从 cuda:0 开始编号。",
        )
    if kind not in ("cpu", "cuda"):
        raise UserError(
            f"Unknown device {wanted!r}. Use auto, cpu or cuda:0.", f"未知设备 {wanted!r}。可用：auto、cpu、cuda:0。"
        )
    return wanted


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the limit of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(int(quota) / int(period))))
    return cores


class Engines:
    """The resident engines of one device. `budget` is bytes of weights; the least recently used idle one goes first.

    `cache` keeps variants from one start to the next.
    """

    def __init__(
        self, device: str, threads: int, hub_name: str, budget: int | None = None, cache: Path | None = None
    ) -> None:
        self.device, self.threads, self.hub_name, self.cache = device, threads, hub_name, cache
        self.budget = budget or _default_budget(device)
        self._resident: dict[tuple[str, Precision], Loaded] = {}
        self._lock = threading.Lock()  # guards the dictionary
        self._loading = threading.Lock()  # one model is loaded at a time
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(
            threading.Lock
        )  # by model: one download at a time
        self.startup = Startup()

    def preload(self, card: ModelCard, precision: Precision, fallback: ModelCard) -> None:
        """Loads the model the server was started with; where that cannot be, says why and loads `fallback` instead."""

        def downloading(done: int, total: int) -> None:
            self.startup.done, self.startup.total = done, total

        self.startup = Startup(card.id, busy=True)
        try:
            try:
                with self.use(card, precision, downloading) as loaded:
                    loaded.fresh = False  # no job waited for it
            except UserError as error:
                log.error("%s", error)
                self.startup = Startup(fallback.id, busy=True, error=error)
                with self.use(fallback, Precision.FP32) as loaded:
                    loaded.fresh = False
        except Exception as error:
            log.exception("no model could be loaded")
            what = type(error).__name__
            self.startup.error = UserError(
                f"Loading {card.id} failed ({what}); the server's log has the details. Choose another model.",
                f"加载 {card.id} 失败（{what}），详情见服务器日志。请选择其他模型。",
            )
        finally:
            self.startup.busy = False

    def resident(self) -> list[Loaded]:
        """What is loaded now, most recently used first."""
        with self._lock:
            return sorted(self._resident.values(), key=lambda x: -x.last_used)

    @contextlib.contextmanager
    def use(self, card: ModelCard, precision: Precision, on_progress: OnProgress | None = None) -> Iterator[Loaded]:
        """The engine of `card` at `precision`, loaded if it must be, its lock held.

        Raises UserError if the pair is not allowed, cannot be loaded, or fails its self-check at a lowered precision.
        """
        problem = refusal(precision, catalog.recipes(card), card.precisions, self.device)
        if problem:
            raise problem
        loaded = self._take(card, precision, on_progress)
        try:
            with loaded.lock:
                yield loaded
        finally:
            with self._lock:
                loaded.users -= 1
                loaded.last_used = time.monotonic()

    def _take(self, card: ModelCard, precision: Precision, on_progress: OnProgress | None) -> Loaded:
        key = (card.directory or card.id, precision)
        if found := self._find(key):
            return found
        # Before anything goes for it: what cannot be had, or is cancelled on the way, leaves all as it was.
        folders = self._fetch(card, on_progress)
        with self._loading:
            if found := self._find(key):  # another thread has loaded it in the meantime
                return found
            with self._lock:
                # Before, or the two would be in memory at once.
                given_back = self._evict(coming=card.size_mb * 1_000_000)
            loaded = load_from(folders, card, precision, self.device, self.threads, self.cache)
            if not loaded.check.passed and precision is not Precision.FP32:
                raise UserError(
                    f"{card.id} at {precision.label} failed its self-check: {loaded.check.reason}. "
                    "It was not put to use; choose another precision.",
                    f"{card.id} 的 {precision.label} 版本自检未通过：{loaded.check.reason}。未启用，请选择其他精度。",
                )
            with self._lock:
                self._resident[key] = loaded
                loaded.users += 1
                loaded.last_used = time.monotonic()
                loaded.given_back = given_back + self._evict()
            return loaded

    def _fetch(self, card: ModelCard, on_progress: OnProgress | None) -> dict[str, Path]:
        with self._lock:
            fetching = self._fetching[card.directory or card.id]
        while not fetching.acquire(timeout=0.5):
            if on_progress:
                on_progress(self.startup.done, self.startup.total)  # another's; and it may raise to cancel
        try:
            return locate(card, self.hub_name, on_progress)
        finally:
            fetching.release()

    def _find(self, key: tuple[str, Precision]) -> Loaded | None:
        with self._lock:
            found = self._resident.get(key)
            if found:
                found.users += 1
            return found

    def _held(self) -> int:
        on_device = torch.cuda.memory_reserved(self.device) if torch.device(self.device).type == "cuda" else 0
        return resident_bytes() + on_device

    def _evict(self, coming: int = 0) -> int:
        """Bytes of memory that came back, the device's with the process's."""
        before = self._held()
        gone: list[tuple[str, Precision]] = []
        while sum(x.precision.weight_bytes for x in self._resident.values()) + coming > self.budget:
            idle = [k for k, x in self._resident.items() if x.users == 0]
            if not idle:
                break
            gone.append(min(idle, key=lambda k: self._resident[k].last_used))
            del self._resident[gone[-1]]
        if not gone:
            return 0
        give_back_memory()
        freed = max(0, before - self._held())
        log.info(
            "unloaded %s over the memory budget: %.0f MB given back",
            ", ".join(f"{name} at {precision.label}" for name, precision in gone), freed / 1e6,
        )  # fmt: skip
        return freed


def load(
    card: ModelCard,
    precision: Precision,
    device: str,
    threads: int,
    hub_name: str,
    on_progress: OnProgress | None = None,
    cache: Path | None = None,
) -> Loaded:
    """As `load_from`, of the folders that the hubs and the repository have for the card."""
    return load_from(locate(card, hub_name, on_progress), card, precision, device, threads, cache)


def load_from(
    folders: Mapping[str, Path],
    card: ModelCard,
    precision: Precision,
    device: str,
    threads: int,
    cache: Path | None = None,
) -> Loaded:
    """Folders -> model -> precision -> warm-up -> self-check. Raises UserError where a folder or checkpoint is wrong.

    A variant that `cache` has is loaded without the weights it was made of; one that it lacks is written to it.
    """
    began = time.perf_counter()
    engine = _at(precision, folders, card, device, threads, cache)
    vad = None
    if card.vad == "fsmn" and "vad" in folders:
        vad = load_auto_model(folders["vad"], ("FsmnVADStreaming",), "cpu", threads)
    give_back_memory()  # of the checkpoint, and of the weights that lower ones took the place of
    load_s = time.perf_counter() - began
    began = time.perf_counter()
    check = self_check(card, engine)
    if torch.device(device).type == "cuda":
        # The first pass compiled and allocated; a second one, waited for, is what every later chunk is like.
        self_check(card, engine)
        torch.cuda.synchronize(device)
    warmup_s = time.perf_counter() - began
    counted = report(engine.parts, precision)
    log.info("%s: %s, %.0f MB, loaded in %.1f s", card.id, counted.effective, counted.weight_bytes / 1e6, load_s)
    if not check.passed:
        log.warning("%s at %s failed its self-check: %s", card.id, precision.label, check.reason)
    return Loaded(card, engine, counted, device, load_s, warmup_s, check, threads, vad)


def _at(
    precision: Precision, folders: Mapping[str, Path], card: ModelCard, device: str, threads: int, cache: Path | None
) -> Engine:
    """The engine at `precision`, from its variant on disk, which is made if it must be."""
    family, recipes = catalog.FAMILIES[card.family], catalog.recipes(card)
    if precision is Precision.FP32:
        return family.load(card, folders, device, threads)
    with tempfile.TemporaryDirectory(prefix="asr-variant-") if cache is None else contextlib.nullcontext(cache) as home:
        weights = variants.weights(folders, Path(home))
        recipe = recipes[precision, torch.device(device).type]
        place = Path(home) / "variants" / variants.key(card.family, weights, precision, recipe, device)
        try:
            if not variants.whole(place):
                engine = family.load(card, folders, device, threads)
                with variants.written(place) as folder:
                    apply(engine.parts, recipes, precision, device, folder)
                    variants.save(engine.parts, folder)
                del engine
                give_back_memory()
        except OSError as error:
            log.warning("no variant of %s could be written (%s): it is made in memory, at each start", card.id, error)
            engine = family.load(card, folders, device, threads)
            apply(engine.parts, recipes, precision, device)
            return engine
        engine = family.load(card, folders, device, threads, empty=True)
        apply(engine.parts, recipes, precision, device, place)
        variants.fill(engine.parts, place, device)
        return engine


def locate(card: ModelCard, hub_name: str, on_progress: OnProgress | None = None) -> dict[str, Path]:
    """The folder or file of each of the model's roles, downloaded if it must be. Raises UserError without its model."""
    roles = catalog.FAMILIES[card.family].ROLES
    folders = {role: path for role in roles if (path := hub.locate(card, role, hub_name, on_progress))}
    if "model" not in folders:
        raise UserError(
            f"{card.id}: its files are not here. Check the directory, or choose another model.",
            f"{card.id}：缺少模型文件。请检查目录或选择其他模型。",
        )
    return folders


def resident_bytes() -> int:
    """This process's resident memory."""
    return int(psutil.Process().memory_info().rss)


def _default_budget(device: str) -> int:
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory * 0.7)
    return int(psutil.virtual_memory().available * 0.5)


def give_back_memory() -> None:
    """Makes freed weights leave the process, not only its heap."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)

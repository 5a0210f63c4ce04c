"""Keeps as many models resident as the memory budget allows, and loads what is asked for and not there.

One lock an engine: FunASR's AutoModel is not thread-safe. An engine in use is never unloaded. Live speech goes between the
calls of an engine's user (gate.py).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from asr_app import catalog
from asr_app.datatypes import ModelCard
from asr_app.devices import default_budget, emulated
from asr_app.errors import UserError
from asr_app.gate import Gate
from asr_app.hub import OnProgress
from asr_app.loading import Loaded, load_from, locate, needs
from asr_app.memory import Needs, free_bytes, give_back_memory, resident_bytes
from asr_app.precision import Evidence, Precision, choose, refusal
from asr_app.precision.apply import OnStep
from asr_app.precision.evidence import Table
from asr_app.speakers.resident import LoadedSpeakers, SpeakerModel
from asr_app.stopping import POLL_S, Stop, stoppable

log = logging.getLogger(__name__)


class Engines:
    """The resident engines of one device. `budget` is bytes of weights; the least recently used idle one goes first.

    `cache` keeps variants from one start to the next.
    """

    def __init__(
        self, device: str, threads: int, hub_name: str, budget: int | None = None, cache: Path | None = None
    ) -> None:
        self.device, self.threads, self.hub_name, self.cache = device, threads, hub_name, cache
        self.budget = budget or default_budget(device)
        self._resident: dict[tuple[str, Precision], Loaded] = {}
        self._resting: tuple[ModelCard, Precision] | None = None
        self._lock = threading.Lock()  # guards the dictionary
        self._loading = threading.Lock()  # one model is loaded at a time
        # By model: one download at a time, and how far it is.
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._fetched: dict[str, tuple[int, int]] = {}
        self.evidence = Table(cache, device, threads)
        self._speakers = SpeakerModel(hub_name, device, threads)

    def choose(self, card: ModelCard, lite: bool, picked: Precision | None) -> Precision:
        """The precision for `card`, by what was picked and what was measured here. Raises UserError if there is none."""
        measured, slow = self.evidence.of(card.key), emulated(self.device) if lite and picked is None else ()
        return choose(lite, picked, catalog.recipes(card), card.precisions, self.device, measured, slow)

    def has_room(self, card: ModelCard, precision: Precision) -> bool:
        """Whether `card`, whose files are here, can be loaded at `precision`, made if it must be, with nothing unloaded."""
        needed = self._needs(locate(card, self.hub_name), card, precision)
        with self._lock:
            return self._weights() + needed.resident <= self.budget and needed.peak <= self._free(needed)

    def resident(self) -> list[Loaded]:
        """The loaded models, most recently used first."""
        with self._lock:
            return sorted(self._resident.values(), key=lambda x: -x.last_used)

    @contextlib.contextmanager
    def use(
        self,
        card: ModelCard,
        precision: Precision,
        on_progress: OnProgress | None = None,
        on_step: OnStep | None = None,
        stop: Stop | None = None,
    ) -> Iterator[Loaded]:
        """The engine of `card` at `precision`, loaded if it must be, its lock held.

        `on_progress` is told of a download, `on_step` of the making of a variant; both may raise Cancelled. So does
        `stop`, while this waits and inside the engine. An engine whose user is overdue is replaced by another one.
        Raises UserError if the pair is not allowed, cannot be loaded, or fails its self-check at a lowered precision.
        """
        problem = refusal(precision, catalog.recipes(card), card.precisions, self.device)
        if problem:
            raise problem
        stop = stop or Stop()
        loaded = self._locked(card, precision, on_progress, on_step, stop)
        try:
            loaded.stop = stop
            torch.set_num_threads(self.threads)
            with stoppable(loaded.modules, stop, loaded.gate.is_guest):
                yield loaded
        finally:
            loaded.lock.release()
            self._leave(loaded)

    @contextlib.contextmanager
    def between(self, card: ModelCard, precision: Precision, stop: Stop | None = None) -> Iterator[Loaded]:
        """Like `use`, for a call of a second or two: it goes between the calls of whoever holds the engine.

        Its `Loaded` shares the engine, with `stop` and a gate of its own. Raises as `use` does.
        """
        problem = refusal(precision, catalog.recipes(card), card.precisions, self.device)
        if problem:
            raise problem
        stop = stop or Stop()
        while True:
            loaded = self._take(card, precision, None, None, stop)
            try:
                with loaded.gate.between(partial(_check_waiting, stop, loaded), stop):
                    torch.set_num_threads(self.threads)
                    yield replace(loaded, stop=stop, gate=Gate())
                    return
            except _HolderHangs:
                self._give_up(loaded)
            finally:
                self._leave(loaded)

    def _locked(
        self,
        card: ModelCard,
        precision: Precision,
        on_progress: OnProgress | None,
        on_step: OnStep | None,
        stop: Stop,
    ) -> Loaded:
        """The engine with its lock held. Raises Cancelled while waiting for it."""
        while True:
            loaded = self._take(card, precision, on_progress, on_step, stop)
            try:
                while not loaded.lock.acquire(timeout=POLL_S):
                    stop.check()
                    if loaded.stop.is_overdue():
                        self._give_up(loaded)
                        break
                else:
                    return loaded
            except BaseException:
                self._leave(loaded)
                raise
            self._leave(loaded)

    @contextlib.contextmanager
    def speakers(
        self, card: ModelCard, on_progress: OnProgress | None = None, stop: Stop | None = None
    ) -> Iterator[LoadedSpeakers]:
        """The speaker model for recognition by `card`, loaded if it must be, its lock held.

        Its bytes count in the budget: idle engines go for it. Raises UserError if no source has it or it does not fit
        into the memory, and Cancelled while waiting.
        """
        with self._speakers.use(card, on_progress, stop or Stop(), self._make_room_for_speakers) as loaded:
            yield loaded

    def _make_room_for_speakers(self, size: int) -> None:
        with self._lock:
            self._evict(lambda: self._weights() + size > self.budget or size > free_bytes(self.device))
            if size > (free := free_bytes(self.device)):
                raise UserError(
                    f"The speaker model needs {_amount(size)} of memory, {_amount(free)} are free. Leave speakers out.",
                    f"说话人模型需要 {_amount(size)} 内存，可用 {_amount(free)}。请关闭说话人区分。",
                )

    def unload_idle(self, unused_s: float = 0.0) -> int:
        """Unloads every engine that nobody uses or has used for `unused_s`; with the last of them the speaker model.

        Returns the bytes of memory that came back.
        """
        now = time.monotonic()
        with self._lock:
            last = max(self._resident.values(), key=lambda x: x.last_used, default=None)
            freed = self._evict(
                lambda: any(x.users == 0 and now - x.last_used >= unused_s for x in self._resident.values())
            )
            if last is not None and not self._resident:
                self._resting = last.card, last.precision.requested
            is_empty = not self._resident
        if is_empty:
            self._speakers.unload_idle()
        return freed

    @property
    def resting(self) -> tuple[ModelCard, Precision] | None:
        """The last model in use, if `unload_idle` has left none in memory. The next job loads its model again."""
        return None if self._resident else self._resting

    def _leave(self, loaded: Loaded) -> None:
        with self._lock:
            loaded.users -= 1
            loaded.last_used = time.monotonic()

    def _give_up(self, loaded: Loaded) -> None:
        """Hands an engine that hangs to nobody any more. Its memory comes back when its call returns, if ever."""
        with self._lock:
            for key in [k for k, x in self._resident.items() if x is loaded]:
                del self._resident[key]
                log.error("%s at %s does not return; it is loaded anew", loaded.card.id, key[1].label)

    def _take(
        self,
        card: ModelCard,
        precision: Precision,
        on_progress: OnProgress | None,
        on_step: OnStep | None,
        stop: Stop,
    ) -> Loaded:
        key = (card.key, precision)
        if loaded := self._find(key):
            return loaded
        # Before anything goes for it: what cannot be had, or is cancelled on the way, leaves all as it was.
        folders = self._fetch(card, on_progress, stop)
        with stop.holding(self._loading):
            if loaded := self._find(key):  # another thread has loaded it in the meantime
                return loaded
            given_back = self._make_room(folders, card, precision)
            loaded = load_from(folders, card, precision, self.device, self.threads, self.cache, on_step)
            if not loaded.check.passed:
                failed = Evidence(loaded.precision.weight_bytes, loaded.check.reason)
                self.evidence.note(loaded.card.key, precision, loaded.weights, failed)
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
                loaded.given_back = given_back + self._evict(lambda: self._weights() > self.budget)
            return loaded

    def _make_room(self, folders: Mapping[str, Path], card: ModelCard, precision: Precision) -> int:
        """Unloads what must go before the model is loaded, and returns the bytes that came back.

        Raises UserError where it would not fit with all idle engines gone; then none goes.
        """
        needed = self._needs(folders, card, precision)
        with self._lock:
            idle = sum(x.precision.weight_bytes for x in self._resident.values() if x.users == 0)
            if needed.peak > self._free(needed) + idle:
                raise self._does_not_fit(folders, card, precision, needed)
            # Evict before loading, so that old and new weights are never resident together.
            given_back = self._evict(
                lambda: self._weights() + needed.resident > self.budget or needed.peak > self._free(needed)
            )
            if needed.peak > self._free(needed):
                raise self._does_not_fit(folders, card, precision, needed)
        return given_back

    def _does_not_fit(
        self, folders: Mapping[str, Path], card: ModelCard, precision: Precision, needed: Needs
    ) -> UserError:
        lite = precision
        if precision is Precision.FP32:
            with contextlib.suppress(UserError):  # the model has no lite variant
                lite = self.choose(card, True, None)
        fits = lite is not precision and self._needs(folders, card, lite).peak <= self._free(needed)
        en, zh = ("Use lite mode, or choose", "请使用轻量模式，或选择") if fits else ("Choose", "请选择")
        takes, free = _amount(needed.peak), _amount(self._free(needed))
        return UserError(
            f"{card.id} at {precision.label} needs {takes} of memory, {free} are free. {en} a smaller model.",
            f"{card.id}（{precision.label}）需要 {takes} 内存，可用 {free}。{zh}更小的模型。",
        )

    def _needs(self, folders: Mapping[str, Path], card: ModelCard, precision: Precision) -> Needs:
        return needs(folders, card, precision, self.device, self.threads, self.cache)

    def _free(self, needed: Needs) -> int:
        return free_bytes(self.device, needed.mapped)

    def _weights(self) -> int:
        return sum(x.precision.weight_bytes for x in self._resident.values()) + self._speakers.weight_bytes

    def _fetch(self, card: ModelCard, on_progress: OnProgress | None, stop: Stop) -> dict[str, Path]:
        """The model's folders. `on_progress` also reports a download that another thread has begun."""
        with self._lock:
            fetching = self._fetching[card.key]

        def downloading(done: int, total: int) -> None:
            stop.check()
            self._fetched[card.key] = done, total
            if on_progress:
                on_progress(done, total)

        while not fetching.acquire(timeout=POLL_S):
            stop.check()
            if on_progress:
                on_progress(*self._fetched.get(card.key, (0, 0)))  # may raise to cancel the waiting
        try:
            return locate(card, self.hub_name, downloading)
        finally:
            self._fetched.pop(card.key, None)
            fetching.release()

    def _find(self, key: tuple[str, Precision]) -> Loaded | None:
        with self._lock:
            loaded = self._resident.get(key)
            if loaded:
                loaded.users += 1
            return loaded

    def _held(self) -> int:
        on_device = torch.cuda.memory_reserved(self.device) if torch.device(self.device).type == "cuda" else 0
        return resident_bytes() + on_device

    def _evict(self, is_short: Callable[[], bool]) -> int:
        """Unloads idle engines, the least recently used first, for as long as memory `is_short`.

        Returns the bytes of memory that came back, the device's with the process's.
        """
        before = self._held()
        gone: list[tuple[str, Precision]] = []
        while is_short():
            idle = [k for k, x in self._resident.items() if x.users == 0]
            if not idle:
                break
            gone.append(min(idle, key=lambda k: self._resident[k].last_used))
            del self._resident[gone[-1]]
            give_back_memory()
        if not gone:
            return 0
        freed = max(0, before - self._held())
        log.info(
            "unloaded %s: %.0f MB given back",
            ", ".join(f"{name} at {precision.label}" for name, precision in gone), freed / 1e6,
        )  # fmt: skip
        return freed


class _HolderHangs(Exception):
    """The call for which a guest waits does not return."""


def _check_waiting(own: Stop, loaded: Loaded) -> None:
    own.check()
    if loaded.stop.is_overdue() or loaded.gate.guest_hangs:
        raise _HolderHangs


def _amount(size: int) -> str:
    """`6.3 GB`, `420 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"

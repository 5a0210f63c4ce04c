"""Ends work that nobody wants any more within two seconds, and leaves behind a call that does not return.

A `Stop` flows with a job to whatever works for it. Python code asks it between steps; a model asks it before each of
its layers. One call into native code cannot be interrupted, so a job runs in a thread of its own (`supervise`): the
waiting ends at once, and the thread at its next question.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from typing import TypeVar

from torch import nn

from asr_app.errors import Cancelled

POLL_S = 0.2
_GRACE_S = 1.0  # for work to end by itself, so that locks and files are free when its caller goes on
# For a call into a model after it was asked to stop. One layer of the largest model, or one graph of all of its layers
# on a slow processor, takes less; whoever waits for that model's lock waits no longer than this.
_AFTER_STOP_S = 120.0

T = TypeVar("T")


class Stop:
    """The request to end one piece of work, and the time by which its calls into a model must return."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()  # guards `_due`
        self._due: dict[int, float] = {}  # by thread; seconds of the monotonic clock

    def ask(self) -> None:
        """Makes every later `check` raise. Calls into a model get two more minutes at most."""
        with self._lock:
            self._asked.set()
            latest = time.monotonic() + _AFTER_STOP_S
            self._due = {thread: min(due, latest) for thread, due in self._due.items()}

    def check(self) -> None:
        """Raises Cancelled if the work is to end. Costs 50 ns."""
        if self._asked.is_set():
            raise Cancelled

    @contextlib.contextmanager
    def due_within(self, seconds: float) -> Iterator[None]:
        """Brackets a call that takes longer only if it hangs. Raises Cancelled, as `check` does, before and after it."""
        with self._lock:
            self.check()
            self._due[threading.get_ident()] = time.monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                del self._due[threading.get_ident()]
        self.check()

    def is_overdue(self) -> bool:
        """Whether one of the bracketed calls should have returned by now."""
        with self._lock:
            return any(due < time.monotonic() for due in self._due.values())

    @contextlib.contextmanager
    def holding(self, lock: threading.Lock) -> Iterator[None]:
        """Holds `lock` in the block. Raises Cancelled while waiting for it."""
        while not lock.acquire(timeout=POLL_S):
            self.check()
        try:
            yield
        finally:
            lock.release()


def supervise(work: Callable[[], T], stop: Stop, watch: Callable[[], None]) -> T:
    """Runs `work` in a thread of its own and returns its result, or raises what it raises.

    `watch` is called every 0.2 s while it runs. If that raises, `stop` is asked, `work` gets a second to end, and the
    exception goes on to the caller. A thread that is still in native code then ends at its next `stop.check()`.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="supervised", daemon=True).start()
    while not wait([future], POLL_S).done:
        try:
            watch()
        except BaseException:
            stop.ask()
            wait([future], _GRACE_S)
            raise
    return future.result()


@contextlib.contextmanager
def stoppable(
    parts: Mapping[str, nn.Module], stop: Stop, is_exempt: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Inside the block every part, and every layer of its stacks, raises Cancelled instead of running once `stop` asks.

    A decoder asks at each token, an encoder at each layer; several threads may be in the parts at once. A thread that
    `is_exempt` works for somebody else, and goes on.
    """
    modules = dict.fromkeys(parts.values())
    for part in parts.values():
        for stack in part.modules():
            # FunASR's stacks are of a kind of Sequential; a plain one is the inside of a layer, called at each token.
            if isinstance(stack, nn.ModuleList | nn.Sequential) and type(stack) is not nn.Sequential:
                modules |= dict.fromkeys(stack)

    def check(_module: nn.Module, _given: object) -> None:
        if not is_exempt():
            stop.check()

    hooks = [module.register_forward_pre_hook(check) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""Carries a job to a replica, and its progress back. A job whose replica is lost goes on at another one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from asr_app import ray_cluster
from asr_app.cluster.replica import Message
from asr_app.datatypes import Transcript
from asr_app.errors import UserError
from asr_app.journal import Task
from asr_app.stopping import Stop
from asr_app.work import Before, Event, Split, Step

log = logging.getLogger(__name__)
_MOST_LOST = 3  # replicas that may end over one recording


class ReplicaWorker:
    """Works by the replicas behind `handle`, a DeploymentHandle of Ray Serve."""

    def __init__(self, handle: Any) -> None:
        self._ray = ray_cluster.imported()
        self._handle = handle.options(stream=True)

    def work(self, task: Task, before: Before, stop: Stop, tell: Callable[[Event], None]) -> Transcript:
        """Does `Worker.work`. After the loss of a replica, another one goes on after the last chunk that was told."""
        recording = self._ray.put(_bytes(task.recording))

        def note(event: Event) -> None:
            nonlocal task, before
            tell(event)
            if isinstance(event, Step):
                chunk = event.progress
                task = dataclasses.replace(task, resume_s=chunk.end_s, carry=chunk.carry, times=chunk.times)
                before = before.plus(event)
            elif isinstance(event, Split):
                before = before.split(event)

        for _ in range(_MOST_LOST):
            response = self._handle.recognise.remote(recording, task, before)
            try:
                return _transcript(response, stop, note)
            except self._ray.exceptions.RayActorError as error:
                log.warning("a replica was lost while it worked on a job: %s", str(error).partition("\n")[0])
            except BaseException:  # nobody wants the rest
                response.cancel()
                raise
        raise UserError(
            f"{_MOST_LOST} replicas ended while they worked on {task.name}, perhaps for want of memory. Try a part of it.",
            f"处理 {task.name} 时有 {_MOST_LOST} 个副本退出，可能是内存不足。请截取其中一部分再试。",
        )


def _transcript(response: Any, stop: Stop, note: Callable[[Event], None]) -> Transcript:
    """The last message of the response. Notes the events before it."""
    message: Message
    for message in response:
        stop.check()
        if isinstance(message, Transcript):
            return message
        if isinstance(message, tuple):
            raise UserError(*message)
        if message is not None:
            note(message)
    raise AssertionError("a replica ends with a transcript or a problem")


def _bytes(path: Path) -> np.ndarray:
    """The bytes of a file, uint8. They are mapped: Ray copies them once, into its store."""
    if not path.stat().st_size:
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, "r").view(np.ndarray)

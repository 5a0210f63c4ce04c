"""Starts the replicas on the cluster that was joined, and watches how many of them run."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from asr_app import ray_cluster
from asr_app.api_errors import ApiError
from asr_app.audio import Limits
from asr_app.cluster.arguments import Replicas
from asr_app.cluster.replica import Replica
from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.precision import Precision

log = logging.getLogger(__name__)
_NAME = "Replica"  # of the deployment
_LOOK_S = 1.0
_STALE_S = 15.0  # without an answer of the cluster, nothing is known of the replicas any more
_RETRY_S = 10  # told to a client; a replica of Whisper base is loaded in that time
_HEALTH_S = 2.0  # between two looks of Ray at a replica, which then replaces one that was killed


def shares(resources: dict[str, float], device: str, asked: Replicas, threads: int | None) -> tuple[int, int, float]:
    """The number of replicas, and the CPUs and GPUs of each. Raises UserError if the cluster has no room for them."""
    if device.startswith("cuda"):
        cpus, gpus = 1, asked.gpus or 1.0
        room = int(resources["gpus"] / gpus)
    else:
        cpus, gpus = ray_cluster.shares(resources, device, None, threads)[1], 0.0
        if asked.number and not threads:  # two replicas on two cores have one each
            cpus = max(1, min(cpus, int(resources["cpus"]) // asked.number))
        room = int(resources["cpus"]) // cpus
    number = asked.number or max(1, room)
    if number > room:
        what = f"{cpus} CPUs" if not gpus else f"{gpus:g} GPUs"
        have = f"{resources['cpus']:g} CPUs, {resources['gpus']:g} GPUs"
        raise UserError(
            f"{number} replicas with {what} each do not fit the cluster ({have}). Lower --replicas or --threads, or add "
            "machines with `ray start`.",
            f"集群（{have}）容纳不下 {number} 个副本（每个 {what}）。请减小 --replicas 或 --threads，或用 `ray start` 添加机器。",
        )
    return number, cpus, gpus


class Deployment:
    """Replicas that run on the cluster, with the handle to them. `running` of them can recognise now."""

    def __init__(self, application: str, handle: Any) -> None:
        self.handle = handle
        self._application, self._serve = application, ray_cluster.serve()
        self._running, self._seen = 0, 0.0
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="replicas", daemon=True).start()

    @property
    def running(self) -> int:
        return self._running if time.monotonic() - self._seen < _STALE_S else 0

    @property
    def stage(self) -> str:
        """Empty if a replica runs."""
        return "" if self.running else "no replica"

    def require_running(self) -> None:
        """Raises ApiError 503 while no replica runs."""
        if not self.running:
            raise ApiError(503, "No replica runs at the moment. Try again later.", None, "no_replica", _RETRY_S)

    def close(self) -> None:
        """Stops the watching."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S if self._seen else 0.0):
            try:
                application = self._serve.status().applications[self._application]
                self._running = application.deployments[_NAME].replica_states.get("RUNNING", 0)
                self._seen = time.monotonic()
            except Exception as error:  # the cluster may be back at the next look
                log.warning("the cluster does not say how many replicas run: %s", error)


@contextlib.contextmanager
def deployed(
    application: str, card: ModelCard, precision: Precision, device: str, hub_name: str, limits: Limits,
    number: int, cpus: int, gpus: float,
) -> Iterator[Deployment]:  # fmt: skip
    """Starts `number` replicas, and ends them after the block. Raises UserError if the model cannot be loaded there.

    No port of Ray's listens for requests: they come through the door of this process alone.
    """
    serve = ray_cluster.serve()
    serve.start(proxy_location="Disabled")
    replica = serve.deployment(Replica, name=_NAME).options(
        num_replicas=number,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        max_ongoing_requests=1,  # an engine takes one recording at a time
        max_queued_requests=number,  # the queue of jobs is the journal; these wait while a lost replica is replaced
        health_check_period_s=_HEALTH_S,
        logging_config={"enable_access_log": False},
    )
    bound = replica.bind(card.key, precision, device, cpus if not gpus else 1, hub_name, limits)
    try:
        handle = serve.run(bound, name=application, route_prefix=None)
        if (problem := handle.problem.remote().result()) is not None:
            raise UserError(*problem)
        deployment = Deployment(application, handle)
        try:
            yield deployment
        finally:
            deployment.close()
    finally:
        serve.delete(application)

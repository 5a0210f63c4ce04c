"""A Ray cluster for this process, and how much of it a worker gets. Ray is no requirement: it is installed by hand."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from asr_app.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
_RAY, _SERVE = "ray==2.60.0", "ray[serve]==2.60.0"
_THREADS = 4  # of a worker without a GPU, where the machine has as many


def imported() -> ModuleType:
    """Ray. Raises UserError with the line that installs it."""
    try:
        import ray
    except ImportError:
        raise _absent(_RAY) from None
    return ray


def serve() -> ModuleType:
    """Ray Serve. Raises UserError with the line that installs it."""
    try:
        from ray import serve
    except ImportError:
        raise _absent(_SERVE) from None
    return serve


@contextlib.contextmanager
def joined() -> Iterator[dict[str, float]]:
    """Joins the cluster of RAY_ADDRESS or the one of this machine, or starts one; yields its resources.

    Raises UserError without Ray, and if the cluster does not answer.
    """
    ray = imported()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        # A cluster that is started here needs no dashboard: ten processes with 1 GB.
        ray.init(
            include_dashboard=False, logging_level=logging.WARNING, runtime_env={"env_vars": {"PYTHONPATH": paths}}
        )
    except Exception as error:  # a plain one, where a node has not started within 30 s on a busy machine
        raise UserError(
            f"The Ray cluster cannot be joined or started ({error}). Check RAY_ADDRESS and the cluster's token with `ray "
            "status`; on a busy machine try again later.",
            f"无法加入或启动 Ray 集群（{error}）。请用 `ray status` 检查 RAY_ADDRESS 和集群令牌；机器繁忙时请稍后再试。",
        ) from error
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield {
            "cpus": sum(node.get("CPU", 0) for node in nodes),
            "gpus": sum(node.get("GPU", 0) for node in nodes),
            "least_cpus": min((node["CPU"] for node in nodes if node.get("CPU")), default=1),
        }
    finally:
        ray.shutdown()


def shares(resources: dict[str, float], device: str, workers: int | None, threads: int | None) -> tuple[int, int, int]:
    """Workers, and the CPUs and GPUs of each: one for each GPU on CUDA, else as many as get `threads` (default 4)."""
    cpus = max(1, min(threads or _THREADS, int(resources["least_cpus"])))
    if device.startswith("cuda"):
        return workers or max(1, int(resources["gpus"])), 1, 1
    return workers or max(1, int(resources["cpus"]) // cpus), cpus, 0


def _absent(package: str) -> UserError:
    line = f'python -m pip install "{package}"'
    return UserError(
        f"--engine ray needs Ray, which is not installed. Install it on every machine: {line}",
        f"--engine ray 需要 Ray，但尚未安装。请在每台机器上安装：{line}",
    )

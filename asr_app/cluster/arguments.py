"""The flags of `serve`, beside those of the server."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from asr_app.config import count, positive
from asr_app.errors import UserError


@dataclass(frozen=True)
class Replicas:
    """The replicas that are asked for. `number` and `gpus` (of each) are None if the cluster decides.

    `most_queued` jobs of all clients may wait for one.
    """

    number: int | None
    gpus: float | None
    most_queued: int


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags to a command."""
    parser.add_argument(
        "--engine", default="local", choices=("local", "ray"),
        help="local: the page and the API, as app.py; ray: the API alone, its engines on the machines of a Ray cluster",
    )  # fmt: skip
    ray = parser.add_argument_group("of --engine ray")
    ray.add_argument("--replicas", type=count, metavar="N", help="engines; default: as many as there is room for")
    ray.add_argument(
        "--gpus-per-replica", type=positive, metavar="G", help="0.5: two replicas share one; default: 1 on CUDA"
    )  # fmt: skip
    ray.add_argument(
        "--max-queued", type=count, metavar="N", help="jobs that wait before new ones get 503; default 100"
    )  # fmt: skip


def replicas(args: argparse.Namespace) -> Replicas:
    """The replicas of the flags. Raises UserError for one that --engine local has no use for."""
    given = {"--replicas": args.replicas, "--gpus-per-replica": args.gpus_per_replica, "--max-queued": args.max_queued}
    for name, value in given.items():
        if args.engine == "local" and value is not None:
            raise UserError(f"{name} needs --engine ray. Leave it out.", f"{name} 需要 --engine ray。请去掉该参数。")
    return Replicas(args.replicas, args.gpus_per_replica, args.max_queued or 100)

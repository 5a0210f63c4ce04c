"""`serve --engine ray`: the API of this process in front of the replicas of a cluster."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from fastapi import FastAPI

from asr_app import catalog, ray_cluster, serving, web
from asr_app.api import health
from asr_app.api import jobs as job_api
from asr_app.api import routes as api
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.webhooks import Webhooks
from asr_app.api_errors import ApiError
from asr_app.bodies import Bodies
from asr_app.cluster.arguments import Replicas
from asr_app.cluster.deployment import Deployment, deployed, shares
from asr_app.cluster.worker import ReplicaWorker
from asr_app.config import Config
from asr_app.door import Door
from asr_app.engines import Engines
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.loading import locate
from asr_app.observer import Observer
from asr_app.prefix import Prefix
from asr_app.terminal import DownloadProgress

log = logging.getLogger(__name__)
_RETRY_S = 10  # told to a client while the queue is full


def run(config: Config, asked: Replicas) -> None:
    """Serves until interrupted, by Ctrl-C or SIGTERM. Raises UserError where the flags cannot be met."""
    ray_cluster.serve()  # before the cluster is joined, or a model is fetched
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    card = catalog.find(config.model)
    lock = serving.private(config.home)
    try:
        with ray_cluster.joined() as resources:
            device = config.device if config.device != "auto" else "cuda:0" if resources["gpus"] else "cpu"
            number, cpus, gpus = shares(resources, device, asked, config.threads)
            # This process holds no engine, and may lack the replicas' device: it only finds files and precisions.
            engines = Engines(device, cpus, config.hub, budget=1, cache=config.cache)
            precision = engines.choose(card, config.lite, config.precision)
            progress = DownloadProgress(card.id)
            locate(card, config.hub, progress)
            progress.close()
            log.info(
                "%d replicas with %d CPUs and %g GPUs each load %s@%s", number, cpus, gpus, card.id, precision.value
            )
            limits = serving.limits(config)
            with deployed(
                f"asr-{config.port}", card, precision, device, config.hub, limits, number, cpus, gpus
            ) as deployment:
                _serve(config, deployment, engines, number, asked.most_queued)
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        lock.release()


def _serve(config: Config, deployment: Deployment, engines: Engines, number: int, most_queued: int) -> None:
    journal = Journal(config.home, round(config.max_disk_gb * 1e9))
    worker = ReplicaWorker(deployment.handle)
    jobs = Jobs(journal, engines, serving.limits(config), worker, threads=number)
    offered = Offered(engines, catalog.find(config.model), config.lite, config.precision)
    intake = Intake(jobs, offered, functools.partial(admit, journal, deployment.require_running, most_queued))
    webhooks = Webhooks.of_flags(config, journal)
    routes = [
        *health.routes(jobs, engines, lambda: deployment.stage),
        *api.routes(jobs, offered, intake),
        *job_api.routes(jobs, intake, webhooks),
    ]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=routes)
    login = serving.login(config)
    bounded = Bodies(app, journal.storage, config.max_upload_mb)
    door = Door(bounded, config.host, config.allow_host, login)
    server = web.Server(Prefix(door, config.root_path))
    try:
        serving.listen(server, config)
        jobs.start()
        webhooks.start()
        log.info("the API answers at %sv1", web.address(config.host, config.port, config.root_path, ""))
        if login is not None and login.token:
            log.info("the key of this server, beside those of --api-keys: %s", login.token)
        server.wait()
    finally:
        server.close()
        webhooks.stop()
        jobs.stop()


def admit(journal: Journal, require_running: Callable[[], None], most_queued: int) -> None:
    """Raises ApiError 503 while `most_queued` jobs wait, and what `require_running` raises while no replica runs."""
    require_running()
    if Observer(journal).counts().get("queued", 0) >= most_queued:
        raise ApiError(503, f"{most_queued} recordings wait already. Try again later.", None, "overloaded", _RETRY_S)

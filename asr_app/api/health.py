"""Probes for a supervisor, and metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute

from asr_app.engines import Engines
from asr_app.jobs import Jobs
from asr_app.observer import Observer


def routes(jobs: Jobs, engines: Engines, stage: Callable[[], str]) -> list[BaseRoute]:
    """`/healthz` (the process answers), `/readyz` (a model is loaded, the journal can be written) and `/metrics`.

    `stage` says what the server waits for before it can recognise; nothing once it can.
    """
    registry = CollectorRegistry()
    registry.register(_Metrics(jobs, engines))
    ProcessCollector(registry=registry)

    async def healthz() -> Response:  # not in a thread of the pool, which requests may fill
        return PlainTextResponse("ok")

    def readyz() -> Response:
        trouble = jobs.journal.trouble
        waits_for = stage()
        if trouble is None and not waits_for:
            return JSONResponse({"ready": True})
        return JSONResponse({"ready": False, "stage": waits_for, "error": trouble.en if trouble else None}, 503)

    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [
        APIRoute("/healthz", healthz, response_model=None),
        APIRoute("/readyz", readyz, response_model=None),
        APIRoute("/metrics", metrics, response_model=None),
    ]


class _Metrics(Collector):
    """Jobs, work and resident models, read when Prometheus asks."""

    def __init__(self, jobs: Jobs, engines: Engines) -> None:
        self._jobs, self._engines, self._observer = jobs, engines, Observer(jobs.journal)

    def collect(self) -> Iterator[Metric]:
        """The metrics. Their names follow https://prometheus.io/docs/practices/naming."""
        waiting = GaugeMetricFamily("asr_jobs", "Jobs in the journal by their state.", labels=["state"])
        for state, count in self._observer.counts().items():
            waiting.add_metric([state], count)
        yield waiting
        totals = self._jobs.totals
        ended = CounterMetricFamily("asr_jobs_ended", "Jobs that have ended since the start.", labels=["state"])
        for state, count in totals.ended.items():
            ended.add_metric([state], count)
        yield ended
        yield CounterMetricFamily("asr_audio_seconds", "Seconds of audio recognised.", totals.audio_s)
        yield CounterMetricFamily("asr_work_seconds", "Seconds of work on them, without loading.", totals.work_s)
        weights = GaugeMetricFamily(
            "asr_model_weights_bytes", "Weights of the resident models.", labels=["model", "precision", "dtypes"]
        )
        for loaded in self._engines.resident():
            report = loaded.precision
            weights.add_metric([loaded.card.id, report.requested.value, report.effective], report.weight_bytes)
        yield weights

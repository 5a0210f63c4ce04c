"""Puts the parts together and serves the page on one port."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.routing import BaseRoute

from asr_app import catalog, selfbench, served, serving, web
from asr_app.api import health
from asr_app.api import jobs as job_api
from asr_app.api import routes as api
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.bench.benchmarks import Benchmarks
from asr_app.bench.runner import Runner
from asr_app.bodies import Bodies
from asr_app.clients import Clients
from asr_app.config import Config
from asr_app.datatypes import ModelCard
from asr_app.door import Door
from asr_app.engines import Engines, pick_device, usable_cores
from asr_app.examples import EXAMPLES
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.precision import Precision
from asr_app.report.page import STYLE
from asr_app.startup import Preparer
from asr_app.ui import news
from asr_app.ui.bench import news as bench
from asr_app.ui.compare import news as compare
from asr_app.ui.corrections import news as corrections
from asr_app.ui.page import build, offered

log = logging.getLogger(__name__)
ASSETS = Path(__file__).resolve().parent.parent / "assets"
_SCRIPTS = ("page.js", "room.js", "compare.js", "correct.js", "bench.js")


def theme() -> gr.Theme:
    """System fonts: nothing is fetched from anywhere, so the page is whole behind a tunnel and without a network."""
    return gr.themes.Soft(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "PingFang SC", "Noto Sans CJK SC", "Microsoft YaHei", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def _script() -> str:
    """The page's scripts as one: the door lets this very text run."""
    return "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS)


def _head() -> str:
    """The page's style and script. Not through Gradio's `css`, which it confines to the inside of its column."""
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    # The Benchmark tab shows the report as it is in its own file.
    style += f".gradio-container .report {{ {STYLE.read_text(encoding='utf-8')} }}"
    return f"<style>{style}</style><script>{_script()}</script>"


def _mounted(page: gr.Blocks, config: Config, routes: list[BaseRoute]) -> FastAPI:
    """The page as an application, beside the other routes. Gradio's own `launch` would ask itself for it, through the door and any proxy."""
    return gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=routes),
        page,
        path="/",
        allowed_paths=[str(EXAMPLES)],
        max_file_size=f"{config.max_upload_mb}mb",
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        show_error=False,
        footer_links=[],
        theme=theme(),
        head=_head(),
        favicon_path=str(ASSETS / "icon.svg"),
    )


def run(config: Config) -> None:
    """Serves until interrupted, by Ctrl-C or SIGTERM. Raises UserError where the flags cannot be met."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    device = pick_device(config.device)
    wanted = catalog.find(config.model)
    engines = Engines(device, config.threads or usable_cores(), config.hub, cache=config.cache)
    precision = engines.choose(wanted, config.lite, config.precision)
    lock = serving.private(config.home)
    limits = serving.limits(config)
    jobs = Jobs(Journal(config.home, round(config.max_disk_gb * 1e9)), engines, limits)
    os.environ["GRADIO_TEMP_DIR"] = str(jobs.journal.storage.uploads)  # Gradio has no argument for its folder

    benchmarks = Benchmarks(jobs.journal.storage, config.bench_data)
    runner = Runner(
        benchmarks, engines, config.cache, lambda: jobs.journal.idle() and preparer.current is None
    )  # fmt: skip
    jobs.before_each = runner.make_way

    def is_free() -> bool:
        return jobs.journal.idle() and not runner.wants_machine

    def measure(card: ModelCard, precision: Precision) -> None:
        while not is_free():  # what somebody waits for goes before, and would be measured too
            time.sleep(1.0)
        if card.key == wanted.key:
            selfbench.both_sides(engines, card, precision, is_free)

    preparer = Preparer(engines, wanted, catalog.CARDS[catalog.FALLBACK], measure)
    page = build(config, engines, jobs, preparer, benchmarks)
    login = serving.login(config)
    routes = [
        *served.routes(jobs.journal), *news.routes(jobs, engines, preparer), *compare.routes(jobs),
        *corrections.routes(jobs, engines, offered(config)), *bench.routes(benchmarks, runner),
    ]  # fmt: skip
    models = Offered(engines, wanted, config.lite, config.precision)
    intake = Intake(jobs, models)
    routes += [
        *health.routes(jobs, engines, lambda: preparer.stage),
        *api.routes(jobs, models, intake),
        *job_api.routes(jobs, intake),
    ]
    app = Clients(Bodies(_mounted(page, config, routes), jobs.journal.storage, config.max_upload_mb))
    server = web.Server(Door(app, config.host, config.allow_host, login, scripts=[_script()]))
    try:
        serving.listen(server, config)
        log.info("open %s in a browser", web.address(config.host, config.port, login.token if login else ""))
        # The page is up while the model loads, and shows that it does; the first jobs wait for it.
        preparer.begin(wanted, precision)
        jobs.start()
        runner.start()
        server.wait()
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        server.close()
        runner.stop()
        preparer.close()
        jobs.stop()
        lock.release()

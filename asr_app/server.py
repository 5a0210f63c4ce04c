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
from asr_app.api import health, mcp_tools, openapi
from asr_app.api import jobs as job_api
from asr_app.api import routes as api
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.realtime import routes as realtime
from asr_app.api.webhooks import Webhooks
from asr_app.bench.benchmarks import Benchmarks
from asr_app.bench.runner import Runner
from asr_app.bodies import Bodies
from asr_app.clients import Clients
from asr_app.config import Config
from asr_app.datatypes import ModelCard
from asr_app.devices import pick_device, usable_cores
from asr_app.door import Door
from asr_app.engines import Engines
from asr_app.examples import EXAMPLES
from asr_app.idle import IdleUnloader
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.live.desk import Desk
from asr_app.neighbours import http as neighbours
from asr_app.neighbours.ports import Ports
from asr_app.neighbours.recognition import Recognition
from asr_app.precision import Precision
from asr_app.prefix import Prefix
from asr_app.recorder.captions import Captions
from asr_app.recorder.captures import Captures
from asr_app.report.page import STYLE
from asr_app.startup import Preparer
from asr_app.ui import news
from asr_app.ui.bench import news as bench
from asr_app.ui.compare import news as compare
from asr_app.ui.corrections import news as corrections
from asr_app.ui.page import build, offered
from asr_app.ui.recorder import news as recorder

log = logging.getLogger(__name__)
ASSETS = Path(__file__).resolve().parent.parent / "assets"
_STYLES = ("page.css", "speakers.css", "record.css")
_SCRIPTS = (
    "page.js", "links.js", "upload.js", "room.js", "compare.js", "correct.js", "bench.js", "microphone.js", "outbox.js",
    "captions.js", "record.js",
)  # fmt: skip


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
    style = "".join((ASSETS / name).read_text(encoding="utf-8") for name in _STYLES)
    # The Benchmark tab shows the report as it is in its own file.
    style += f".gradio-container .report {{ {STYLE.read_text(encoding='utf-8')} }}"
    # The link is relative: behind a proxy, the icon at the root of the host is another's.
    return f'<link rel="icon" href="favicon.ico"><style>{style}</style><script>{_script()}</script>'


def _mounted(
    page: gr.Blocks, config: Config, routes: list[BaseRoute], lifespan: mcp_tools.Lifespan | None = None
) -> FastAPI:
    """The page as an application, beside the other routes. Gradio's own `launch` would ask itself for it, through the door and any proxy."""
    return gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=routes, lifespan=lifespan),
        page,
        path="/",
        root_path=config.root_path or None,
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
    captures = Captures(jobs.journal, limits)
    jobs.cleaning.append(captures.forget_old)
    os.environ["GRADIO_TEMP_DIR"] = str(jobs.journal.storage.uploads)  # Gradio has no argument for its folder

    desk = Desk(engines)
    benchmarks = Benchmarks(jobs.journal.storage, config.bench_data)
    runner = Runner(
        benchmarks, engines, config.cache,
        lambda: jobs.journal.idle() and desk.is_idle and preparer.current is None,
    )  # fmt: skip
    jobs.before_each = runner.make_way
    captions = Captions(captures, desk)
    jobs.cleaning.append(captions.rest_idle)

    def is_free() -> bool:
        return jobs.journal.idle() and desk.is_idle and not runner.wants_machine

    def measure(card: ModelCard, precision: Precision) -> None:
        while not is_free():  # what somebody waits for goes before, and would be measured too
            time.sleep(1.0)
        if card.key == wanted.key:
            selfbench.both_sides(engines, card, precision, is_free)

    preparer = Preparer(engines, wanted, catalog.CARDS[catalog.FALLBACK], measure)
    page = build(config, engines, jobs, captures, captions, preparer, benchmarks)
    login = serving.login(config)
    routes = [
        *served.routes(jobs.journal), *news.routes(jobs, engines, preparer), *compare.routes(jobs),
        *corrections.routes(jobs, engines, offered(config)), *bench.routes(benchmarks, runner),
        *recorder.routes(captures, captions),
    ]  # fmt: skip
    models = Offered(engines, wanted, config.lite, config.precision)
    intake = Intake(jobs, models)
    webhooks = Webhooks.of_flags(config, jobs.journal)
    described = [*api.routes(jobs, models, intake), *job_api.routes(jobs, intake, webhooks)]
    routes += [
        *health.routes(jobs, engines, lambda: preparer.stage), *described, *openapi.routes(described),
        *realtime.routes(desk, models),
    ]  # fmt: skip
    recognition = Recognition(jobs, desk, models, limits)
    routes += neighbours.routes(recognition)
    more, lifespan = {}, None
    if config.mcp:
        for_models, lifespan = mcp_tools.served(mcp_tools.Tools(jobs, models, intake))
        routes, more = routes + for_models, {mcp_tools.PATH: mcp_tools.MOST_BODY}
    app = Clients(Bodies(_mounted(page, config, routes, lifespan), jobs.journal.storage, config.max_upload_mb, more))
    door = Door(app, config.host, config.allow_host, login, scripts=[_script()], paths=more)
    server = web.Server(Prefix(door, config.root_path))
    ports = Ports(recognition, config, login)
    idle = IdleUnloader(engines, config.idle_minutes)
    try:
        serving.listen(server, config)
        ports.start()
        log.info(
            "open %s in a browser",
            web.address(config.host, config.port, config.root_path, login.token if login else ""),
        )
        # The page is up while the model loads, and shows that it does; the first jobs wait for it.
        preparer.begin(wanted, precision)
        jobs.start()
        runner.start()
        webhooks.start()
        idle.start()
        server.wait()
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        ports.close()
        server.close()
        runner.stop()
        webhooks.stop()
        idle.stop()
        preparer.close()
        desk.stop()
        jobs.stop()
        lock.release()

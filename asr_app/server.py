"""Puts the parts together and serves the page on one port."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from filelock import FileLock, Timeout
from starlette.routing import BaseRoute

from asr_app import catalog, selfbench, served, web
from asr_app.api import health, mcp_tools, openapi
from asr_app.api import jobs as job_api
from asr_app.api import routes as api
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.sending import Sender, read_secret
from asr_app.api.webhooks import Webhooks
from asr_app.audio import Limits
from asr_app.bench.benchmarks import Benchmarks
from asr_app.bench.runner import Runner
from asr_app.bodies import Bodies
from asr_app.clients import Clients
from asr_app.config import Config
from asr_app.datatypes import ModelCard
from asr_app.door import Door
from asr_app.engines import Engines, pick_device, usable_cores
from asr_app.errors import UserError
from asr_app.examples import EXAMPLES
from asr_app.idle import IdleUnloader
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.login import Login, read_accounts, read_api_keys, read_key
from asr_app.precision import Precision
from asr_app.prefix import Prefix
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
    # The link is relative: behind a proxy, the icon at the root of the host is another's.
    return f'<link rel="icon" href="favicon.ico"><style>{style}</style><script>{_script()}</script>'


def _login(config: Config) -> Login | None:
    """The login of --auth, else the token, else none."""
    key = read_key(config.home / "door.key")
    api_keys = read_api_keys(os.environ.get("ASR_API_KEY", ""), config.api_keys)
    if config.auth:
        return Login(key, read_accounts(config.auth, key), api_keys)
    return Login(key, api_keys=api_keys) if config.token else None


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


def _private(home: Path) -> None:
    """Makes the folder, and everything that this process writes from now on, readable to this user alone."""
    os.umask(0o077)
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        tempfile.TemporaryFile(dir=home).close()
    except OSError as error:
        raise UserError(
            f"The folder {home} cannot be used ({error.strerror}). Set ASR_HOME to one that can be written.",
            f"目录 {home} 无法使用（{error.strerror}）。请把 ASR_HOME 设为可写的目录。",
        ) from error


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def run(config: Config) -> None:
    """Serves until interrupted, by Ctrl-C or SIGTERM. Raises UserError where the flags cannot be met."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    device = pick_device(config.device)
    wanted = catalog.find(config.model)
    engines = Engines(device, config.threads or usable_cores(), config.hub, cache=config.cache)
    precision = engines.choose(wanted, config.lite, config.precision)
    _private(config.home)
    lock = FileLock(config.home / "server.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            "Another server uses the same journal. Stop it, or give this one a folder of its own with ASR_HOME.",
            "另一个服务正在使用同一个日志库。请先停止它，或用 ASR_HOME 为本服务指定单独的目录。",
        ) from None
    limits = Limits(max_bytes=config.max_upload_mb * 2**20, max_seconds=config.max_hours * 3600)
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
    login = _login(config)
    routes = [
        *served.routes(jobs.journal), *news.routes(jobs, engines, preparer), *compare.routes(jobs),
        *corrections.routes(jobs, engines, offered(config)), *bench.routes(benchmarks, runner),
    ]  # fmt: skip
    models = Offered(engines, wanted, config.lite, config.precision)
    intake = Intake(jobs, models)
    secret = read_secret(os.environ.get("ASR_WEBHOOK_SECRET", ""), config.webhook_secret)
    webhooks = Webhooks(jobs.journal, Sender(secret, config.webhook_allow) if secret else None)
    described = [*api.routes(jobs, models, intake), *job_api.routes(jobs, intake, webhooks)]
    routes += [*health.routes(jobs, engines, preparer), *described, *openapi.routes(described)]
    more, lifespan = {}, None
    if config.mcp:
        for_models, lifespan = mcp_tools.served(mcp_tools.Tools(jobs, models, intake))
        routes, more = routes + for_models, {mcp_tools.PATH: mcp_tools.MOST_BODY}
    app = Clients(Bodies(_mounted(page, config, routes, lifespan), jobs.journal.storage, config.max_upload_mb, more))
    door = Door(app, config.host, config.allow_host, login, scripts=[_script()], paths=more)
    server = web.Server(Prefix(door, config.root_path))
    idle = IdleUnloader(engines, config.idle_minutes)
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        server.start(config.host, config.port)
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
    except OSError as error:
        raise UserError(
            f"Port {config.port} cannot be used ({error}). Stop what listens there, or choose another with --port.",
            f"端口 {config.port} 无法使用（{error}）。请停止占用它的程序，或用 --port 换一个端口。",
        ) from error
    finally:
        server.close()
        runner.stop()
        webhooks.stop()
        idle.stop()
        preparer.close()
        jobs.stop()
        lock.release()

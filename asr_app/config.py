"""Flags over ASR_* environment variables over defaults, in one frozen value made once and passed down."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_app import catalog
from asr_app.door import split_authority
from asr_app.errors import UserError
from asr_app.folders import cache, home
from asr_app.hub import HUBS
from asr_app.precision import Precision

DEFAULT_PORT = 6006


@dataclass(frozen=True)
class Config:
    """The server's settings, from the command line."""

    model: str
    lite: bool
    precision: Precision | None
    device: str
    threads: int | None
    hub: str
    host: str
    port: int
    allow_host: tuple[str, ...]
    token: bool
    auth: str | None
    api_keys: Path | None
    funasr_port: int | None
    wyoming_port: int | None
    webhook_secret: Path | None
    webhook_allow: tuple[str, ...]
    mcp: bool
    root_path: str
    idle_minutes: float
    max_upload_mb: int
    max_hours: float
    max_disk_gb: float
    home: Path
    cache: Path
    bench_data: Mapping[str, Path]


def _truth(text: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false", "yes", "no", "on", "off", ""):
        raise UserError(f"ASR_LITE is {text!r}; use 1 or 0.", f"ASR_LITE 的值为 {text!r}；请使用 1 或 0。")
    return text.lower() in ("1", "true", "yes", "on")


def number(name: str, text: str) -> int:
    """`text` as a whole number above 0. Raises UserError that names the setting."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise UserError(
            f"{name} is {text!r}; a whole number above 0 is needed.", f"{name} 的值为 {text!r}；需要大于 0 的整数。"
        )
    return value


def threads(args: argparse.Namespace) -> int | None:
    """--threads, None where it was not given."""
    return number("--threads", args.threads) if args.threads else None


def positive(text: str) -> float:
    """A number above 0, for argparse. Raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0 (需要大于 0 的数)")
    return value


def _minutes(text: str) -> float:
    return 0.0 if text.strip() == "0" else positive(text)


def count(text: str) -> int:
    """A whole number above 0, for argparse. Raises argparse.ArgumentTypeError."""
    try:
        return number("", text)
    except UserError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0 (需要大于 0 的整数)") from None


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that the server and the command line share."""
    env = os.environ
    parser.add_argument("--model", default=env.get("ASR_MODEL") or catalog.DEFAULT, metavar="ID|DIR",
                        help="a model of `python -m asr_app models`, or a local directory")  # fmt: skip
    parser.add_argument("--precision", default=env.get("ASR_PRECISION") or None, metavar="P",
                        help="fp32, bf16, fp16 or int8; default fp32, or what --lite stands for")  # fmt: skip
    parser.add_argument("--lite", action=argparse.BooleanOptionalAction, default=None,
                        help="the smaller, faster variant for this device")  # fmt: skip
    parser.add_argument("--device", default=env.get("ASR_DEVICE") or "auto", help="auto, cpu or cuda:0")
    parser.add_argument("--threads", default=env.get("ASR_THREADS"), help="CPU threads; default all usable cores")
    parser.add_argument("--hub", default=env.get("ASR_HUB") or HUBS[0], choices=HUBS,
                        help="where models are fetched from first; auto is each model's own order")  # fmt: skip


def parse(arguments: Sequence[str]) -> Config:
    """The server's configuration. Raises UserError for a value that cannot be."""
    parser = argparse.ArgumentParser("app.py", description="Speech recognition with a precision switch.")
    add_server_arguments(parser)
    return of(parser.parse_args(arguments))


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """All flags of the server."""
    env = os.environ
    add_model_arguments(parser)
    parser.add_argument("--host", default=env.get("ASR_HOST") or "127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=env.get("ASR_PORT") or str(DEFAULT_PORT))
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME",
                        help="a name under which browsers reach this server; may be repeated")  # fmt: skip
    parser.add_argument("--no-token", dest="token", action="store_false",
                        help="let in everybody on this machine, not only those with the printed address")  # fmt: skip
    parser.add_argument("--auth", metavar="USER:PASSWORD|FILE",
                        help="ask for a password; FILE has lines of `python -m asr_app password NAME`")  # fmt: skip
    parser.add_argument("--api-keys", type=Path, metavar="FILE",
                        help="keys for programs (/v1), one a line; ASR_API_KEY is one more")  # fmt: skip
    parser.add_argument("--webhook-secret", type=Path, metavar="FILE",
                        help="secret that signs the webhooks of jobs; ASR_WEBHOOK_SECRET goes before it")  # fmt: skip
    parser.add_argument("--webhook-allow", action="append", default=[], metavar="HOST",
                        help="a host that webhooks may go to though its address is not public; may be repeated")  # fmt: skip
    parser.add_argument(
        "--mcp", action="store_true", help="offer tools for language models at /mcp; needs the package mcp"
    )
    parser.add_argument("--root-path", default="", metavar="PATH",
                        help="the path under which a proxy shows this server, such as /asr")  # fmt: skip
    parser.add_argument("--idle-minutes", type=_minutes, default=0.0, metavar="N",
                        help="unload models that were not used for N minutes; 0, the default, is never")  # fmt: skip
    parser.add_argument("--insecure", action="store_true",
                        help="allow --no-token or --wyoming-port with a --host that other machines reach")  # fmt: skip
    parser.add_argument(
        "--funasr-port", metavar="PORT", help="also answer FunASR's websocket clients, whose port is 10095"
    )
    parser.add_argument("--wyoming-port", metavar="PORT",
                        help="also answer Home Assistant, whose port is 10300; the protocol has no keys")  # fmt: skip
    parser.add_argument("--max-upload-mb", type=count, default=2048, help="largest upload taken")
    parser.add_argument("--max-hours", type=positive, default=4.0, help="longest recording taken")
    parser.add_argument("--max-disk-gb", type=positive, default=20.0, help="most that all recordings may take on disk")
    parser.add_argument("--bench-data", action="append", type=Path, default=[], metavar="FOLDER|MANIFEST",
                        help="recordings with references that the Benchmark tab offers by name; may be repeated")  # fmt: skip


def of(args: argparse.Namespace) -> Config:
    """The configuration that the flags of `add_server_arguments` stand for. Raises UserError for a value that cannot be."""
    port = _port("--port", args.port)
    funasr_port = _port("--funasr-port", args.funasr_port) if args.funasr_port else None
    wyoming_port = _port("--wyoming-port", args.wyoming_port) if args.wyoming_port else None
    used = [one for one in (port, funasr_port, wyoming_port) if one]
    if len(set(used)) < len(used):
        raise UserError(
            "--port, --funasr-port and --wyoming-port name the same port. Choose another one for each.",
            "--port、--funasr-port、--wyoming-port 使用了相同的端口。请分别指定。",
        )
    for flag, name in [("--allow-host", n) for n in args.allow_host] + [
        ("--webhook-allow", n) for n in args.webhook_allow
    ]:
        if not split_authority(name)[0]:
            raise UserError(
                f"{flag} is {name!r}; a name is needed, such as asr.example or asr.example:8443.",
                f"{flag} 的值为 {name!r}；需要主机名，例如 asr.example 或 asr.example:8443。",
            )
    if not (args.token or args.auth or args.insecure or is_loopback(args.host)):
        raise UserError(
            f"With --no-token, everybody who reaches {args.host} can use the server. Leave --no-token out, or set "
            "--auth user:password; --insecure starts it all the same.",
            f"使用 --no-token 时，任何能访问 {args.host} 的人都能使用本服务。请去掉 --no-token，或设置 "
            "--auth user:password；若仍要启动，请加 --insecure。",
        )
    if args.wyoming_port and not (args.insecure or is_loopback(args.host)):
        raise UserError(
            f"Wyoming has no keys: with --wyoming-port, everybody who reaches {args.host} can have speech recognised. "
            "Leave --host at 127.0.0.1; --insecure starts it all the same.",
            f"Wyoming 协议没有密钥：使用 --wyoming-port 时，任何能访问 {args.host} 的人都能使用识别。请保留 --host 127.0.0.1；"
            "若仍要启动，请加 --insecure。",
        )
    return Config(
        model=args.model,
        lite=lite(args),
        precision=Precision.parse(args.precision) if args.precision else None,
        device=args.device,
        threads=threads(args),
        hub=hub_name(args),
        host=args.host,
        port=port,
        funasr_port=funasr_port,
        wyoming_port=wyoming_port,
        allow_host=tuple(args.allow_host),
        token=args.token,
        auth=args.auth,
        api_keys=args.api_keys,
        webhook_secret=args.webhook_secret,
        webhook_allow=tuple(args.webhook_allow),
        mcp=args.mcp,
        root_path=_root_path(args.root_path),
        idle_minutes=args.idle_minutes,
        max_upload_mb=args.max_upload_mb,
        max_hours=args.max_hours,
        max_disk_gb=args.max_disk_gb,
        home=home(),
        cache=cache(),
        bench_data=_offered(args.bench_data),
    )


def _port(flag: str, text: str) -> int:
    """The port of a flag. Raises UserError for one that cannot be."""
    port = number(flag, text)
    if port > 65535:
        raise UserError(
            f"{flag}: there is no port {port}; choose one from 1024 to 65535.",
            f"{flag}：没有端口 {port}；请选择 1024 到 65535。",
        )
    return port


def _root_path(given: str) -> str:
    """--root-path without a slash at its end. Raises UserError for what is no plain path."""
    path = given.rstrip("/")
    if path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII):
        raise UserError(
            f"--root-path is {given!r}; a path is needed, such as /asr.",
            f"--root-path 的值为 {given!r}；需要路径，例如 /asr。",
        )
    return path


def _offered(paths: Sequence[Path]) -> dict[str, Path]:
    """The data of --bench-data by name. Raises UserError for a path that is not there, and for two of one name."""
    offered: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"--bench-data: {path} is not there.", f"--bench-data：{path} 不存在。")
        if offered.setdefault(path.resolve().name, path.resolve()) != path.resolve():
            raise UserError(
                f"--bench-data: two paths are called {path.name}. Rename one.", f"--bench-data：有两个路径都叫 {path.name}，请改名。"
            )  # fmt: skip
    return offered


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name other than localhost may mean any address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def hub_name(args: argparse.Namespace) -> str:
    """--hub; argparse lets a default from the environment through unchecked."""
    if args.hub not in HUBS:
        choices = ", ".join(HUBS)
        raise UserError(
            f"Unknown hub {args.hub!r}. Choose one of: {choices}.", f"未知平台 {args.hub!r}。可选：{choices}。"
        )
    return str(args.hub)


def lite(args: argparse.Namespace) -> bool:
    """--lite or --no-lite if given, else ASR_LITE."""
    return bool(args.lite) if args.lite is not None else _truth(os.environ.get("ASR_LITE", ""))

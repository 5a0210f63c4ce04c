"""ASGI middleware in front of the page: checks requests and sets the headers of responses.

Knows no Gradio components and no jobs. login.py identifies users.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
import mimetypes
import re
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_app.login import API, NEIGHBOURS, Login

log = logging.getLogger(__name__)

_FILES = "/gradio_api/file="
# The paths that the page asks for. Gradio has more: a proxy, a fetcher of remote files, monitoring, code editing.
_PAGE = ("/", "/config", "/favicon.ico", "/manifest.json", "/robots.txt", "/remove", "/hold", "/judge", "/comparison/remove",
         "/docs/doubt.md", "/docs/api", "/openapi.json", "/record-worklet.js", "/capture/piece", "/capture/look",
         "/capture/discard", "/capture/captions")  # fmt: skip
_NEWS = ("/news", "/comparison", "/corrections", "/benchmark")
_PROBES = ("/healthz", "/readyz")  # answered to everybody: they say nothing
_JOBS = ("/recording/", "/transcript/", "/benchmark/")
_UNCHANGING = ("/assets/", "/static/", "/svelte/", "/theme.css")  # their names or queries hold a hash
_API = ("upload", "upload_progress", "run/predict", "reset", "reset/", "app_id")
_SOCKETS = ("/v1/realtime",)  # websockets
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[\w.-]+)(:(?P<port>[0-9]{1,5}))?")
_GZIP_FROM = 500  # bytes

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send `Origin: null` along with our own forms
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'; sandbox"
# Gradio evaluates `js=` handlers and HTML templates (unsafe-eval), and styles its components inline.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; manifest-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)


class Hosts:
    """Checks Host and Origin of a request.

    It may name loopback, `host` or one of `allowed` (NAME or NAME:PORT). A `host` of 0.0.0.0 or :: stands for every IP
    address: DNS rebinding needs a name.
    """

    def __init__(self, host: str, allowed: Iterable[str]) -> None:
        self._allowed = tuple(allowed)
        self._names = {*_LOOPBACK, *(split_authority(name)[0] for name in (host, *self._allowed))} - {""}
        self._any_address = bool(self._names & {"0.0.0.0", "::"})  # noqa: S104

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request of another site; None for one that may be answered."""
        headers = Headers(scope=scope)
        host, origin = headers.getlist("host"), headers.getlist("origin")
        if len(host) != 1 or not self._is_ours(host[0]):
            return _refuse(scope, 400, "Host", host, "Start the server with --allow-host NAME to use this name.")
        if len(origin) > 1 or (origin and not self._is_same(origin[0], host[0])):
            return _refuse(scope, 403, "Origin", origin, "Other pages may not use this server.")
        return None

    def _is_ours(self, host: str) -> bool:
        name, _ = split_authority(host)
        return name in self._names or (self._any_address and _is_address(name))

    def _is_same(self, origin: str, host: str) -> bool:
        """Whether the page at `origin` is ours. A proxy may rewrite Host: then --allow-host names the origin's."""
        try:
            parts = urlsplit(origin)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return False
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return False
        default = _DEFAULT_PORTS[parts.scheme]
        ours = (split_authority(authority) for authority in (host, *self._allowed))
        return any((name, own or default) == (parts.hostname, port) for name, own in ours)


class Door:
    """Checks Host, Origin, path and login of every request, and sets the headers of every response.

    `host` and `allowed` are those of `Hosts`. `scripts` are the inline scripts that the page adds by itself. `login` is
    None if everybody may enter. `paths` are those of parts that a flag turns on.
    """

    def __init__(
        self, app: ASGIApp, host: str, allowed: Iterable[str], login: Login | None, scripts: Sequence[str] = (),
        paths: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self._app = app
        self._page = GZipMiddleware(_PagePolicy(app, scripts), minimum_size=_GZIP_FROM)
        self._news = GZipMiddleware(app, minimum_size=_GZIP_FROM)
        self._login, self._paths = login, tuple(paths)
        self._hosts = Hosts(host, allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            if scope["path"] in _SOCKETS:
                await self._answer(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, _Guarded(scope, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        app = {"/": self._page, **dict.fromkeys(_NEWS, self._news)}.get(scope["path"], self._app)
        if self._login is None or scope["path"] in _PROBES:
            await app(scope, receive, send)
        else:
            await self._login.admit(app, scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if (refusal := self._hosts.refusal(scope)) is not None:
            return refusal
        path = scope["path"]
        if not (_is_served(path) or path in self._paths or (self._login and path == Login.PATH)):
            return PlainTextResponse("Not found.", 404)
        return None


class _Guarded:
    """`send` that sets the headers of a response as it starts."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._path, self._send = scope["path"], send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_COMMON)
            headers.setdefault("Content-Security-Policy", _NO_PAGE)
            if not self._path.startswith(_UNCHANGING):
                headers["Cache-Control"] = "no-store"
            if self._path.startswith(_FILES) and message["status"] < 300:
                headers["Content-Type"] = audio_type(self._path)
                headers["Content-Disposition"] = "attachment"  # a player ignores it
                del headers["Cookie"]  # Gradio answers a range with the request's own headers
        await self._send(message)


class _PagePolicy:
    """Answers the page with a content security policy that allows its own inline scripts, by their hashes."""

    def __init__(self, app: ASGIApp, scripts: Sequence[str]) -> None:
        self._app, self._scripts = app, scripts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The body must come uncompressed to be read.
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: Message = {}
        body = bytearray()

        async def hold(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                headers = MutableHeaders(scope=start)
                if headers.get("content-type", "").startswith("text/html"):
                    headers["Content-Security-Policy"] = policy([*_inline_scripts(body.decode()), *self._scripts])
                await send(start)
                await send({"type": "http.response.body", "body": bytes(body)})

        await self._app({**scope, "headers": plain}, receive, hold)


class _Scripts(HTMLParser):
    """Collects the texts of the scripts without `src`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.texts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and "src" not in dict(attrs)
        if self._inside:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data


def policy(scripts: Iterable[str]) -> str:
    """The content security policy of a page with these inline scripts and no others."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = dict.fromkeys(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return _POLICY.format(scripts=" ".join(hashes))


def audio_type(path: str) -> str:
    """The media type for a file that was uploaded: audio, or nothing that a browser shows.

    A video's container is named as audio, which players take as well.
    """
    guessed = mimetypes.guess_type(path)[0] or ""
    kind, _, container = guessed.partition("/")
    return f"audio/{container}" if kind in ("audio", "video") else "application/octet-stream"


def _inline_scripts(html: str) -> list[str]:
    parser = _Scripts()
    parser.feed(html)
    parser.close()
    return parser.texts


def _is_served(path: str) -> bool:
    if path in (*_PAGE, *_NEWS, *_PROBES, *NEIGHBOURS, "/metrics") or path.startswith((*_UNCHANGING, *_JOBS, API)):
        return True
    if path.startswith(_FILES):
        return path.startswith(_FILES + "/")  # Gradio fetches `file=https://...` itself
    return path.startswith("/gradio_api/heartbeat/") or path.removeprefix("/gradio_api/") in _API


def _refuse(scope: Scope, status: int, header: str, values: list[str], advice: str) -> Response:
    shown = ", ".join(values)[:100]
    log.warning("refused %s %.100r: %s %r", scope.get("method", "websocket"), scope["path"], header, shown)
    return PlainTextResponse(f"{header} {shown!r} is not allowed. {advice}", status)


def split_authority(authority: str) -> tuple[str, int | None]:
    """`LocalHost.:80` -> ("localhost", 80), `[::1]` and `::1` -> ("::1", None); ("", None) if malformed."""
    if _is_address(authority):
        return authority.lower(), None
    if (parts := _AUTHORITY.fullmatch(authority)) is None:
        return "", None
    name = parts["name"].strip("[]").removesuffix(".").lower()
    return name, int(parts["port"]) if parts["port"] else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""Identifies the browser of a request, for turns in the queue. No protection: deleting the cookie makes a new client.

The remote address does not tell people apart: all who come through an SSH tunnel have 127.0.0.1. Nor does the login:
with a token everybody has the same cookie. So each browser gets a cookie of its own; without one its address counts.
"""

from __future__ import annotations

import ipaddress
import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COOKIE = "asr-browser"
_VALUE = re.compile(r"[\w-]{24}")
_KEEP_S = 365 * 86_400


class Clients:
    """ASGI middleware that gives a browser without the cookie one, along with the page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"] == "/"
        if is_page and not any(_given(v.decode("latin-1")) for k, v in scope["headers"] if k == b"cookie"):
            send = _with_cookie(send, scope.get("root_path", ""))
        await self._app(scope, receive, send)


def client(cookies: str, address: str) -> str:
    """The client of a request with this Cookie header, from this address."""
    return _given(cookies) or network(address)


def network(address: str) -> str:
    """The address; of IPv6 the network, since a client has all addresses of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False)) if parsed.version == 6 else address


def _given(cookies: str) -> str:
    value = cookie_parser(cookies).get(_COOKIE, "")
    return value if _VALUE.fullmatch(value) else ""


def _with_cookie(send: Send, root: str) -> Send:
    cookie = f"{_COOKIE}={secrets.token_urlsafe(18)}; HttpOnly; SameSite=Strict; Path={root}/; Max-Age={_KEEP_S}"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("Set-Cookie", cookie)
        await send(message)

    return sending

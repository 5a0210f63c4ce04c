"""Login to the page: by the token of the printed address, or by a name and a password. Programs send a key instead.

Token and password are exchanged for a cookie. The key behind token and cookies lies in ASR_HOME, so that a page that is left open
goes on after a restart; without the file, the next start makes another.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import math
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import anyio.to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_app.api_errors import error_response
from asr_app.clients import network
from asr_app.errors import UserError

log = logging.getLogger(__name__)
API = "/v1/"  # paths of programs: they send a key, and are answered in JSON
NEIGHBOURS = ("/asr", "/detect-language")  # programs of other servers
_OTHER_PROGRAMS = ("/metrics", "/mcp", *NEIGHBOURS)
_KEY_BYTES = 32
_SHORTEST_KEY = 16  # characters of an API key
_KEEP_S = 30 * 86_400
_FORM_BYTES = 4096
_FREE_TRIES = 5
_LONGEST_WAIT_S = 60.0
_CLIENTS = 1000  # whose failures are remembered


@dataclass(frozen=True)
class Account:
    """A user's name, and the salted hash of the password."""

    name: str
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, name: str, password: str, salt: bytes | None = None) -> Account:
        """`salt` is random unless given."""
        salt = secrets.token_bytes(16) if salt is None else salt
        return cls(name, salt, _scrypt(password, salt))

    def has(self, password: str) -> bool:
        """Whether this is the password."""
        return hmac.compare_digest(_scrypt(password, self.salt), self.digest)

    @property
    def line(self) -> str:
        """The line of a password file."""
        return f"{self.name}:scrypt:{self.salt.hex()}:{self.digest.hex()}"

    @classmethod
    def parse(cls, line: str) -> Account:
        """Raises ValueError for a line that `line` has not written."""
        name, kind, salt, digest = line.rsplit(":", 3)
        if not name or kind != "scrypt" or len(bytes.fromhex(digest)) != 64:
            raise ValueError(line)
        return cls(name, bytes.fromhex(salt), bytes.fromhex(digest))


def read_key(path: Path) -> bytes:
    """The key in the file, which is created if missing. Only its owner may read it."""
    if path.is_file():
        path.chmod(0o600)
        key = path.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
        log.warning("%s is damaged; a new key takes its place, and everybody has to log in again", path.name)
        path.unlink()
    key = secrets.token_bytes(_KEY_BYTES)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    return key


def read_accounts(given: str, key: bytes) -> list[Account]:
    """The accounts of --auth: `user:password`, or a file with a line for each. Raises UserError."""
    path = Path(given)
    if not path.is_file():
        name, colon, password = given.partition(":")
        if not (name and colon and password):
            raise UserError(
                "--auth takes user:password, or a file that `python -m asr_app password NAME` has written.",
                "--auth 需要 user:password，或由 `python -m asr_app password NAME` 写出的文件。",
            )
        # The salt is the same at each start: the cookies of before stay good.
        return [Account.of(name, password, _mac(key, "salt", name)[:16])]
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        accounts = [Account.parse(line) for line in lines]
    except ValueError:
        accounts = []
    if not accounts:
        raise UserError(
            f"{path.name} is no file of passwords. Each line is what `python -m asr_app password NAME` prints.",
            f"{path.name} 不是密码文件。每一行应为 `python -m asr_app password NAME` 的输出。",
        )
    return accounts


class Throttle:
    """Failed tries by client. After a few, each further one makes the client wait twice as long."""

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}

    def wait_s(self, client: str) -> float:
        """Seconds until the client may try again."""
        count, last = self._failures.get(client, (0, 0.0))
        if count < _FREE_TRIES:
            return 0.0
        return max(0.0, last + min(2.0 ** (count - _FREE_TRIES), _LONGEST_WAIT_S) - time.monotonic())

    def failed(self, client: str) -> None:
        """Counts a failure. The clients of the oldest failures are forgotten first."""
        count, _ = self._failures.pop(client, (0, 0.0))
        self._failures[client] = (count + 1, time.monotonic())
        if len(self._failures) > _CLIENTS:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, client: str) -> None:
        """Forgets the client's failures."""
        self._failures.pop(client, None)


def read_api_keys(given: str, path: Path | None) -> tuple[str, ...]:
    """The keys of ASR_API_KEY and of --api-keys, a file with one a line. Raises UserError for a missing file or a short key."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--api-keys: {path} cannot be read. It needs one key a line.",
            f"--api-keys：无法读取 {path}。每行应为一个密钥。",
        ) from error
    keys = tuple(key for key in (given.strip(), *(line.strip() for line in lines)) if key and not key.startswith("#"))
    if any(len(key) < _SHORTEST_KEY or not key.isascii() for key in keys):
        raise UserError(
            f"An API key is too short or not ASCII: {_SHORTEST_KEY} characters are needed, as `openssl rand -hex 32` makes.",
            f"API 密钥过短或含非 ASCII 字符：至少 {_SHORTEST_KEY} 个字符，可用 `openssl rand -hex 32` 生成。",
        )
    return keys


class Login:
    """Admits requests with the cookie, the token, a password or a key. With accounts there is no token.

    A program sends one of `api_keys`, or the token, as `Authorization: Bearer KEY`, or as the password of an address:
    `http://any:KEY@host`.
    """

    PATH = "/login"

    def __init__(self, key: bytes, accounts: Iterable[Account] = (), api_keys: Iterable[str] = ()) -> None:
        self._accounts = {account.name: account for account in accounts}
        self.token = "" if self._accounts else _mac(key, "token").hex()
        self._api_keys = tuple(api_keys) + ((self.token,) if self.token else ())
        # A cookie hangs on the password's hash: it ends with the password.
        self._cookies = {name: _mac(key, "cookie", a.line).hex() for name, a in self._accounts.items()}
        if self.token:
            self._cookies[""] = _mac(key, "cookie", self.token).hex()
        # Cookies do not know ports: two servers of one host must not overwrite each other's.
        self._cookie = "asr-" + _mac(key, "name").hex()[:8]
        self._throttle = Throttle()
        self._one_try = asyncio.Lock()  # a try takes memory and time
        self._nobody = Account.of("nobody", secrets.token_hex(16))

    async def admit(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request to `app` if it may enter, else answers it. Takes the token out of the query.

        A websocket may come with a key or with the cookie: the door has checked that a browser's comes from our page.
        """
        request = HTTPConnection(scope)
        given = _take_token(scope)
        if self._accounts and scope["path"] == self.PATH and scope["method"] == "POST":
            app = await self._try_password(Request(scope, receive))
        elif self.has_key(request):
            pass
        elif scope["type"] == "websocket":
            app = app if self._has_cookie(request) else NO_KEY
        elif scope["path"].startswith(API) or scope["path"] in _OTHER_PROGRAMS:
            app = NO_KEY
        elif self._has_cookie(request):
            app = RedirectResponse("./", 303) if scope["path"] == self.PATH else app
        elif self.token and given is not None and _same(given, self.token):
            send = self._with_cookie(send, scope, self._cookies[""])
        elif self._accounts:
            app = _page(401, _ASKS_WHO + _FORM)
        else:
            app = _page(401, _ASKS_FOR_ADDRESS) if given is None else _page(403, _OTHER_ADDRESS + _ASKS_FOR_ADDRESS)
        await app(scope, receive, send)

    def _has_cookie(self, request: HTTPConnection) -> bool:
        given = request.cookies.get(self._cookie, "")
        return any(_same(given, cookie) for cookie in self._cookies.values())

    def has_key(self, request: HTTPConnection) -> bool:
        """Whether a program may enter, by its Authorization header."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            given = _password(given)
        elif kind.lower() != "bearer":
            return False
        return self.is_key(given.strip())

    def is_key(self, given: str) -> bool:
        """Whether `given` is a key of programs."""
        return any(_same(given, key) for key in self._api_keys)

    async def _try_password(self, request: Request) -> Response:
        client = network(request.client.host) if request.client else ""
        form = await _form(request)
        async with self._one_try:
            if (wait_s := self._throttle.wait_s(client)) > 0:
                response = _page(429, _THROTTLED + _FORM)
                response.headers["Retry-After"] = str(math.ceil(wait_s))
                return response
            account = self._accounts.get(form.get("name", ""), self._nobody)
            # Unknown names take as long as known ones.
            if await anyio.to_thread.run_sync(account.has, form.get("password", "")):
                self._throttle.succeeded(client)
                entered = RedirectResponse("./", 303)
                self._set_cookie(entered.headers, request.scope, self._cookies[account.name])
                return entered
            self._throttle.failed(client)
        log.warning("a login from %s failed", client)
        return _page(403, _NOT_KNOWN + _FORM)

    def _with_cookie(self, send: Send, scope: Scope, value: str) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._set_cookie(MutableHeaders(scope=message), scope, value)
            await send(message)

        return sending

    def _set_cookie(self, headers: MutableHeaders, scope: Scope, value: str) -> None:
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        path = scope.get("root_path", "") + "/"
        cookie = f"{self._cookie}={value}; HttpOnly; SameSite=Strict; Path={path}; Max-Age={_KEEP_S}{secure}"
        headers.append("Set-Cookie", cookie)


def _scrypt(password: str, salt: bytes) -> bytes:
    """64 bytes. Takes 16 MB and some 50 ms."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1, maxmem=64 * 2**20)


def _mac(key: bytes, *parts: str) -> bytes:
    return hmac.digest(key, "\0".join(parts).encode(), "sha256")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _password(basic: str) -> str:
    """The password of Basic authentication; empty if malformed."""
    try:
        return base64.b64decode(basic, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _take_token(scope: Scope) -> str | None:
    """Removes `token` from the query, so that nothing behind the door logs it or sends it on."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    tokens = [value for name, value in query if name == "token"]
    if tokens:
        scope["query_string"] = urlencode([(n, v) for n, v in query if n != "token"]).encode()
    return tokens[0] if tokens else None


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; none of one that is too long."""
    body = bytearray()
    async for part in request.stream():
        body.extend(part)
        if len(body) > _FORM_BYTES:
            return {}
    return dict(parse_qsl(body.decode("utf-8", "replace")))


def _page(status: int, content: str) -> HTMLResponse:
    return HTMLResponse(_FRAME.replace("CONTENT", content), status, {"Content-Security-Policy": _POLICY})


NO_KEY = error_response(
    401, "This server needs a key: send 'Authorization: Bearer KEY' with a key of the server, or its token.",
    code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"},
)  # fmt: skip
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_FRAME = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Speech recognition</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width, initial-scale=1"><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34em; margin: 12vh auto; padding: 0 20px; color-scheme: light dark; }
form { display: grid; gap: 10px; max-width: 20em; } input, button { font: inherit; padding: 6px 10px; }
</style></head><body>CONTENT</body></html>"""
_ASKS_FOR_ADDRESS = """<h1>Open the address from the terminal</h1>
<p>The terminal where the server was started shows an address that ends in <code>?token=...</code>. Open it once; this
browser is remembered for 30 days. Were you here before? <a href="./">Open the page</a>.</p>
<p lang="zh">启动服务的终端中显示了以 <code>?token=...</code> 结尾的地址。请打开一次该地址，此浏览器将被记住 30 天。
之前打开过？<a href="./">打开页面</a>。</p>"""
_OTHER_ADDRESS = """<p role="alert"><b>This token is not the server's.</b> <span lang="zh">令牌不正确。</span></p>"""
_ASKS_WHO = """<h1>Log in <span lang="zh">登录</span></h1><p><a href="./">Open the page <span lang="zh">打开页面</span></a>
if this browser was let in before.</p>"""
_NOT_KNOWN = """<p role="alert"><b>Name or password is wrong.</b> <span lang="zh">用户名或密码错误。</span></p>"""
_THROTTLED = """<p role="alert"><b>Too many failed tries. Wait a minute, then try again.</b>
<span lang="zh">失败次数过多，请等待一分钟后重试。</span></p>"""
_FORM = """<form method="post" action="login"><label>Name <span lang="zh">用户名</span>
<input name="name" autocomplete="username" required autofocus></label><label>Password <span lang="zh">密码</span>
<input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in <span lang="zh">登录</span></button></form>"""

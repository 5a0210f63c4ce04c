"""An ASGI application on one port, in a thread beside the main one."""

from __future__ import annotations

import logging
import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

_CLOSE_WITHIN_S = 5.0
_MOST_MESSAGE = 16 << 20  # bytes of a websocket message; a longer one closes the socket with code 1009


class Server:
    """`start` binds the port and answers in the background, `wait` blocks, `close` ends open connections."""

    def __init__(self, app: ASGIApp) -> None:
        settings = uvicorn.Config(
            app, log_level="warning", server_header=False, timeout_graceful_shutdown=1, ws_max_size=_MOST_MESSAGE
        )  # fmt: skip
        logging.getLogger("uvicorn.error").addFilter(_without_traceback)
        self._server = uvicorn.Server(settings)
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> None:
        """Returns when the application has started. Raises OSError for an address that cannot be listened on."""
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio sets it only on sockets that name their protocol. Without it the body of each answer on a kept connection
        # waits 40 ms for the client's acknowledgement of the head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="web", daemon=True
        )  # fmt: skip
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the page could not be started; the log says why")
            time.sleep(0.01)

    def wait(self) -> None:
        """Returns when the server has ended. Ctrl-C raises KeyboardInterrupt in it."""
        assert self._thread is not None
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Stops answering."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_CLOSE_WITHIN_S)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Takes the traceback from the line about a websocket's text that is no UTF-8: its client is at fault."""
    if record.exc_info and record.exc_info[0] is UnicodeDecodeError:
        record.exc_info = None
    return True


def address(host: str, port: int, root: str, token: str) -> str:
    """The URL for a browser on this machine, with the --root-path `root`; a server on all addresses answers on loopback, too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{root}/" + (f"?token={token}" if token else "")

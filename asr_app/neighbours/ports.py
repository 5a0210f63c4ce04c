"""The ports of their own that other servers' clients expect, where the flags ask for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from starlette.requests import HTTPConnection
from starlette.responses import Response

from asr_app import web
from asr_app.config import Config
from asr_app.door import Hosts
from asr_app.errors import UserError
from asr_app.login import NO_KEY, Login
from asr_app.neighbours import funasr_socket, wyoming
from asr_app.neighbours.recognition import Recognition

log = logging.getLogger(__name__)


class Ports:
    """`start` opens the ports of `config` on its host, `close` ends them with all their connections."""

    def __init__(self, recognition: Recognition, config: Config, login: Login | None) -> None:
        self._config, self._login = config, login
        self._hosts = Hosts(config.host, config.allow_host)
        self._recognition = recognition
        self._open: list[web.Server | wyoming.Server] = []

    def start(self) -> None:
        """Raises UserError for a port that cannot be used."""
        for flag, port, server in self._wanted():
            try:
                server.start(self._config.host, port)
            except OSError as error:
                raise UserError(
                    f"Port {port} cannot be used ({error}). Stop what listens there, or choose another with {flag}.",
                    f"端口 {port} 无法使用（{error}）。请停止占用它的程序，或用 {flag} 换一个端口。",
                ) from error
            self._open.append(server)
            log.info("%s: port %d is open", flag, port)

    def close(self) -> None:
        """Stops answering."""
        for server in self._open:
            server.close()

    def _wanted(self) -> Iterator[tuple[str, int, web.Server | wyoming.Server]]:
        if self._config.funasr_port:
            app = funasr_socket.app(self._recognition, self._refusal)
            yield "--funasr-port", self._config.funasr_port, web.Server(app)
        if self._config.wyoming_port:
            yield "--wyoming-port", self._config.wyoming_port, wyoming.Server(self._recognition)

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        """The answer to a connection that may not enter. A browser's socket can carry its key in the address alone."""
        if (refusal := self._hosts.refusal(connection.scope)) is not None:
            return refusal
        if self._login is None or self._login.has_key(connection):
            return None
        return None if self._login.is_key(connection.query_params.get("token", "")) else NO_KEY

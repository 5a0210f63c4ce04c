"""Sends a signed request to an address that a stranger has named, and only to addresses that anybody may reach.

The name is resolved once, and the connection goes to that very address: a name that means another address a moment later
(DNS rebinding) gains nothing. Redirects are not followed, proxies of the environment are not used, the body of the
answer is not read.

Signatures follow https://www.standardwebhooks.com: HMAC-SHA256 over id, time and body.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from asr_app.door import split_authority
from asr_app.errors import UserError

_DEADLINE_S = 10.0  # from the connection to the status of the answer
_MOST_CHARACTERS = 2048  # of an address
_PORTS = {"http": 80, "https": 443}
_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)  # as the standard has it
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotSent(Exception):
    """The request has not been accepted. The message says why; it holds nothing of the answer but its status."""


@dataclass(frozen=True)
class Target:
    """The parts of an http or https URL."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises ValueError, with the reason, for a URL that no webhook may have."""
        if len(url) > _MOST_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f"it must be an ASCII URL of at most {_MOST_CHARACTERS} characters")
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise ValueError("it is no URL") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("it must begin with https:// or http:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("it must not hold a name or a password")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, parts.hostname, port, path)


def read_secret(given: str, path: Path | None) -> bytes | None:
    """The secret of ASR_WEBHOOK_SECRET, else of --webhook-secret's file, `whsec_` and Base64; None without either.

    Raises UserError for a missing file, and for a secret that is not of 24 to 64 bytes.
    """
    try:
        text = given.strip() or (path.read_text(encoding="utf-8").strip() if path else "")
        if not text:
            return None
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--webhook-secret: {path} cannot be read.", f"--webhook-secret：无法读取 {path}。") from error
    except binascii.Error:
        secret = b""
    if len(secret) not in _SECRET_BYTES:
        raise UserError(
            "The webhook secret is `whsec_` and Base64 of 24 to 64 bytes. Make one: echo whsec_$(openssl rand -base64 32)",
            "Webhook 密钥应为 `whsec_` 加 24 到 64 字节的 Base64。可用以下命令生成：echo whsec_$(openssl rand -base64 32)",
        )
    return secret


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet. An address inside an IPv6 address counts as itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner:
            return is_public(inner)
    return address.is_global and not address.is_multicast


class Sender:
    """Sends requests signed with `secret`. Hosts of `allowed` (NAME or NAME:PORT) may have any address."""

    def __init__(self, secret: bytes, allowed: Iterable[str]) -> None:
        self._secret = secret
        self._allowed = {split_authority(name) for name in allowed}

    def refusal(self, target: Target) -> str | None:
        """Reason why an address is refused before it is looked up: an IP address that is not public, or localhost."""
        try:
            is_private = not is_public(ipaddress.ip_address(target.host))
        except ValueError:
            is_private = target.host == "localhost"
        if is_private and not self._may(target):
            return f"{target.host} is not a public address; the server may allow it with --webhook-allow {target.host}"
        return None

    def send(self, target: Target, message: str, body: bytes) -> None:
        """POSTs the JSON in `body` as the message of that id. Raises NotSent unless the answer is 2xx."""
        now = str(int(time.time()))
        headers = {
            "Content-Type": "application/json", "User-Agent": "asr-webhook", "Connection": "close", "webhook-id": message,
            "webhook-timestamp": now, "webhook-signature": f"v1,{self._signature(message, now, body)}",
        }  # fmt: skip
        connection = _Connection(target, self._address(target))
        deadline = threading.Timer(_DEADLINE_S, connection.abort)  # a receiver may drip its answer
        deadline.start()
        try:
            connection.request("POST", target.path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            # A socket that `abort` has closed fails in several ways.
            why = f"no answer within {_DEADLINE_S:.0f} s" if connection.is_aborted else _reason(error)
            raise NotSent(why) from error
        finally:
            deadline.cancel()
            connection.close()
        if not 200 <= status < 300:
            raise NotSent(f"answered {status}")

    def _signature(self, message: str, now: str, body: bytes) -> str:
        signed = b".".join((message.encode(), now.encode(), body))
        return base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()

    def _may(self, target: Target) -> bool:
        return bool({(target.host, None), (target.host, target.port)} & self._allowed)

    def _address(self, target: Target) -> str:
        """The address to connect to. Raises NotSent if the name has none, or any that is not public."""
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NotSent(f"{target.host} has no address") from error
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not self._may(target) and not is_public(ipaddress.ip_address(address.partition("%")[0])):
                raise NotSent(f"{target.host} has an address that is not public")
        return addresses[0]


class _Connection(http.client.HTTPConnection):
    """A connection to `address` that asks for the target's host, by TLS if its scheme is https."""

    def __init__(self, target: Target, address: str) -> None:
        self.default_port = _PORTS[target.scheme]
        super().__init__(target.host, target.port, timeout=_DEADLINE_S)
        self._address, self._is_tls = address, target.scheme == "https"
        self.is_aborted = False

    def connect(self) -> None:
        """Overrides the look-up of the name. Raises OSError."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self.is_aborted:
            raise TimeoutError
        if self._is_tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def abort(self) -> None:
        """Ends the exchange, from another thread."""
        self.is_aborted = True
        if self.sock is not None:
            with contextlib.suppress(OSError):  # it is closed already
                socket.socket.shutdown(
                    self.sock, socket.SHUT_RDWR
                )  # SSLSocket's own must not be called while another reads


def _reason(error: Exception) -> str:
    """A short reason that holds nothing which the receiver has written."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return "timed out" if isinstance(error, TimeoutError) else f"no HTTP answer ({type(error).__name__})"

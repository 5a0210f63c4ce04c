"""Webhooks: a real receiver on loopback, signatures by the standard's own library, and addresses that are refused."""

from __future__ import annotations

import base64
import contextlib
import http.server
import ipaddress
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest
from fakes import jobs, recording, wait  # noqa: F401 (fixtures)
from fastapi import FastAPI
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.testclient import TestClient

from asr_app import catalog
from asr_app.api import jobs as job_api
from asr_app.api import sending, webhooks
from asr_app.api.intake import Intake
from asr_app.api.models import Offered
from asr_app.api.sending import NotSent, Sender, Target, is_public, read_secret
from asr_app.api.webhooks import Webhooks
from asr_app.errors import UserError
from asr_app.journal import Journal

SECRET = bytes(range(32))


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent; answers with the next of `statuses`, then with 204."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.taken, server.statuses = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/done?of=me"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def fast(monkeypatch) -> None:
    monkeypatch.setattr(webhooks, "_LOOK_S", 0.02)
    monkeypatch.setattr(webhooks, "_WAITS_S", (0.05, 0.1))


@contextlib.contextmanager
def serving(jobs, *allowed: str, secret: bytes | None = SECRET) -> Iterator[TestClient]:
    """The API of jobs, and the thread that sends their webhooks."""
    hooks = Webhooks(jobs.journal, Sender(secret, allowed) if secret else None)
    offered = Offered(jobs._worker._engines, catalog.find("demo-paraformer"), lite=False, picked=None)
    hooks.start()
    try:
        yield TestClient(FastAPI(routes=job_api.routes(jobs, Intake(jobs, offered), hooks)))
    finally:
        hooks.stop()
        hooks._thread and hooks._thread.join()


def submit(client: TestClient, recording, url: str):
    with recording.open("rb") as file:
        return client.post("/v1/jobs", files={"file": ("a.wav", file)}, data={"webhook": url})


def settled(client: TestClient, job: str) -> dict:
    """The state of the job's webhook once nothing is tried any more."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        hook = client.get(f"/v1/jobs/{job}").json()["webhook"]
        if hook["status"] != "waiting":
            return hook
        time.sleep(0.02)
    raise AssertionError(hook)


def test_a_job_that_is_done_is_told_with_a_signature_that_the_standards_library_accepts(jobs, recording, receiver):
    with serving(jobs, "127.0.0.1") as client:
        answer = submit(client, recording, receiver.url)
        assert answer.status_code == 202
        waiting = {"status": "waiting", "attempts": 0, "next_at": None, "error": None}
        assert answer.json()["webhook"] == waiting
        time.sleep(0.1)
        assert not receiver.taken
        jobs.start()
        assert settled(client, answer.json()["id"]) == waiting | {"status": "delivered", "attempts": 1}
    ((path, headers, body),) = receiver.taken
    said = Webhook("whsec_" + base64.b64encode(SECRET).decode()).verify(body, headers)
    assert path == "/done?of=me"
    assert headers["Host"] == f"127.0.0.1:{receiver.server_port}"
    assert (said["type"], said["data"]["status"]) == ("transcription.job.done", "done")
    assert said["data"]["id"] == headers["webhook-id"] == answer.json()["id"]
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(body, headers)


def test_a_cancelled_job_is_told_too(jobs, recording, receiver):
    with serving(jobs, "127.0.0.1") as client:
        job = submit(client, recording, receiver.url).json()["id"]
        client.post(f"/v1/jobs/{job}/cancel")
        settled(client, job)
    assert json.loads(receiver.taken[0][2])["type"] == "transcription.job.cancelled"


def test_it_is_tried_again_under_the_same_id_and_given_up_in_the_end(jobs, recording, receiver):
    with serving(jobs, "127.0.0.1") as client:
        receiver.statuses = [500, 302]
        job = submit(client, recording, receiver.url).json()["id"]
        client.post(f"/v1/jobs/{job}/cancel")
        assert settled(client, job) == {"status": "delivered", "attempts": 3, "next_at": None, "error": None}
        receiver.statuses = [500, 302, 404]
        job = submit(client, recording, receiver.url).json()["id"]
        client.post(f"/v1/jobs/{job}/cancel")
        assert settled(client, job) == {"status": "failed", "attempts": 3, "next_at": None, "error": "answered 404"}
    assert [path for path, _, _ in receiver.taken] == ["/done?of=me"] * 6  # no redirect was followed
    assert len({headers["webhook-id"] for _, headers, _ in receiver.taken[:3]}) == 1


def test_it_survives_a_restart(jobs, recording, receiver, monkeypatch):
    monkeypatch.setattr(webhooks, "_WAITS_S", (3600.0,))
    with serving(jobs, "127.0.0.1") as client:
        receiver.statuses = [503]
        job = submit(client, recording, receiver.url).json()["id"]
        client.post(f"/v1/jobs/{job}/cancel")
        end = time.monotonic() + 20
        while time.monotonic() < end and not (hook := client.get(f"/v1/jobs/{job}").json()["webhook"])["attempts"]:
            time.sleep(0.02)
        assert (hook["status"], hook["error"]) == ("waiting", "answered 503")
        assert time.time() < hook["next_at"] < time.time() + 3700
    with sqlite3.connect(jobs.journal.storage.recordings.parent / "journal.sqlite3") as db:
        db.execute("UPDATE webhooks SET due = 0")
    jobs.journal = Journal(jobs.journal.storage.recordings.parent)
    with serving(jobs, "127.0.0.1") as client:
        assert settled(client, job)["status"] == "delivered"
    assert len(receiver.taken) == 2


def test_a_deleted_job_tells_nobody(jobs, recording, receiver):
    with serving(jobs, "127.0.0.1") as client:
        receiver.statuses = [500] * 9
        job = submit(client, recording, receiver.url).json()["id"]
        client.post(f"/v1/jobs/{job}/cancel")
        client.delete(f"/v1/jobs/{job}")
    with jobs.journal.transaction() as db:
        assert db.execute("SELECT COUNT(*) FROM webhooks").fetchone()[0] == 0


def test_a_job_whose_webhook_cannot_be_written_is_not_done(jobs, recording, monkeypatch):
    def fail(*_):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(Webhooks, "add", fail)
    with serving(jobs) as client:
        assert submit(client, recording, "https://example.com/").status_code == 503
    assert jobs.journal.idle()


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/", "http://localhost/", "http://10.0.0.1/", "https://[::1]/", "http://169.254.169.254/latest",
    "http://[::ffff:192.168.0.1]/", "http://0.0.0.0/", "ftp://example.com/", "file:///etc/passwd", "example.com",
    "https://user:pass@example.com/", "http://example.com:99999/", "http://exämple.com/", "http://a b/", "https://",
    "http://example.com/\r\nx: y", "https://example.com/" + "a" * 3000,
])  # fmt: skip
def test_a_url_that_no_webhook_may_have_is_refused(jobs, recording, url):
    with serving(jobs) as client:
        answer = submit(client, recording, url)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook")
    assert jobs.journal.idle()


def test_without_a_secret_there_are_none(jobs, recording):
    with serving(jobs, secret=None) as client:
        answer = submit(client, recording, "https://example.com/")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook")


def test_a_name_is_resolved_once_and_refused_if_any_address_is_private(monkeypatch, receiver):
    """DNS rebinding: the second look-up would give another address."""
    looked_up, connected = [], []

    def look_up(host, port, **_):
        looked_up.append(host)
        first = "93.184.215.14" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (first, port))]

    def connect(address, timeout):
        connected.append(address)
        connection = socket.socket()
        connection.connect(("127.0.0.1", receiver.server_port))
        return connection

    monkeypatch.setattr(sending.socket, "create_connection", connect)
    monkeypatch.setattr(sending.socket, "getaddrinfo", look_up)
    Sender(SECRET, ()).send(Target.parse("http://rebind.example/x"), "id", b"{}")
    assert (looked_up, connected) == (["rebind.example"], [("93.184.215.14", 80)])
    assert receiver.taken[0][1]["Host"] == "rebind.example"
    with pytest.raises(NotSent, match="not public"):
        Sender(SECRET, ()).send(Target.parse("http://rebind.example/x"), "id", b"{}")
    assert len(connected) == 1


@pytest.mark.parametrize(("address", "public"), [
    ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("172.31.0.1", False),
    ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False),  # noqa: S104
    ("255.255.255.255", False), ("198.18.0.1", False), ("::1", False), ("::", False), ("fe80::1", False), ("fc00::1", False),
    ("ff02::1", False), ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("64:ff9b::7f00:1", False),
    ("2002:7f00:1::", False), ("2001:db8::1", False),
])  # fmt: skip
def test_public_addresses(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


def test_an_allowed_host_may_name_a_port():
    assert Sender(SECRET, ["127.0.0.1:80"]).refusal(Target.parse("http://127.0.0.1/")) is None
    assert Sender(SECRET, ["127.0.0.1:80"]).refusal(Target.parse("http://127.0.0.1:81/"))
    assert Sender(SECRET, ["localhost"]).refusal(Target.parse("http://localhost:81/")) is None


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nx-a: " + b"b" * 40])
def test_a_receiver_that_takes_its_time_is_left(monkeypatch, drip):
    monkeypatch.setattr(sending, "_DEADLINE_S", 0.5)

    def answer_slowly() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            for byte in drip:
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
            time.sleep(2)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer_slowly, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(NotSent):
            Sender(SECRET, ["127.0.0.1"]).send(
                Target.parse(f"http://127.0.0.1:{listening.getsockname()[1]}/"), "id", b"{}"
            )
        assert time.monotonic() - began < 1.5


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path):
    text = "whsec_" + base64.b64encode(SECRET).decode()
    (tmp_path / "secret").write_text(text + "\n")
    assert read_secret("", tmp_path / "secret") == read_secret(text, None) == SECRET
    assert read_secret("", None) is None
    for given, path in (("whsec_c2hvcnQ=", None), ("not base64!", None), ("", tmp_path / "none")):
        with pytest.raises(UserError):
            read_secret(given, path)

"""One published file, from a real server over HTTP: whole, as its checksum says, or not at all."""

from __future__ import annotations

import hashlib
import http.server
import threading
from typing import ClassVar

import pytest

from asr_app import catalog, download, hub
from asr_app.sources import PublishedFile

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """Serves CONTENT with ranges; `asked` are the ranges, `stop_after` bytes it hangs up."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked: ClassVar[list[str | None]] = []
        stop_after: int | None = None

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            Handler.asked.append(wanted)
            first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if first >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(CONTENT) - first))
            self.end_headers()
            self.wfile.write(CONTENT[first : Handler.stop_after])

        def log_message(self, *_: object) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    Handler.url = f"http://127.0.0.1:{served.server_port}/{SHA256}/tiny.pt"
    yield Handler
    served.shutdown()


def test_a_file_arrives_and_is_found_again(server, tmp_path):
    told: list[tuple[int, int]] = []
    target = tmp_path / "whisper" / "tiny.pt"
    download.fetch(server.url, SHA256, target, lambda *figures: told.append(figures))
    assert target.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert download.verified(target, SHA256)


def test_a_download_stopped_after_its_last_byte_is_taken_as_it_is(server, tmp_path):
    target = tmp_path / "tiny.pt"
    (tmp_path / "tiny.pt.part").write_bytes(CONTENT)
    download.fetch(server.url, SHA256, target, None)
    assert target.read_bytes() == CONTENT
    (tmp_path / "other.pt.part").write_bytes(CONTENT[::-1])
    with pytest.raises(download.Damaged):
        download.fetch(server.url, SHA256, tmp_path / "other.pt", None)
    assert not list(tmp_path.glob("*.part"))


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    target = tmp_path / "tiny.pt"
    server.stop_after = 2_000_000
    with pytest.raises(OSError, match=r"IncompleteRead|bytes arrived"):
        download.fetch(server.url, SHA256, target, None)
    assert not target.exists()
    server.stop_after = None
    download.fetch(server.url, SHA256, target, None)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] != "bytes=0-"
    assert server.asked[-1] is not None


def test_another_file_than_the_published_one_is_not_kept(server, tmp_path):
    target = tmp_path / "tiny.pt"
    with pytest.raises(download.Damaged):
        download.fetch(server.url, "0" * 64, target, None)
    assert list(tmp_path.iterdir()) == []


def test_half_a_file_that_somebody_left_is_seen(tmp_path):
    (tmp_path / "tiny.pt").write_bytes(CONTENT[:1000])
    assert not download.verified(tmp_path / "tiny.pt", SHA256)
    (tmp_path / "tiny.pt").write_bytes(CONTENT)
    assert download.verified(tmp_path / "tiny.pt", SHA256)


def test_half_a_file_is_not_listed_as_on_this_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    card = catalog.find("whisper-tiny")
    (source,) = (s for s in card.sources["model"] if isinstance(s, PublishedFile))
    path = download.kept(source.url)
    path.parent.mkdir()
    for size, whole in ((40_000_000, False), (75_572_083, True)):  # OpenAI's tiny.pt
        with path.open("wb") as file:
            file.truncate(size)
        assert hub.on_disk(card, "auto") is whole


def test_a_cancelled_download_keeps_what_has_arrived(server, tmp_path):
    class Cancelled(BaseException):
        pass

    def cancel(done: int, _total: int) -> None:
        if done > 1_500_000:
            raise Cancelled

    with pytest.raises(Cancelled):
        download.fetch(server.url, SHA256, tmp_path / "tiny.pt", cancel)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.pt.part"]

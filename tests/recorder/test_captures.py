"""Pieces of recordings over HTTP, without a browser: twice, late, out of order, wrong, and over a kill."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fastapi import FastAPI
from starlette.testclient import TestClient

from asr_app import journal as journal_module
from asr_app.audio import Limits
from asr_app.clients import Clients
from asr_app.door import Door
from asr_app.errors import UserError
from asr_app.journal import Journal
from asr_app.recorder import captures as module
from asr_app.recorder.captions import Captions
from asr_app.recorder.captures import Captures, Refused
from asr_app.ui.recorder import news

ID = "abcdefghijklmnopqrstuv-_"
RATE = 16_000


@dataclass
class Room:
    """The recorder's part of a server, behind the door."""

    captures: Captures
    journal: Journal
    http: TestClient

    def send(self, number: int, samples: np.ndarray, capture: str = ID, rate: object = RATE, **headers: str):
        body = samples.astype("<i2").tobytes()
        marks = {"X-Capture": capture, "X-Piece": str(number), "X-Rate": str(rate), "X-Sizes": str(len(body))}
        return self.http.post("/capture/piece", content=body, headers=marks | headers)

    def send_together(self, first: int, pieces: list[np.ndarray], **headers: str):
        sizes = ",".join(str(2 * len(piece)) for piece in pieces)
        return self.send(first, np.concatenate(pieces), **{"X-Sizes": sizes} | headers)

    def look(self, capture: str = ID) -> dict:
        return self.http.post("/capture/look", json={"capture": capture}).json()

    def samples(self) -> np.ndarray:
        return self.captures.samples(self.captures.find(ID), 0)

    def files(self) -> list[Path]:
        return list(self.journal.storage.captures.iterdir())


def opened(home: Path, limits: Limits | None = None, max_disk_bytes: int = 10**12) -> Room:
    journal = Journal(home, max_disk_bytes)
    captures = Captures(journal, limits or Limits())
    app = FastAPI(routes=news.routes(captures, Captions(captures, None)))
    http = TestClient(Door(Clients(app), "127.0.0.1", (), None), base_url="http://127.0.0.1:6006")
    return Room(captures, journal, http)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    return opened(tmp_path / "home")


@pytest.fixture(scope="module")
def pieces() -> list[np.ndarray]:
    """Twelve pieces of about half a second: noise, so that no two samples could change places unseen."""
    rng = np.random.default_rng(0)
    return [rng.integers(-(2**15), 2**15, size, np.int16) for size in (*[8000] * 11, 313)]


ORDERS = {
    "in order": [*range(12)],
    "each twice": [n for n in range(12) for _ in range(2)],
    "backwards after the first": [0, *range(11, 0, -1)],
    "late and again": [0, 2, 1, 1, 5, 3, 5, 4, 0, 9, 8, 7, 6, 11, 10, 11],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_every_order_gives_the_same_samples(room, pieces, order):
    for number in order:
        answer = room.send(number, pieces[number])
        assert answer.status_code == 200, answer.text
    whole = np.concatenate(pieces)
    assert answer.json() == {"state": "open", "pieces": 12, "samples": len(whole), "job": ""}
    assert np.array_equal(room.samples(), whole)
    handed: list[Path] = []

    def submit(path: Path) -> str:
        handed.append(shutil.copy(path, path.with_suffix(".kept")))
        return "job"

    assert [room.captures.hand_over(ID, 12, submit) for _ in range(2)] == ["job", "job"]  # a double click
    samples, rate = soundfile.read(handed[0], dtype="int16")
    assert (rate, len(handed)) == (RATE, 1)
    assert np.array_equal(samples, whole)
    assert [path.suffix for path in room.files()] == [".kept"]
    refused = room.send(12, pieces[0])
    assert (refused.status_code, refused.json()["reason"]) == (410, "finished")
    assert room.look()["job"] == "job"


def test_pieces_that_come_together_are_single_pieces(room, pieces):
    room.send(0, pieces[0])
    room.send(5, pieces[5])
    room.send_together(8, pieces[8:11])  # early
    assert room.send_together(0, pieces[:7]).json()["pieces"] == 7  # some of them again
    assert room.send_together(6, pieces[6:12]).json()["pieces"] == 12
    assert np.array_equal(room.samples(), np.concatenate(pieces))
    for sizes in ("16000,16000", "", "15999,1", "16000,x", ",".join(["2"] * 17)):
        answer = room.send_together(12, [pieces[0], pieces[1][:1]], **{"X-Sizes": sizes})
        assert answer.status_code == 400, sizes


def test_a_kill_between_file_and_journal_changes_nothing(tmp_path, room, pieces, monkeypatch):
    """The row is what counts: a piece that was written and not acknowledged is written again at its place."""
    room.send(0, pieces[0])
    room.send(2, pieces[2])
    (file,) = room.files()
    file.write_bytes(file.read_bytes() + b"half of a piece that nobody acknowledged")
    again = opened(tmp_path / "home")  # as after a kill -9
    assert again.look() == {"state": "open", "pieces": 1, "samples": 8000, "job": ""}
    again.send(1, pieces[1])
    assert np.array_equal(again.samples(), np.concatenate(pieces[:3]))
    again.captures.hand_over(ID, 3, lambda path: shutil.copy(path, tmp_path / "whole.wav") and "job")
    assert np.array_equal(soundfile.read(tmp_path / "whole.wav", dtype="int16")[0], np.concatenate(pieces[:3]))


def test_a_piece_is_on_the_disk_before_it_is_acknowledged(room, pieces, monkeypatch):
    synced = []
    monkeypatch.setattr(module, "_sync", lambda file: synced.append(room.captures.find(ID).pieces))
    room.send(0, pieces[0])
    room.send(1, pieces[1])
    assert synced == [0, 1]


@pytest.mark.parametrize(
    ("number", "size", "capture", "rate", "status"),
    [
        (0, 0, ID, RATE, 400), (0, 40_000, ID, RATE, 400), (0, 8000, ID[:-1], RATE, 400), (0, 8000, "../" + ID[3:], RATE, 400),
        (0, 8000, ID, 96_000, 400), (0, 8000, ID, "much", 400), ("-1", 8000, ID, RATE, 400), ("x", 8000, ID, RATE, 400),
        (3, 8000, ID, RATE, 404),
    ],
)  # fmt: skip
def test_what_is_no_piece_is_refused_and_begins_nothing(room, number, size, capture, rate, status):
    answer = room.send(number, np.zeros(size), capture, rate)
    assert answer.status_code == status, answer.text
    assert {"reason", "en", "zh"} == set(answer.json())
    assert room.look(capture) == {"state": "unknown"}
    assert room.files() == []


def test_half_a_sample_another_rate_and_a_piece_far_ahead(room, pieces):
    room.send(0, pieces[0])
    marks = {"X-Capture": ID, "X-Piece": "1", "X-Rate": str(RATE), "X-Sizes": "3"}
    assert room.http.post("/capture/piece", content=b"odd", headers=marks).status_code == 400
    assert room.send(1, pieces[1], rate=48_000).status_code == 400
    ahead = room.send(66, pieces[1])
    assert (ahead.status_code, ahead.json()["reason"]) == (409, "ahead")
    assert room.look()["pieces"] == 1
    with pytest.raises(Refused, match="1 of 3 pieces"):
        room.captures.hand_over(ID, 3, lambda path: "job")
    assert room.send(1, pieces[1]).json()["pieces"] == 2  # it stays open


def test_bounds_of_length_recordings_and_disk(tmp_path, pieces):
    short = opened(tmp_path / "short", Limits(max_seconds=1.0))
    short.send(0, pieces[0])
    short.send(1, pieces[1])
    refused = short.send(2, pieces[2])
    assert (refused.status_code, refused.json()["reason"]) == (413, "too_long")
    assert short.look()["samples"] == RATE  # what is there can be transcribed
    many = opened(tmp_path / "many")
    cookie = {"Cookie": "asr-browser=" + "c" * 24}
    answers = [many.send(0, pieces[0], f"{n:024}", **cookie).status_code for n in range(11)]
    assert answers == [200] * 10 + [429]
    assert many.send(0, pieces[0], "x" * 24, Cookie="asr-browser=" + "d" * 24).status_code == 200  # another browser
    many.http.post("/capture/discard", json={"capture": f"{0:024}"})
    assert many.send(0, pieces[0], f"{10:024}", **cookie).status_code == 200
    full = opened(tmp_path / "full", max_disk_bytes=10_000)
    refused = full.send(0, pieces[0])
    assert (refused.status_code, refused.json()["reason"]) == (507, "full")
    assert "--max-disk-gb" in refused.json()["en"]


def test_a_recording_takes_part_of_the_room_for_all(tmp_path, pieces):
    room = opened(tmp_path, max_disk_bytes=20_000)
    room.journal.storage.require_room(15_000)
    room.send(0, pieces[0][:100])
    for n in range(1, 4):
        room.send(n, pieces[0][:1500])
    with pytest.raises(UserError, match="no room"):
        room.journal.storage.require_room(15_000)


def test_a_discarded_recording_is_gone_and_stays_closed(room, pieces):
    room.send(0, pieces[0])
    room.send(5, pieces[5])
    assert room.http.post("/capture/discard", json={"capture": ID}).status_code == 204
    assert room.files() == []
    assert room.send(1, pieces[1]).status_code == 410
    assert room.look()["state"] == "discarded"
    assert room.http.post("/capture/discard", json={"capture": "unknown"}).status_code == 204


def test_a_recording_left_alone_is_deleted_after_seven_days(room, pieces, monkeypatch):
    room.send(0, pieces[0])
    room.send(5, pieces[5])
    stray = room.journal.storage.captures / "stray.wav"
    stray.write_bytes(b"of a journal that was set aside")
    room.captures.forget_old()
    assert len(room.files()) == 2
    later = time.time() + journal_module.KEEP_DAYS * 86_400 + 60
    monkeypatch.setattr(module.time, "time", lambda: later)
    room.captures.forget_old()
    assert room.files() == []
    assert room.look() == {"state": "unknown"}
    with room.journal.transaction() as db:
        assert db.execute("SELECT COUNT(*) FROM early_pieces").fetchone()[0] == 0


def test_a_job_that_is_refused_leaves_the_recording_open(room, pieces):
    def refuse(path: Path) -> str:
        raise UserError("20 of your recordings are waiting already.", "已有 20 个录音在排队。")

    room.send(0, pieces[0])
    with pytest.raises(UserError, match="waiting"):
        room.captures.hand_over(ID, 1, refuse)
    assert room.send(1, pieces[1]).status_code == 200
    assert np.array_equal(room.samples(), np.concatenate(pieces[:2]))
    assert room.captures.hand_over(ID, 2, lambda path: "job") == "job"


def test_other_pages_may_not_send(room, pieces):
    assert room.send(0, pieces[0], Origin="http://evil.example").status_code == 403
    assert room.look() == {"state": "unknown"}
    worklet = room.http.get("/record-worklet.js")
    assert worklet.headers["content-type"].startswith("text/javascript")
    assert "registerProcessor" in worklet.text


def test_a_job_keeps_the_samples_of_its_recording(tmp_path, pieces):
    """The hand-over through the product's own queue: the file of the job outlives that of the recording."""
    from fakes import FakeEngines

    from asr_app.datatypes import Options
    from asr_app.jobs import Jobs
    from asr_app.precision import Precision

    room = opened(tmp_path)
    jobs = Jobs(room.journal, FakeEngines(), Limits())
    for number, piece in enumerate(pieces):
        room.send(number, piece)
    job = room.captures.hand_over(
        ID, 12, lambda path: jobs.submit(path, "Microphone.wav", "demo-paraformer", Precision.INT8, Options())
    )
    samples, _ = soundfile.read(jobs.observe(job).recording, dtype="int16")
    assert np.array_equal(samples, np.concatenate(pieces))
    assert room.files() == []
    room.journal.ask_to_cancel(job)
    room.journal.remove(job)
    assert list(room.journal.recordings.iterdir()) == []

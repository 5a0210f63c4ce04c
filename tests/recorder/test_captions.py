"""Captions from pieces on the disk, with a desk that recognises nothing: what it is given, and what a page is told."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from asr_app import catalog
from asr_app.audio import Limits
from asr_app.datatypes import Options, Segment
from asr_app.errors import UserError
from asr_app.journal import Journal
from asr_app.live.events import Event, Failed, Final, Partial, SpeechStarted
from asr_app.precision import Precision
from asr_app.recorder import captions as module
from asr_app.recorder.captions import Captions
from asr_app.recorder.captures import Captures

ID = "i" * 24
RATE = 48_000
CARD = catalog.find("demo-paraformer")


class FakeStream:
    """Keeps what it is fed."""

    def __init__(self, listener) -> None:
        self.tell, self.fed, self.commits, self.closed, self.backlog_s = listener, [], 0, False, 0.0

    def feed(self, samples: np.ndarray) -> None:
        self.fed.append(samples)

    def commit(self) -> None:
        self.commits += 1

    def close(self) -> None:
        self.closed = True

    @property
    def seconds(self) -> float:
        return sum(map(len, self.fed)) / 16_000


class FakeDesk:
    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.refuses = False

    def open(self, card, precision, options, listener) -> FakeStream:
        if self.refuses:
            raise UserError("too many streams", "语音流过多")
        self.streams.append(FakeStream(listener))
        return self.streams[-1]


class Room:
    """A recording whose pieces come from the test."""

    def __init__(self, home: Path) -> None:
        self.captures, self.desk = Captures(Journal(home), Limits()), FakeDesk()
        self.captions = Captions(self.captures, self.desk)
        self.count = 0

    def send(self, seconds: float = 0.5, number: int | None = None) -> None:
        number = self.count if number is None else number
        self.count += 1
        samples = np.full(round(seconds * RATE), 1000, "<i2")
        self.captions.feed(self.captures.add(ID, number, RATE, [samples.tobytes()]))

    def begin(self, start: int = 0) -> None:
        self.captions.begin(ID, CARD, Precision.FP32, Options(), start)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.desk.streams[-1].tell(event)

    def told(self, seen: int = 0, series: str | None = None):
        if series is None:
            series = self.captions.told(ID, "", 0).series
        return self.captions.told(ID, series, seen)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def final(utterance: int, end_s: float, text: str) -> Final:
    return Final(utterance, 0.0, end_s, (Segment(0.0, end_s, text),))


def test_the_stream_gets_every_sample_once_in_order_at_16_khz(room):
    room.send()
    assert room.captions.told(ID, "", 0) is None
    room.begin()
    room.begin()
    (stream,) = room.desk.streams
    room.send(number=2)  # early: the captions wait for piece 1
    assert stream.seconds == pytest.approx(0.5, abs=0.05)
    room.send(number=1)
    assert stream.seconds == pytest.approx(1.5, abs=0.05)
    assert np.allclose(np.concatenate(stream.fed)[200:-200], 1000 / 32768, atol=1e-3)


def test_open_text_is_replaced_and_final_lines_are_told_once(room):
    room.send()
    room.begin()
    room.tell(SpeechStarted(0, 0.1), Partial(0, 0.1, 0.5, "he"), Partial(0, 0.1, 0.9, "hello"))
    assert (room.told().lines, room.told().open) == ((), "hello")
    before = room.told().version
    room.tell(final(0, 1.0, "Hello."))
    told = room.told()
    assert [(line.text, line.end) for line in told.lines] == [("Hello.", RATE)]
    assert (told.open, told.version > before) == ("", True)
    room.tell(Partial(1, 1.2, 1.5, "the"), final(1, 2.0, "The end."), Final(2, 3.0, 3.1, ()))
    assert [line.text for line in room.told(seen=1).lines] == ["The end."]
    assert len(room.told(seen=1, series="of another process").lines) == 2


def test_captions_far_behind_go_on_at_the_present_and_say_so(room):
    room.send(1.0)
    room.begin()
    (stream,) = room.desk.streams
    stream.backlog_s = 31.0
    for _ in range(100):
        room.send(1.0)
    assert (room.told().lines, stream.seconds) == ((), pytest.approx(1.0, abs=0.05))
    stream.backlog_s = 0.0
    room.send(1.0)
    (line,) = room.told().lines
    assert (line.left_out_s, stream.commits) == (pytest.approx(81.0), 1)
    assert stream.seconds == pytest.approx(21.0, abs=0.1)
    room.tell(final(0, 21.0, "at the end"))
    assert room.told().lines[-1].end == pytest.approx(102 * RATE, abs=0.1 * RATE)


def test_a_pause_ends_the_open_line_and_a_long_one_the_stream(room, monkeypatch):
    room.send()
    room.begin()
    (stream,) = room.desk.streams
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 2)
    assert (room.told().rests, room.told().rests, stream.commits) == (False, False, 1)
    room.tell(final(0, 0.5, "so far"))
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 130)
    room.captions.rest_idle()
    assert (stream.closed, room.told().rests, room.told().lines[0].text) == (True, True, "so far")
    room.send()
    room.begin()  # the page asks once more when it records
    assert room.desk.streams[-1].seconds == pytest.approx(0.5, abs=0.02)
    assert [line.text for line in room.told().lines] == ["so far"]


def test_after_a_restart_captions_go_on_where_the_page_had_them(tmp_path, room):
    for _ in range(10):
        room.send()
    again = Room(tmp_path)
    again.begin(start=3 * RATE)
    assert again.desk.streams[0].seconds == pytest.approx(2.0, abs=0.02)
    again.begin(start=10**9)  # a stranger's number: nothing is fed twice
    assert len(again.desk.streams) == 1


def test_what_keeps_captions_away_is_told_and_does_not_touch_the_recording(room):
    room.send()
    room.desk.refuses = True
    room.begin()
    assert (room.told().rests, str(room.told().failure)) == (True, "too many streams")
    room.desk.refuses = False
    room.begin()
    assert room.told().failure is None
    room.tell(Failed(0, UserError("one", "一")))
    assert room.told().failure is None
    room.tell(Failed(None, UserError("all", "全部")))
    room.send()
    assert (str(room.told().failure), room.captures.find(ID).pieces) == ("all", 2)
    room.captions.begin("unknown" * 3 + "abc", CARD, Precision.FP32, Options(), 0)
    room.captions.end(ID)
    assert room.captions.told(ID, "", 0) is None


def test_pieces_from_several_threads_are_fed_once(room):
    room.send()
    room.begin()
    threads = [threading.Thread(target=room.send, kwargs={"number": n}) for n in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    room.captions.feed(room.captures.find(ID))
    assert room.desk.streams[0].seconds == pytest.approx(10.5, abs=0.02)

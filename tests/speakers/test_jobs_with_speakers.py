"""Jobs that name speakers, with an engine and voices of a few lines: in the journal, in the page's answers, after a kill."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from fakes import FakeEngines, recording, wait  # noqa: F401
from fastapi import FastAPI
from starlette.testclient import TestClient

from asr_app import catalog
from asr_app.audio import Limits
from asr_app.corrections.store import Corrections
from asr_app.datatypes import Options
from asr_app.errors import UserError
from asr_app.jobs import Jobs
from asr_app.journal import Journal
from asr_app.precision import Precision
from asr_app.speakers.resident import LoadedSpeakers
from asr_app.startup import Preparer
from asr_app.ui import news
from asr_app.ui.corrections import news as corrections


class Voices:
    """The first windows are of one voice, those after the fourteenth of another."""

    name, weight_bytes = "campplus", 28_000_000

    def __init__(self) -> None:
        self.gate, self.fails = threading.Event(), False
        self.gate.set()

    def embed(self, windows, done):
        found = [np.eye(8)[int(n >= 14)] for n, _ in enumerate(windows)]
        self.gate.wait(20)
        done(len(found))
        if self.fails:
            raise ValueError("numbers that are nobody's fault")
        return np.array(found)


class Engines(FakeEngines):
    def __init__(self) -> None:
        super().__init__()
        self.voices, self.missing = Voices(), False

    @contextmanager
    def speakers(self, card, on_progress=None, stop=None):
        if self.missing:
            raise UserError("Speakers cannot be told apart.", "无法区分说话人。")
        yield LoadedSpeakers(self.voices, 0.25)


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(Journal(tmp_path / "home"), Engines(), Limits())
    yield made
    made.stop()


@pytest.fixture
def page(jobs):
    """The page's answers."""
    card = catalog.find("demo-paraformer")
    routes = [
        *news.routes(jobs, jobs._worker._engines, Preparer(jobs._worker._engines, card, card)),
        *corrections.routes(jobs, jobs._worker._engines, {card.id: card}),
    ]
    return TestClient(FastAPI(routes=routes))


def submit(jobs, path, count=None) -> str:
    options = Options(speakers=True, speaker_count=count)
    return jobs.submit(path, path.name, "demo-paraformer", Precision.INT8, options)


def test_the_sentences_of_a_job_have_speakers(jobs, recording):
    jobs.start()
    view = wait(jobs, submit(jobs, recording), lambda v: v.finished)
    assert view.error is None
    speakers = [s.speaker for s in view.segments]
    assert set(speakers) == {"S1", "S2"}
    assert speakers == sorted(speakers)
    done = view.transcript
    assert (done.speakers.labels, done.speakers.asked) == (("S1", "S2"), None)
    assert done.times.speakers_s > 0
    assert done.times.load_s >= 0.25
    assert done.as_dict()["segments"][0]["speaker"] == "S1"


def test_the_number_that_is_asked_for_is_kept_with_the_job(jobs, recording):
    jobs.start()
    view = wait(jobs, submit(jobs, recording, 1), lambda v: v.finished)
    assert {s.speaker for s in view.segments} == {"S1"}
    assert view.transcript.speakers.asked == 1
    with pytest.raises(UserError, match="1 to 15"):
        submit(jobs, recording, 16)


def test_without_the_speaker_model_nothing_is_begun(jobs, recording):
    jobs._worker._engines.missing = True
    jobs.start()
    view = wait(jobs, submit(jobs, recording), lambda v: v.finished)
    assert view.state == "failed"
    assert view.error.en == "Speakers cannot be told apart."
    assert view.segments == ()


def test_a_recording_without_speech_has_no_speakers(jobs, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    jobs.start()
    view = wait(jobs, submit(jobs, tmp_path / "silence.wav"), lambda v: v.finished)
    assert (view.state, view.segments) == ("done", ())
    assert view.transcript.speakers.labels == ()


def test_the_page_gets_all_lines_anew_and_holds_them_until_then(jobs, recording, page):
    jobs._worker._engines.voices.gate.clear()
    jobs.start()
    job = submit(jobs, recording)
    wait(jobs, job, lambda v: v.stage == "speakers")
    asked = {"language": "en", "job": job}
    before = page.post("/news", json=asked).json()["job"]
    assert before["rows"].count("segment held") == 7
    assert "data-speaker" not in before["rows"]
    assert "Telling speakers apart" in before["progress"]
    for action in ("correct", "confirm", "rename", "redo"):
        refused = page.post("/corrections", json=asked | {"action": action, "text": "x", "speaker": "S1"}).json()
        assert refused["refused"] == "Lines can be corrected once the speakers are told apart."
    jobs._worker._engines.voices.gate.set()
    wait(jobs, job, lambda v: v.finished)
    after = page.post("/news", json=asked | {"since": before["since"]}).json()["job"]
    assert after["anew"]
    assert re.findall(r'data-speaker="(S\d)"', after["rows"]) == [s.speaker for s in jobs.observe(job).segments]
    assert "segment held" not in after["rows"]
    assert "2 (CAM++, FP32, 28 MB)" in after["result"]
    look = page.post("/corrections", json=asked | {"action": "rename", "speaker": "S2", "text": "<Anna>"}).json()
    assert look["refused"] == ""
    assert look["names"] == {"S1": "S1", "S2": "<Anna>"}
    assert "&lt;Anna&gt;</button>" in look["speakers"]
    overtaken = page.post("/corrections", json=asked | {"action": "rename", "speaker": "S2", "text": "Eve"}).json()
    assert "another window" in overtaken["refused"]
    again = page.post("/news", json=asked).json()["job"]
    assert "&lt;Anna&gt;</span>" in again["rows"]
    undone = page.post("/corrections", json=asked | {"action": "undo", "seen": 1}).json()
    assert undone["names"] == {"S1": "S1", "S2": "S2"}


def test_a_job_that_failed_at_its_speakers_keeps_its_text_and_can_be_corrected(jobs, recording, page):
    jobs._worker._engines.voices.fails = True
    jobs.start()
    job = submit(jobs, recording)
    view = wait(jobs, job, lambda v: v.finished)
    assert (view.state, len(view.segments)) == ("failed", 7)
    answer = page.post("/corrections", json={"language": "en", "job": job, "action": "correct", "text": "x"}).json()
    assert answer["refused"] == ""
    assert Corrections(jobs.journal).line(job, 0).text == "x"


def test_what_was_killed_at_its_speakers_goes_on_there(jobs, recording, tmp_path):
    jobs._worker._engines.voices.gate.clear()
    jobs.start()
    job = submit(jobs, recording)
    wait(jobs, job, lambda v: v.stage == "speakers")
    threading.Timer(0.2, jobs._worker._engines.voices.gate.set).start()
    jobs.stop()
    again = Jobs(Journal(tmp_path / "home"), Engines(), Limits())
    again.start()
    view = wait(again, job, lambda v: v.finished)
    again.stop()
    assert (view.state, len(view.segments)) == ("done", 7)
    assert again._worker._engines.engine.count == 0
    assert view.transcript.speakers.labels == ("S1", "S2")

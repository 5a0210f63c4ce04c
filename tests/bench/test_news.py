"""The tab's routes: the state, the report, downloads that no browser shows, and ids that are secrets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from fakes import FakeEngines
from fastapi import FastAPI
from reports import HOSTILE, results
from starlette.testclient import TestClient
from test_benchmarks import ASKED, dataset

from asr_app.bench.benchmarks import Benchmarks
from asr_app.bench.runner import Progress, Runner
from asr_app.door import Door
from asr_app.report.bench import Step
from asr_app.report.files import as_json
from asr_app.storage import Storage
from asr_app.ui.bench import news


class House:
    def __init__(self, folder: Path) -> None:
        self.benchmarks = Benchmarks(Storage(folder / "home"), {"<b>set": dataset(folder / "set")})
        self.runner = Runner(self.benchmarks, FakeEngines(), folder, lambda: True)
        app = FastAPI(routes=news.routes(self.benchmarks, self.runner))
        self.client = TestClient(Door(app, "127.0.0.1", (), None), base_url="http://127.0.0.1:6006")
        self.draft = self.benchmarks.draft_offered("<b>set").id
        self.id = self.benchmarks.begin(self.draft, ASKED)

    def ask(self, **fields: object) -> dict:
        answer = self.client.post("/benchmark", json={"language": "en", "benchmark": self.id, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wish(self, wish: str) -> int:
        return self.client.post("/benchmark/wish", json={"benchmark": self.id, "wish": wish}).status_code

    def measure(self, folder: Path) -> None:
        (self.benchmarks.folder(self.benchmarks.find(self.id)) / "results.json").write_text(
            as_json(results(folder)), encoding="utf-8"
        )


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_state_is_told_and_follows_the_buttons(house: House) -> None:
    told = house.ask(listed=[house.id, "unknown", house.draft])
    assert (told["known"], told["finished"]) == (True, False)
    assert "waits until the machine is idle" in told["progress"]
    assert "&lt;b&gt;set" in told["progress"]
    assert '<button class="stop">' in told["progress"]
    assert told["listed"]["unknown"] is told["listed"][house.draft] is None
    assert "&lt;b&gt;set" in told["listed"][house.id]
    assert "remove" not in told["listed"][house.id]
    house.benchmarks.take()
    house.benchmarks.busy = house.id
    house.runner.progress = Progress(Step("texts", 30, 120, "", "demo-paraformer", "int8"), 75.0)
    said = house.ask()["progress"]
    assert "Demo Paraformer · recognising · INT8" in said
    assert "30 / 120 · 1:15 left" in said
    assert "识别 · INT8" in house.ask(language="zh")["progress"]
    assert house.wish("stop") == 204
    house.benchmarks.busy = ""
    told = house.ask(listed=[house.id])
    assert told["finished"]
    assert "No arm was finished" in told["contents"]
    assert '<button class="go-on">' in told["progress"]
    assert 'class="remove"' in told["listed"][house.id]
    assert house.wish("go-on") == 204
    assert house.benchmarks.find(house.id).state == "queued"
    assert house.wish("remove") == 204
    assert house.ask()["known"]  # only what has ended is removed
    house.wish("stop")
    house.wish("remove")
    assert not house.ask()["known"]


def test_the_report_is_sent_once_and_again_when_there_is_more(house: House, tmp_path: Path) -> None:
    house.benchmarks.take()
    first = house.ask()
    assert "arm by arm" in first["contents"]
    house.measure(tmp_path)
    second = house.ask(tag=first["tag"])
    assert "The results so far" in second["contents"]
    assert second["contents"].count("<svg viewBox") > 4
    assert "On this machine, for these 40 clips" in second["contents"]
    assert "<script" not in second["contents"]
    assert "contents" not in house.ask(tag=second["tag"])
    chinese = house.ask(tag=second["tag"], language="zh")
    assert "在本机上，就这 40 段录音而言" in chinese["contents"]
    house.benchmarks.end(house.id, "done")
    assert "so far" not in house.ask(tag=second["tag"])["contents"]


def test_downloads_are_never_shown_by_a_browser(house: House, tmp_path: Path) -> None:
    house.measure(tmp_path)
    for file, kind in (
        ("report.html", "text/html"), ("report.md", "text/markdown"), ("results.json", "application/json"),
        ("clips.csv", "text/csv"),
    ):  # fmt: skip
        answer = house.client.get(f"/benchmark/{house.id}/en/{file}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-disposition"] == f'attachment; filename="{file}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert HOSTILE not in answer.text or file == "results.json"
    assert "zh-CN" in house.client.get(f"/benchmark/{house.id}/zh/report.html").text
    rows = list(
        csv.reader(io.StringIO(house.client.get(f"/benchmark/{house.id}/en/clips.csv").text.removeprefix("\ufeff")))
    )
    made = json.loads(house.client.get(f"/benchmark/{house.id}/en/results.json").text)
    assert (
        len(rows) == 1 + sum(len(arm["texts"]) for model in made["models"] for arm in model["arms"]) == 1 + 40 + 40 + 7
    )
    assert dict(zip(rows[0], rows[1], strict=True))["precision"] == "fp32"


def test_nothing_else_is_answered(house: House, tmp_path: Path) -> None:
    house.measure(tmp_path)
    for path in (
        f"{house.id}/en/benchmark.json", f"{house.id}/en/..%2fbenchmark.json", f"{house.draft}/en/results.json",
        "x/en/results.json", "..%2f..%2fx/en/results.json", f"{house.id}/en", f"{house.id}",
    ):  # fmt: skip
        assert house.client.get(f"/benchmark/{path}").status_code in (404, 405), path
    assert house.client.post("/benchmark", json={"language": "en", "benchmark": "x" * 65}).status_code == 422
    assert house.client.post("/benchmark/wish", json={"benchmark": house.id, "wish": "rm"}).status_code == 422
    assert (
        house.client.post("/benchmark", json={"language": "en"}, headers={"Origin": "http://evil"}).status_code == 403
    )


def test_a_damaged_result_is_told(house: House) -> None:
    folder = house.benchmarks.folder(house.benchmarks.find(house.id))
    (folder / "results.json").write_text("{", encoding="utf-8")
    assert "results.json cannot be read" in house.ask()["contents"]

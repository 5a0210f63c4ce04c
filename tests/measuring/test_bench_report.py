"""`bench` from data to results: what fails is named and the rest goes on; killed and started again it ends the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
from conftest import EXAMPLE, ROOT
from reports import measured

from asr_app import cli
from asr_app.errors import UserError
from asr_app.evaluate.arms import ArmText, Clip
from asr_app.evaluate.plan import EvaluationArm
from asr_app.evaluate.process import Answer, Started
from asr_app.memory import Needs
from asr_app.report import bench
from asr_app.report import command as report_command
from asr_app.report.bench import BenchRequest, Step
from asr_app.report.command import has_failed
from asr_app.report.markdown import markdown
from asr_app.report.page import page


class Fake:
    """Writes the name of the clip; dies at the clip `broken`."""

    def __init__(self, broken: str = "") -> None:
        self._broken = broken

    def ready(self) -> Started:
        return Started(1.0, 2.0, 3.0, 4.0, "")

    def ask(self, clips: Sequence[Clip]) -> Answer:
        if self._broken in [clip.path.stem for clip in clips]:
            raise RuntimeError("Killed")
        return Answer(1.0, 0.5, 6.0, [ArmText(f"text {clip.path.stem}", 1.0, nats=1.0, tokens=2) for clip in clips])

    def end(self) -> None: ...


class Numbers(Fake):
    """Writes the number 25 in words after the name of the clip `b`."""

    def ask(self, clips: Sequence[Clip]) -> Answer:
        answer = super().ask(clips)
        texts = [replace(t, text=t.text + " 二十五" if t.text.endswith("b") else t.text) for t in answer.texts]
        return replace(answer, texts=texts)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three clips in two languages, a damaged one, one without a reference, a reference without its clip."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate(("a", "b", "c", "alone")):
        soundfile.write(folder / f"{name}.wav", np.full(16000 * (1 + number), 0.01 * number), 16000)
    (folder / "cover.jpg").write_bytes(b"no sound")
    rows = (
        "a.wav\ten\ttext a",
        "b.wav\tde\ttext other",
        "c.wav\ten\ttext c",
        "cover.jpg\ten\tx",
        "gone.wav\ten\tx",
        "x",
    )
    (folder / "refs.tsv").write_text("".join(f"{row}\n" for row in rows))
    return folder


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Fake]]:
    """The arms of every model: name -> the process that runs it. All take 1 GB."""
    arms: dict[str, Callable[[], Fake]] = {"fp32": Fake, "int8": Fake}

    def arms_of(card: Any, task: Any, *_: object) -> list[EvaluationArm]:
        return [EvaluationArm(name, start, f"{card.id}-{name}", weights="w") for name, start in arms.items()]

    def measure(tasks: dict[str, Any], requests: Sequence[Clip], *_: object, **__: object) -> dict[str, Any]:
        assert not any(clip.reference for clip in requests)
        return {name: measured(0.2, len(requests)) for name in tasks}

    monkeypatch.setattr(bench, "arms_of", arms_of)
    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "needs", lambda *_: Needs(10**9, 10**9))
    monkeypatch.setattr(bench, "free_bytes", lambda *_: 10**10)
    return arms


def run(tmp_path: Path, data: Path, *models: str, steps: list[Step] | None = None, **fields: Any) -> dict[str, Any]:
    request = BenchRequest(models or ("demo-paraformer",), data, 1, **fields)
    on_step = (lambda _: None) if steps is None else steps.append
    *_, results = bench.run(request, tmp_path / "cache", tmp_path / "home", on_step)
    loaded: dict[str, Any] = json.loads(json.dumps(results))
    return loaded


def texts(results: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [
        (model["model"], arm["arm"], [text["text"] for text in arm["texts"]])
        for model in results["models"]
        for arm in model["arms"]
    ]


def test_what_cannot_be_used_is_left_out_and_the_rest_goes_on(tmp_path: Path, data: Path, fakes: dict) -> None:
    steps: list[Step] = []
    results = run(tmp_path, data, steps=steps)
    left = {reason: [e["name"] for e in entry["entries"]] for reason, entry in results["data"]["left_out"].items()}
    assert left == {
        "no_audio": ["gone.wav"], "broken": ["x"], "no_reference": ["alone.wav"], "unreadable": ["cover.jpg"],
    }  # fmt: skip
    assert [clip["file"] for clip in results["data"]["clips"]] == ["a.wav", "b.wav", "c.wav"]
    assert texts(results) == [("demo-paraformer", name, ["text a", "text b", "text c"]) for name in ("fp32", "int8")]
    assert results["models"][0]["arms"][0]["languages"]["de"]["errors"] == 1
    assert not has_failed(results)
    assert list(dict.fromkeys(step.phase for step in steps)) == ["decoding", "texts", "speed"]
    assert [step.done for step in steps if step.phase == "texts"][-1] == 6
    assert results["models"][0]["arms"][0]["speed"]["by_clip"][0]["clip"] == 0


def test_an_arm_and_a_model_that_fail_are_named(tmp_path: Path, data: Path, fakes: dict, monkeypatch: Any) -> None:
    def locate(card: Any, *_: object) -> dict[str, Path]:
        if card.id == "demo-sensevoice":
            raise UserError("its files are not here", "缺少文件")
        return {"model": tmp_path}

    monkeypatch.setattr(bench, "locate", locate)
    fakes["int8"] = lambda: Fake("c")
    results = run(tmp_path, data, "demo-sensevoice", "demo-paraformer")
    assert results["models"][0]["problem"] == "its files are not here"
    arms = results["models"][1]["arms"]
    assert (arms[1]["problem"], len(arms[1]["texts"]), arms[1]["speed"]) == ("Killed", 2, None)
    assert has_failed(results)


def test_the_report_is_written_with_what_is_done(
    tmp_path: Path, data: Path, fakes: dict, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    fakes["int8"] = lambda: Fake("c")
    out = tmp_path / "report"
    arguments = ("bench", "demo-paraformer", "--data", str(data), "--output", str(out), "--device", "cpu")
    assert cli.main((*arguments, "--threads", "1")) == 1
    text = (out / "report.md").read_text()
    assert "| INT8 | 2 | Killed |" in text
    assert "x (line 6 of refs.tsv)" in text
    assert "line 6 of refs.tsv" in (out / "report.html").read_text()
    model = json.loads((out / "results.json").read_text())["models"][0]
    assert (model["family"], [len(arm["texts"]) for arm in model["arms"]]) == ("paraformer", [3, 2])
    assert capsys.readouterr().out.endswith(f"{out / 'report.html'}\n")


def test_an_empty_folder_is_refused_with_the_layouts(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert cli.main(("bench", "demo-paraformer", "--data", "empty", "--device", "cpu")) == 2
    assert "NAME.txt beside each NAME.wav" in capsys.readouterr().err


def test_an_arm_that_does_not_fit_into_memory_says_so(
    tmp_path: Path, data: Path, fakes: dict, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        bench, "needs", lambda _, __, precision, *___: Needs(*[10**9 if precision.value == "int8" else 10**11] * 2)
    )
    full, low = run(tmp_path, data)["models"][0]["arms"]
    assert full["problem"] == "It needs 100.0 GB of memory, 10.0 GB are free."
    assert len(low["texts"]) == 3


@pytest.mark.parametrize(("free", "alternated"), [(2 * 10**9, True), (2 * 10**9 - 1, False)])
def test_arms_that_do_not_fit_together_run_one_after_the_other(
    tmp_path: Path, data: Path, fakes: dict, monkeypatch: Any, free: int, alternated: bool
) -> None:
    monkeypatch.setattr(bench, "free_bytes", lambda *_: free)
    model = run(tmp_path, data)["models"][0]
    assert model["alternated"] is alternated
    assert all(arm["speed"]["rtf"] for arm in model["arms"])


def test_interrupted_and_started_again_it_ends_with_the_same_results(tmp_path: Path, data: Path, fakes: dict) -> None:
    whole = run(tmp_path / "whole", data)
    fakes["int8"] = lambda: Fake("c")
    assert run(tmp_path, data)["models"][0]["arms"][1]["problem"]
    fakes["int8"] = Fake
    again = run(tmp_path, data)
    assert again | {"made": ""} == whole | {"made": ""}


@pytest.mark.parametrize(("numbers", "errors"), [("as-written", 3), ("by-value", 0)])
def test_numbers_of_chinese_are_compared_as_asked_and_the_recipe_says_how(
    tmp_path: Path, data: Path, fakes: dict, numbers: str, errors: int
) -> None:
    (data / "refs.tsv").write_text("a.wav\tzh\ttext a\nb.wav\tzh\ttext b 25\n", encoding="utf-8")
    fakes["fp32"] = Numbers
    results = run(tmp_path, data, numbers=numbers)
    full = results["models"][0]["arms"][0]
    assert full["languages"]["zh"]["errors"] == errors
    assert ("by their value" in results["recipe"]["normaliser"]) is (numbers == "by-value")
    shown = jiwer.process_words(*[[text[key] for text in full["texts"]] for key in ("reference_units", "units")])
    assert shown.substitutions + shown.deletions + shown.insertions == errors


def test_a_model_that_was_finished_is_taken_over_and_an_unfinished_one_is_not(
    tmp_path: Path, data: Path, fakes: dict, monkeypatch: Any
) -> None:
    timed: list[str] = []

    def measure(tasks: dict[str, Any], requests: Sequence[Clip], *_: object, **__: object) -> dict[str, Any]:
        timed.extend(task.model for task in tasks.values())
        return {name: measured(0.1 * len(timed), len(requests)) for name in tasks}

    monkeypatch.setattr(bench, "measure", measure)
    request = BenchRequest(("demo-paraformer", "demo-whisper"), data, 1)

    def go_on(earlier: dict[str, Any] | None) -> list[dict[str, Any]]:
        timed.clear()
        steps = bench.run(request, tmp_path / "cache", tmp_path / "home", lambda _: None, earlier=earlier)
        return [json.loads(json.dumps(results)) for results in steps]

    every = go_on(None)
    assert timed == ["demo-paraformer"] * 2 + ["demo-whisper"] * 2
    for so_far in every[:2]:  # the first model has texts, and no speed yet
        again = go_on(so_far)
        assert timed == ["demo-paraformer"] * 2 + ["demo-whisper"] * 2
    broken_off = every[3]  # the second model has the texts of its first arm
    assert [model.get("finished", False) for model in broken_off["models"]] == [True, False]
    again = go_on(broken_off)
    assert timed == ["demo-whisper"] * 2
    assert again[-1]["models"][0] == every[-1]["models"][0]
    for other in (
        broken_off | {"recipe": broken_off["recipe"] | {"audio": "x"}},
        broken_off | {"models": [broken_off["models"][0] | {"weights": "x"}]},
    ):
        go_on(other)
        assert timed[0] == "demo-paraformer"


def test_languages_are_chosen_before_the_limit(tmp_path: Path, data: Path, fakes: dict) -> None:
    results = run(tmp_path, data, languages=("en",), limit=1)
    assert [clip["file"] for clip in results["data"]["clips"]] == ["a.wav"]
    request = BenchRequest.from_dict(results["request"])
    assert request.languages == ("en",)
    del results["request"]["languages"]  # as an earlier version wrote it
    assert BenchRequest.from_dict(results["request"]).languages == ()


def test_a_run_again_takes_the_recordings_by_name(tmp_path: Path, data: Path, fakes: dict) -> None:
    results = run(tmp_path, data, only=("c.wav", "gone.wav"))
    assert [clip["file"] for clip in results["data"]["clips"]] == ["c.wav"]
    with pytest.raises(UserError, match="none of the 0 recordings"):
        run(tmp_path, data, only=("gone.wav",))


@pytest.mark.parametrize(
    "arguments",
    [("bench", "demo-paraformer"), ("bench", "demo-paraformer", "--data", "gone"), ("bench", "x", "--data", "."),
     ("bench", "--data", ".", "--users", "0"), ("bench", "--data", ".", "--precision", "int3"), ("report",),
     ("report", "--verify", "gone.json")],
)  # fmt: skip
def test_wrong_arguments_are_refused(
    tmp_path: Path, monkeypatch: Any, capsys: Any, arguments: tuple[str, ...]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(arguments)
    except SystemExit as ended:  # by argparse
        code = int(str(ended.code))
    assert code == 2
    assert "error:" in capsys.readouterr().err


def test_the_texts_are_there_before_the_speed_and_nothing_is_recommended(
    tmp_path: Path, data: Path, fakes: dict
) -> None:
    request = BenchRequest(("demo-paraformer",), data, 1)
    steps = bench.run(request, tmp_path / "cache", tmp_path / "home", lambda _: None)
    every = [json.loads(json.dumps(results)) for results in steps]
    arms = [
        [(arm["arm"], len(arm["texts"]), bool(arm["speed"])) for arm in results["models"][0]["arms"]]
        for results in every
    ]
    assert arms == [
        [("fp32", 3, False)], [("fp32", 3, False), ("int8", 3, False)], [("fp32", 3, True), ("int8", 3, True)],
    ]  # fmt: skip
    # Of FP32 alone it would say that no other precision is faster.
    assert ["On this machine" in markdown(results, "en") for results in every] == [False, False, True]
    assert ["On this machine" in page(results, "en") for results in every] == [False, False, True]
    assert ["research" in page(results, "en") for results in every] == [False, False, True]


def test_a_results_json_that_lacks_parts_is_refused(tmp_path: Path, capsys: Any) -> None:
    for text in ('{"format": 1}', '{"format": 1, "request": {"models": ["x"]}}', '{"format": 1, "request": []}'):
        (tmp_path / "results.json").write_text(text)
        assert cli.main(("report", "--verify", str(tmp_path / "results.json"))) == 2
        assert "Run `bench` again" in capsys.readouterr().err


@pytest.mark.models
def test_the_commands_write_the_report_and_verify_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    soundfile.write(tmp_path / "a.wav", soundfile.read(EXAMPLE / "english-home.flac")[0], 16000)
    (tmp_path / "a.txt").write_text("What is the weather like today? Turn on the light. What time is it?")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        full = [sys.executable, "-m", "asr_app", *arguments]
        return subprocess.run(full, cwd=ROOT, capture_output=True, text=True, check=False)

    out = tmp_path / "report"
    done = command(
        "bench", "demo-paraformer", "--data", str(tmp_path), "--precision", "fp32", "--rounds", "1", "--users", "1",
        "--output", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out / "report.html")
    results = json.loads((out / "results.json").read_text())
    (arm,) = results["models"][0]["arms"]
    assert arm["languages"]["all"]["error"] == 0
    assert arm["speed"]["cold_start_s"] > arm["speed"]["load_s"] > 0
    assert arm["speed"]["peak_mb"] > 0
    assert arm["disk_mb"] > 10
    assert "100%" in done.stderr or "texts" in done.stderr
    verified = command("report", "--verify", str(out / "results.json"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for line in ("audio: the same", "weights: the same", "machine and versions: the same", "texts: the same"):
        assert line in verified.stdout
    same = json.loads((out / "results.json").read_text())
    monkeypatch.setattr(report_command, "run", lambda *_, **__: iter([same]))
    arm["texts"][0]["text"] = "another"
    (out / "results.json").write_text(json.dumps(results))
    assert cli.main(("report", "--verify", str(out / "results.json"))) == 1
    assert "texts: 1 differ" in capsys.readouterr().out

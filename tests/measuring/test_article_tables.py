"""The articles' tables: our figures beside theirs, ratios for both, and which weights and machine ours are."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from reports import results

from asr_app import cli
from asr_app.precision import Precision
from asr_app.report import article_tables as module
from asr_app.report.article_tables import article_tables
from asr_app.report.articles import ARTICLES, Figure
from asr_app.report.bench import speed_clips


def of(tmp_path: Path, asked: str, **fields: Any) -> dict[str, Any]:
    """A results.json whose model was asked for as `asked`; its second model could not be run."""
    made = results(tmp_path)
    made["request"]["models"] = [asked, "gone"]
    made["models"][0] |= {"model": Path(asked).name, **fields}
    return made


def tables(text: str) -> dict[str, list[list[str]]]:
    """The rows of each table of a Markdown text, by its title."""
    found: dict[str, list[list[str]]] = {}
    for block in text.split("\n### ")[1:]:
        lines = [line for line in block.splitlines() if line.startswith("|")][2:]
        rows = [re.sub(r"\\(.)", r"\1", line.strip("|")).split(" | ") for line in lines]
        found[block.splitlines()[0]] = [[cell.strip() for cell in row] for row in rows]
    return found


def test_our_figures_and_ratios_stand_beside_those_of_the_article(tmp_path: Path) -> None:
    text = article_tables([of(tmp_path, "whisper-base")], "en")
    assert tables(text)["whisper-base"] == [
        ["memory, peak", "FP32", "not given", "", "300 MB (resident, without the libraries)", ""],
        ["memory, peak", "INT8", "not given", "", "300 MB (resident, without the libraries)", "1.00"],
        ["requests a second", "FP32", "not given", "", "2.50 (2 users)", ""],
        ["requests a second", "INT8", "not given", "", "5.00 (2 users)", "2.00"],
    ]
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert [heading.split(" (")[0] for heading in headings] == [
        "Paraformer-large", "SenseVoice Small", "Whisper large-v3", "Fun-ASR-MLT-Nano-2512",
    ]  # fmt: skip


def test_the_tables_of_latency_size_and_cold_start(tmp_path: Path) -> None:
    made = [of(tmp_path, "paraformer-large"), of(tmp_path, "demo-sensevoice")]
    found = tables(article_tables(made, "en"))
    rows = {(row[0], row[1]): row[4:] for row in found["paraformer-large"]}
    assert rows["latency, mean of a clip", "FP32"] == ["1.40 s", ""]
    assert rows["latency, mean of a clip", "INT8"] == ["0.70 s", "2.00"]
    assert rows["size on disk", "INT8"] == ["100 MB", "1.44"]
    full, low = (arm["languages"]["all"] for arm in made[0]["models"][0]["arms"][:2])
    shown, gain = rows["error", "INT8"]
    assert shown.startswith(f"{low['error']:.2%} (+{100 * (low['error'] - full['error']):.2f} ")
    assert float(gain) == pytest.approx(full["error"] / low["error"], abs=0.01)
    assert float(gain) < 1
    rows = {(row[0], row[1]): row[4:] for row in found["demo-sensevoice"]}
    assert rows["cold start", "FP32"] == ["3.70 s", ""]
    assert rows["latency of 10 s", "INT8"] == ["0.50 s (clip of 2.0 s)", "2.00"]  # of 2, 22 and 41 s, the nearest


def test_the_table_by_language_has_the_half_precision_that_the_model_has(tmp_path: Path) -> None:
    made = of(tmp_path, "fun-asr-mlt-nano")
    rows = {(row[0], row[1]): row[4] for row in tables(article_tables([made], "en"))["fun-asr-mlt-nano"]}
    assert list(dict.fromkeys(language for language, _ in rows)) == ["en", "zh-TW (CER)", "all"]
    assert rows["en", "FP32"] == f"{made['models'][0]['arms'][0]['languages']['en']['error']:.2%}"
    assert rows["en", "FP16"] == "failed"
    half = made["models"][0]["arms"][1]
    made["models"][0]["arms"][2] = half | {"arm": "bf16"}
    rows = {(row[0], row[1]): row[4] for row in tables(article_tables([made], "en"))["fun-asr-mlt-nano"]}
    assert rows["en", "FP16"] == f"{half['languages']['en']['error']:.2%} (BF16; +0.00 [+0.00, +0.00] points)"


def test_a_figure_of_an_article_gets_its_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {Figure.MEMORY: {Precision.FP32: 1000.0, Precision.INT8: 400.0}, Figure.REQUESTS: {Precision.INT8: 9.0}}
    known = [
        dataclasses.replace(one, given=given, machine="a card") if one.family == "whisper" else one for one in ARTICLES
    ]
    monkeypatch.setattr(module, "ARTICLES", known)
    text = article_tables([of(tmp_path, "whisper-base")], "en")
    assert [row[2:4] for row in tables(text)["whisper-base"]] == [
        ["1000 MB", ""], ["400 MB", "2.50"], ["not given", ""], ["9.00", ""],
    ]  # fmt: skip
    assert "Its machine: a card." in text


@pytest.mark.parametrize(
    ("asked", "fields", "words"),
    [
        ("whisper-large-v3", {}, "The article's model: the published weights"),
        ("whisper-base", {}, "A smaller model of the family: whisper-base, not whisper-large-v3"),
        ("demo-whisper", {}, "A demo: demo-whisper"),
        ("fun-asr-nano", {}, "Another model of the family"),
        ("models/whisper-large-v3", {"family": "whisper"}, "A local folder or file"),  # its name proves nothing
    ],
)
def test_a_table_says_which_weights_and_machine_were_measured(
    tmp_path: Path, asked: str, fields: dict[str, str], words: str
) -> None:
    made = of(tmp_path, asked, **fields)
    text = article_tables([made], "en")
    assert words in text
    note = next(line for line in text.splitlines() if words in line)
    assert "w" * 8 in note
    assert made["recipe"]["processor"] in note
    assert "threads: 2, cpu; 40 clips" in note
    assert "FP16: Killed." in note


def test_a_family_without_results_is_shown_and_a_model_that_failed_says_why(tmp_path: Path) -> None:
    text = article_tables([of(tmp_path, "x", family="unknown")], "en")
    rows = tables(text)["not measured"]
    assert all(row[4] == "not measured" for row in rows)
    assert text.count("    python -m asr_app bench") == 4
    assert "x: no table. Its family is none of the four" in text
    made = of(tmp_path, "whisper-base")
    made["models"][0] = {"model": "whisper-base", "family": "whisper", "problem": "no room", "arms": []}
    assert "could not be run: no room" in article_tables([made], "en")


def test_texts_without_speed_have_no_times(tmp_path: Path) -> None:
    made = of(tmp_path, "paraformer-large")
    made["models"][0]["arms"][0]["speed"] = None
    made["models"][0]["arms"][1]["speed"] = {"problem": "Killed"}
    rows = {(row[0], row[1]): row[4:] for row in tables(article_tables([made], "en"))["paraformer-large"]}
    assert rows["latency, mean of a clip", "FP32"] == rows["memory, peak", "INT8"] == ["not measured", ""]
    assert rows["error", "FP32"][0].endswith("%")


def test_the_command_prints_the_tables_of_several_files(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whisper-base", "demo-paraformer"):
        (tmp_path / f"{name}.json").write_text(json.dumps(of(tmp_path, name)))
    files = [str(tmp_path / f"{name}.json") for name in ("whisper-base", "demo-paraformer")]
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert cli.main(("report", "--tables", *files)) == 0
    text = capsys.readouterr().out
    assert {"whisper-base", "demo-paraformer"} < set(tables(text))
    assert "演示模型" in text
    assert "未提供" in text
    assert not re.search("not (given|measured)", text)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    assert cli.main(("report", "--tables", *files, "--data", "x")) == 2
    (tmp_path / "half.json").write_text('{"format": 1, "request": {"models": ["whisper-base"]}, "models": [{}]}')
    assert cli.main(("report", "--tables", files[0], str(tmp_path / "half.json"))) == 2
    assert "half.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "picked"),
    [
        ([3.0, 1.0, 2.0], [1, 2, 0]),
        ([float(i) for i in range(41)], [0, 10, 20, 30, 40]),
        ([float(i) for i in range(1, 42)], [0, 9, 20, 30, 40]),
        ([float(i) for i in range(30, 50)], [0, 5, 10, 14, 19]),  # the shortest is the nearest
    ],
)
def test_the_clip_nearest_to_ten_seconds_is_timed(seconds: list[float], picked: list[int]) -> None:
    assert speed_clips(seconds) == picked

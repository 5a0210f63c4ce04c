"""results.json, report.md and report.html: complete, self-contained, the same numbers everywhere."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import jiwer
import pytest
from reports import results

from asr_app.errors import UserError
from asr_app.report.bench import BenchRequest
from asr_app.report.compare import compare
from asr_app.report.files import read_results, write_report
from asr_app.report.labels import LABELS
from asr_app.report.markdown import markdown
from asr_app.report.page import page
from asr_app.report.plots import plots
from asr_app.report.sections import model_tables
from asr_app.report.svg import Bar, Mark, Point, Series, bars, scatter, ticks


def test_jiwer_alone_gives_the_same_error(tmp_path: Path) -> None:
    made = results(tmp_path)
    clips = made["data"]["clips"]
    for arm in made["models"][0]["arms"]:
        for language, group in arm["languages"].items():
            texts = [t for t in arm["texts"] if language in ("all", clips[t["clip"]]["language"])]
            out = jiwer.process_words([t["reference_units"] for t in texts], [t["units"] for t in texts])
            assert group["error"] == pytest.approx(out.wer, abs=1e-5)
            assert (group["substitutions"], group["deletions"], group["insertions"]) == (
                out.substitutions, out.deletions, out.insertions,
            )  # fmt: skip
    full = made["models"][0]["arms"][0]["languages"]
    assert full["en"]["errors"] == 20  # down, town
    assert (full["zh-TW"]["errors"], full["zh-TW"]["deletions"]) == (20, 20)  # 很; 氣 is 气


def test_the_figures_of_speed(tmp_path: Path) -> None:
    full, low, half = results(tmp_path)["models"][0]["arms"]
    audio_s = 2 * (2 + 22 + 41)
    assert full["speed"]["rtf"] == pytest.approx(0.4 * 21 / audio_s, abs=1e-5)
    assert full["speed"]["rtfx"] == pytest.approx(audio_s / (0.4 * 21), abs=0.01)
    assert (low["speedup"], full["speedup"]) == (2.0, None)
    assert low["no_worse"] == 35 / 40
    assert full["speed"]["cold_start_s"] == 3.7
    assert [c["seconds"] for c in full["speed"]["by_clip"]] == [[0.4, 1.6], [0.8, 2.0], [1.2, 2.4]]
    assert full["speed"]["users"][1] == {"users": 2, "clips_per_s": 2.5, "wait_p50_s": 0.6, "wait_p95_s": 0.78}
    assert (half["speed"], half["problem"], len(half["texts"])) == (None, "Killed", 7)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_needs_no_network_and_shows_names_as_text(tmp_path: Path, language: str) -> None:
    text = page(results(tmp_path), language)
    for address in re.findall(r"""(?:src|href|action|data|url)\s*[=(]\s*["']?([^"'\s>)]+)""", text):
        assert address.startswith("data:text/csv") or address == "data:"
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "2026-01-02 03:04 UTC" in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        ElementTree.fromstring(svg)  # noqa: S314  # our own


def test_the_numbers_of_each_plot_are_in_a_table_and_in_its_csv(tmp_path: Path) -> None:
    made = results(tmp_path)
    text = page(made, "en")
    links = dict(re.findall(r'download="([^"]+)" href="data:text/csv;charset=utf-8,([^"]+)"', text))
    drawn = list(plots(made["models"][0], "en"))
    assert [f"{plot.key}-1.csv" for plot in drawn] == list(links)
    for plot, link in zip(drawn, links.values(), strict=True):
        rows = list(csv.reader(io.StringIO(unquote(link))))
        assert rows == [list(plot.table.columns), *map(list, plot.table.rows)]
    error = {row[0]: row[2] for row in drawn[0].table.rows}
    assert float(error["the product's bar, +0.02 points"]) == pytest.approx(float(error["FP32"]) + 0.02)
    assert float(error["MLPerf, 99 % of FP32: +0.86"]) == pytest.approx(float(error["FP32"]) + 0.857, abs=1e-3)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_markdown_has_every_section_and_hostile_names_do_not_break_its_tables(
    tmp_path: Path, language: str
) -> None:
    made = results(tmp_path)
    text = markdown(made, language)
    for table in model_tables(made["models"][0], language):
        assert f"### {table.title}" in text
    assert "<script>" not in text.replace("\\<script\\>", "")
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "Killed" in text
    assert "its files are not here" in text


def test_all_languages_together_stand_last(tmp_path: Path) -> None:
    model = results(tmp_path)["models"][0]
    model["arms"].insert(0, model["arms"].pop(2))  # the arm that died among the English clips
    by_language = [table.rows for table in model_tables(model, "en") if table.columns[0] == "language"]
    assert [[row[0] for row in rows] for rows in by_language] == [["en", "zh-TW (CER)", "all"]] * 3


def test_every_label_has_both_languages_and_the_same_fields() -> None:
    for key, (english, chinese) in LABELS.items():
        fields = [sorted(re.findall(r"\{(\w+)", text)) for text in (english, chinese)]
        assert fields[0] == fields[1], key
        assert english
        assert chinese


def test_the_files_are_written_and_read_back(tmp_path: Path) -> None:
    made, folder = results(tmp_path), tmp_path / "a" / "report"
    write_report(made, folder, "en")
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "results.json"]
    assert read_results(folder / "results.json") == made
    request = BenchRequest.from_dict(made["request"])
    assert json.loads(json.dumps(request.as_dict())) == made["request"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--output"):
        write_report(made, tmp_path / "file" / "x", "en")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', "{}"])
def test_a_file_that_is_no_results_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"results\.json"):
        read_results(tmp_path / "results.json")


def test_two_runs_are_compared_sounds_first(tmp_path: Path) -> None:
    before = results(tmp_path)
    same = compare(before, copy.deepcopy(before))
    assert (same.audio, same.weights, same.recipe, same.texts) == ([], [], [], [])
    assert next(iter(same.lines)) == "audio: the same"
    now = copy.deepcopy(before)
    del now["data"]["clips"][39]
    now["data"]["clips"][0]["sha256"] = "other"
    for arm in now["models"][0]["arms"]:
        arm["texts"] = [text for text in arm["texts"] if text["clip"] != 39]
    now["models"][0]["arms"][1]["texts"][3]["text"] = "other words"
    now["models"][0]["weights"] = "v"
    now["recipe"]["versions"]["torch"] = "1.0"
    found = compare(before, now)
    assert found.audio == ["e0.wav: another sound", "z19.wav: not there"]
    assert found.weights[0] == "base: wwwwwwww -> v"
    assert found.recipe[0].startswith("torch: ")
    assert found.texts == [
        "base fp32, z19.wav: no text",
        "base int8, e3.wav: \"the cat's color sat town mister smith\" -> 'other words'",
        "base int8, z19.wav: no text",
    ]
    assert found.figures[0].startswith("base fp32: error ")


def test_an_arm_that_did_not_run_again_has_no_texts(tmp_path: Path) -> None:
    before = results(tmp_path)
    now = copy.deepcopy(before)
    now["models"][0] |= {"problem": "gone", "arms": []}
    found = compare(before, now)
    assert "base: gone" in found.weights
    assert len(found.texts) == 40 + 40 + 7


@pytest.mark.parametrize(
    ("low", "high", "made"),
    [(0, 1, [0, 0.25, 0.5, 0.75, 1.0]), (38.7, 39.4, [38.6, 38.8, 39.0, 39.2, 39.4]), (3, 3, None), (0, 0, None)],
)
def test_ticks_are_round_and_enclose(low: float, high: float, made: list[float] | None) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert found[0] < found[-1]
    if made:
        assert found == pytest.approx(made)


def test_plots_of_one_point_and_of_zeros_are_drawn() -> None:
    ElementTree.fromstring(  # noqa: S314  # our own
        scatter("a < b", [Series("x", [Point(0.0, 0.0)])], "x", "y", [Mark(0.0, "<m>")])
    )
    ElementTree.fromstring(bars("t", [Bar("<b>", [(0, 0.0)], "0 MB")], "MB"))  # noqa: S314


def test_points_lie_where_their_numbers_say() -> None:
    svg = scatter("t", [Series("x", [Point(0.5, 10.0), Point(1.0, 20.0)])], "x", "y")
    places = [(float(x), float(y)) for x, y in re.findall(r'<circle class="s0" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    (x1, y1), (x2, y2) = places
    assert x1 < x2
    assert y1 > y2

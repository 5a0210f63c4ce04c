"""Folders into texts: names, done-marks, kills at every write, failures, the forecast. A fake stands for the model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import soundfile
from conftest import EXAMPLE

from asr_app.audio import stated_seconds
from asr_app.batch import run as run_module
from asr_app.batch.forecast import Forecast
from asr_app.batch.run import Run
from asr_app.batch.sources import Roots, Source, find
from asr_app.batch.store import HOME, RESERVED, DiskFull, Store, opened
from asr_app.datatypes import Segment, StageTimes, Transcript
from asr_app.errors import UserError
from asr_app.precision import Precision, PrecisionReport

ABOUT = {"model": "fake", "options": {"hotwords": ()}}


def said(source: Source) -> str:
    """The fake's text: the file's content, and a line that makes it long."""
    return source.path.read_text(errors="replace") + " " + "x" * 4000


class Fake:
    """Recognises by reading the file. Remembers what it was given; `fails` by name."""

    def __init__(self, fails: Iterable[str] = ()) -> None:
        self.given: list[str] = []
        self.fails = set(fails)

    def prepare(self) -> None:
        pass

    def outcomes(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Transcript | UserError]]:
        for source in sources:
            self.given.append(source.name)
            if source.name in self.fails:
                yield source, UserError("It is damaged.", "已损坏。")
                continue
            segments = (Segment(0.0, 1.0, said(source)),)
            report = PrecisionReport(Precision.FP32, ())
            yield source, Transcript(segments, "fake", report, "cpu", 1.0, StageTimes(asr_s=0.1))


@pytest.fixture(autouse=True)
def _no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes' files are no audio."""
    monkeypatch.setattr(run_module, "stated_seconds", lambda path: 1.0)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Seven recordings, some of one name."""
    folder = tmp_path / "calls"
    for name in ("a/talk.wav", "a/talk.mp3", "b/talk.wav", "b/c/talk.wav", "x.ogg", "y.opus", "z.m4a"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"words of {name}")
    (folder / "notes.txt").write_text("no recording")
    (folder / "._x.ogg").write_text("left by a Mac")
    return folder


NAMES = ["calls/x.ogg", "calls/y.opus", "calls/z.m4a", "calls/a/talk.mp3", "calls/a/talk.wav", "calls/b/talk.wav", "calls/b/c/talk.wav"]  # fmt: skip


def carry_out(inputs: list[Path], output: Path, fake: Fake, *, about=ABOUT, formats=("txt",), overwrite=False, manifests=()):  # fmt: skip
    """One run as the command does it."""
    with opened(output) as folder:
        store = Store(folder, about, formats, overwrite)
        roots = Roots(folder / HOME / "roots.json", RESERVED)
        run = Run(lambda: find(inputs, manifests, roots, folder), fake, store, lambda line: None, "en")
        run.once()
        return run.totals, store


def results(output: Path) -> dict[str, str]:
    return {p.relative_to(output).as_posix(): p.read_text() for p in output.rglob("*.txt")}


def whole(inputs: Path) -> dict[str, str]:
    """The results that the fake gives of `tree`."""
    return {f"{n}.txt": said(Source(inputs.parent / n, n)) + "\n" for n in NAMES}


# -- names -------------------------------------------------------------------------------------------------------------


def test_the_output_mirrors_the_input_and_files_of_one_name_stay_apart(tree, tmp_path):
    fake = Fake()
    totals, _ = carry_out([tree], tmp_path / "out", fake)
    assert fake.given == NAMES
    assert results(tmp_path / "out") == whole(tree)
    assert totals.done == 7


def test_folders_of_one_name_get_numbers_that_stay(tmp_path):
    for parent in "pq":
        (tmp_path / parent / "calls").mkdir(parents=True)
        (tmp_path / parent / "calls" / "talk.wav").write_text(f"said in {parent}")
    out, p, q = tmp_path / "out", tmp_path / "p" / "calls", tmp_path / "q" / "calls"
    carry_out([p, q], out, Fake())
    found = results(out)
    assert [found[n].split()[2] for n in ("calls/talk.wav.txt", "calls-2/talk.wav.txt")] == ["p", "q"]
    fake = Fake()
    carry_out([q], out, fake)  # alone, and still by its number
    assert fake.given == []
    carry_out([q / "talk.wav"], out, fake)  # the file alone lies in the same folder
    assert fake.given == []


def test_a_file_is_taken_once_and_the_output_folder_is_no_input(tree):
    out, fake = tree / "out", Fake()
    carry_out([tree, tree / "a", tree / "x.ogg"], out, fake)
    assert fake.given == NAMES
    (out / "calls" / "sound.wav").write_text("not an input")
    fake = Fake()
    carry_out([tree, tree / "x.ogg"], out, fake)
    assert fake.given == []


def test_a_folder_may_not_take_the_place_of_our_own_files(tmp_path):
    roots = Roots(tmp_path / "roots.json", RESERVED)
    assert [roots.name_of(Path("/p") / name) for name in RESERVED] == [f"{name}-2" for name in RESERVED]


def test_long_names_and_names_that_are_no_utf8_have_results(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    long, odd = "长" * 83 + ".wav", os.fsdecode(b"b\xff.wav")
    for name in (long, odd):
        (folder / name).write_text("said")
    totals, store = carry_out([folder], tmp_path / "out", Fake())
    assert (totals.done, store.failed) == (2, 0)
    fake = Fake()
    carry_out([folder], tmp_path / "out", fake)
    assert fake.given == []


@pytest.mark.parametrize(
    ("name", "line"), [("list.txt", "{}"), ("list.jsonl", '{{"audio": "{}"}}'), ("list.jsonl", '{{"audio_filepath": "{}"}}')]
)  # fmt: skip
def test_a_manifest_lists_recordings_and_its_bad_lines_are_failures(tree, tmp_path, name, line):
    outside = tmp_path / "elsewhere" / "talk.wav"
    outside.parent.mkdir()
    outside.write_text("said outside")
    manifest = tree / name
    lines = [line.format(p) for p in ("a/talk.wav", outside, "gone.wav")]
    manifest.write_text("\n".join([*lines, "", "[1]" if name.endswith("jsonl") else "also-gone.wav"]))
    fake = Fake()
    _, store = carry_out([], tmp_path / "out", fake, manifests=[manifest])
    assert fake.given == ["calls/a/talk.wav", "elsewhere/talk.wav"]
    assert store.failed == 2


# -- done-marks --------------------------------------------------------------------------------------------------------


def test_a_second_run_does_only_what_is_new_or_changed(tree, tmp_path):
    out = tmp_path / "out"
    carry_out([tree], out, Fake())
    (tree / "x.ogg").write_text("other words")
    os.utime(tree / "y.opus", ns=(0, 1))
    (tree / "new.wav").write_text("new words")
    fake = Fake()
    totals, _ = carry_out([tree], out, fake)
    assert fake.given == ["calls/new.wav", "calls/x.ogg", "calls/y.opus"]
    assert totals.skipped == 5
    assert results(out)["calls/x.ogg.txt"].startswith("other words")


@pytest.mark.parametrize("about", [{**ABOUT, "model": "other"}, {**ABOUT, "options": {"hotwords": ("Tom",)}}])
def test_another_model_or_option_does_all_again(tree, tmp_path, about):
    carry_out([tree], tmp_path / "out", Fake())
    fake = Fake()
    carry_out([tree], tmp_path / "out", fake, about=about)
    assert fake.given == NAMES
    fake = Fake()
    carry_out([tree], tmp_path / "out", fake, about=about)
    assert fake.given == []


@pytest.mark.models
def test_a_result_that_is_deleted_or_of_another_format_is_made_again(tree, tmp_path):
    out = tmp_path / "out"
    carry_out([tree], out, Fake(), formats=("txt", "srt"))
    (out / "calls/x.ogg.srt").unlink()
    fake = Fake()
    carry_out([tree], out, fake, formats=("txt", "srt"))
    assert fake.given == ["calls/x.ogg"]
    fake = Fake()
    carry_out([tree], out, fake, formats=("srt",))
    assert fake.given == []
    carry_out([tree], out, fake, formats=("txt", "vtt"))
    assert fake.given == NAMES


def test_a_result_that_somebody_corrected_is_not_overwritten(tree, tmp_path):
    out = tmp_path / "out"
    carry_out([tree], out, Fake())
    corrected = out / "calls/x.ogg.txt"
    corrected.write_text("corrected by hand")
    fake = Fake()
    carry_out([tree], out, fake)  # it is done
    assert fake.given == []
    (tree / "x.ogg").write_text("other words")
    _, store = carry_out([tree], out, fake)
    assert (fake.given, store.failed) == ([], 1)
    assert corrected.read_text() == "corrected by hand"
    assert "--overwrite" in (out / "failures.jsonl").read_text()
    _, store = carry_out([tree], out, fake, overwrite=True)
    assert store.failed == 0
    assert corrected.read_text().startswith("other words")


class Killed(BaseException):
    """Stands for kill -9: no code of the app catches it."""


@pytest.mark.parametrize("after", [False, True], ids=["before the rename", "after it"])
@pytest.mark.parametrize("write", range(1, 29))
def test_a_kill_at_any_write_loses_nothing_and_leaves_no_half(tree, tmp_path, monkeypatch, write, after):
    """Seven recordings in two formats: a mark, two results and a mark for each."""
    out, count, replace = tmp_path / "out", 0, Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal count
        count += self.name == "part"
        if count == write and not after:
            raise Killed
        done = replace(self, target)
        if count == write:
            raise Killed
        return done

    monkeypatch.setattr(Path, "replace", dying)
    first = Fake()
    with pytest.raises(Killed):
        carry_out([tree], out, first, formats=("txt", "json"))
    monkeypatch.undo()
    monkeypatch.setattr(run_module, "stated_seconds", lambda path: 1.0)
    for name, text in results(out).items():
        assert text == whole(tree)[name]  # never a half
    done = write // 4 if after else (write - 1) // 4
    second = Fake()
    totals, store = carry_out([tree], out, second, formats=("txt", "json"))
    assert results(out) == whole(tree)
    assert len(list(out.rglob("calls/**/*.json"))) == 14  # results, and marks
    assert (totals.skipped, totals.done, store.failed) == (done, 7 - done, 0)
    assert sorted(second.given) == sorted(NAMES[done:])  # no other one is done twice
    assert not (out / HOME / "part").exists()


def test_what_killed_the_process_goes_last(tree, tmp_path):
    class Dying(Fake):
        def outcomes(self, sources):
            for source, outcome in super().outcomes(sources):
                if source.name == "calls/y.opus":
                    raise Killed
                yield source, outcome

    out = tmp_path / "out"
    with pytest.raises(Killed):
        carry_out([tree], out, Dying())
    fake = Dying()
    with pytest.raises(Killed):
        carry_out([tree], out, fake)
    assert fake.given[-1] == "calls/y.opus"
    assert len(results(out)) == 6


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    with opened(tmp_path / "out"), pytest.raises(UserError, match="Another batch"), opened(tmp_path / "out"):
        pass


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_failure_is_listed_with_its_reason_and_stops_nothing(tree, tmp_path):
    out = tmp_path / "out"
    totals, store = carry_out([tree, tmp_path / "gone.wav"], out, Fake(fails=["calls/y.opus"]))
    assert (totals.done, store.failed) == (6, 2)
    rows = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [(r["name"], r["reason"]) for r in rows][1] == ("calls/y.opus", "It is damaged.")
    assert rows[0]["reason"].endswith("gone.wav does not exist. Check the name.")
    totals, store = carry_out([tree], out, Fake())  # it is tried again, and the list is that of this run
    assert (totals.done, store.failed) == (1, 0)
    assert not (out / "failures.jsonl").exists()


def test_a_pipe_and_a_folder_that_cannot_be_read_are_failures(tree, tmp_path, monkeypatch):
    """Opening a pipe would wait for ever. Root may read any folder, so the refusal is made here."""
    scandir, pipe = os.scandir, tmp_path / "pipe.wav"

    def refuses(path):
        if Path(path) == tree / "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    os.mkfifo(pipe)
    os.mkfifo(tree / "a" / "pipe.wav")  # in a folder it is passed over
    manifest = tmp_path / "list.txt"
    manifest.write_text("pipe.wav")
    monkeypatch.setattr(os, "scandir", refuses)
    totals, _ = carry_out([tree, pipe], tmp_path / "out", Fake(), manifests=[manifest])
    assert totals.done == 5
    rows = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert {row["name"] for row in rows} == {str(tree / "b"), str(pipe), "pipe.wav"}
    assert "cannot be read (Permission denied)" in rows[0]["reason"]
    assert "is no file" in rows[1]["reason"]


def test_links_that_turn_in_a_circle_end_nothing(tree, tmp_path):
    (tree / "a" / "again").symlink_to(tree)
    (tree / "loop.wav").symlink_to(tree / "loop.wav")
    totals, store = carry_out([tree, tree / "loop.wav"], tmp_path / "out", Fake())
    assert (totals.done, store.failed) == (7, 1)


def test_a_full_disk_ends_the_run_instead_of_working_for_nothing(tree, tmp_path, monkeypatch):
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.suffix == ".txt":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    roots = Roots(tmp_path / "roots.json")
    with opened(tmp_path / "out") as folder:
        run = Run(lambda: find([tree], [], roots, folder), Fake(), Store(folder, ABOUT, ["txt"]), print, "en")
        with pytest.raises(DiskFull, match="not done again"):
            run.once()


# -- watch -------------------------------------------------------------------------------------------------------------


def test_a_watched_file_that_grows_waits_and_a_failed_one_is_not_tried_as_it_is(tree, tmp_path, monkeypatch):
    for path in tree.rglob("*.*"):
        os.utime(path, (1, 1))  # long whole
    growing, tick, passes = tree / "growing.wav", 0.0, 0
    monkeypatch.setattr(run_module.time, "monotonic", lambda: tick)
    fake = Fake(fails=["calls/y.opus"])

    def sleep(seconds: float) -> None:
        nonlocal tick, passes
        tick += seconds
        passes += 1
        if passes <= 5:
            growing.write_text("said " * passes)
        elif passes == 6:
            assert fake.given == NAMES
        if passes == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module.time, "sleep", sleep)
    with opened(tmp_path / "out") as folder:
        roots = Roots(folder / HOME / "roots.json")
        store = Store(folder, ABOUT, ["txt"])
        run = Run(lambda: find([tree], [], roots, folder), fake, store, lambda line: None, "en")
        with pytest.raises(KeyboardInterrupt):
            run.watch()
    assert fake.given == [*NAMES, "calls/growing.wav"]
    assert results(tmp_path / "out")["calls/growing.wav.txt"].startswith("said said said said said")
    assert (run.totals.done, store.failed) == (7, 1)


# -- forecast ----------------------------------------------------------------------------------------------------------


def test_time_left_comes_from_the_rate_and_is_scored_against_the_truth():
    now = 0.0
    forecast = Forecast([100.0, 400.0, None, 500.0, 0.0], clock=lambda: now)
    assert forecast.audio_s == 1250  # the unknown one counts as the mean
    assert forecast.left_s is None
    for spent, length in ((10, 100.0), (80, 400.0), (50, None), (100, 500.0), (0, 0.0)):
        now += spent
        forecast.add(length)
        if length == 400.0:
            assert forecast.left_s == pytest.approx(90 / 500 * 750)
    first, half = forecast.scored()
    assert (first.share, first.predicted_s, first.actual_s) == (0.4, pytest.approx(135), 150)
    assert first.error == pytest.approx(-0.1)
    assert (half.share, half.predicted_s) == (0.6, pytest.approx(140 / 750 * 500))


def test_recordings_of_unknown_length_still_have_a_forecast():
    now = 0.0
    forecast = Forecast([None, None], clock=lambda: now)
    now = 5.0
    forecast.add(None)
    assert forecast.left_s == pytest.approx(5.0)


def test_lengths_come_from_headers(tmp_path):
    for path in sorted(EXAMPLE.glob("*.*")):
        if path.suffix in (".wav", ".flac", ".ogg", ".mp3"):
            decoded = len(soundfile.read(path)[0]) / soundfile.info(path).samplerate
            assert stated_seconds(path) == pytest.approx(decoded, abs=0.15), path.name
    (tmp_path / "broken.m4a").write_bytes(b"no media at all")
    assert stated_seconds(tmp_path / "broken.m4a") is None
    assert stated_seconds(tmp_path / "gone.wav") is None

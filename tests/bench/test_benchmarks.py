"""A benchmark's data, states and files: what is left out is counted, nothing of a refused one stays, an id is no path."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLE

from asr_app.bench import benchmarks as module
from asr_app.bench.benchmarks import MOST_WAITING, Benchmarks
from asr_app.bench.records import Asked
from asr_app.errors import UserError
from asr_app.storage import Storage

ASKED = Asked(("demo-paraformer",), ("fp32", "int8"))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "home")


@pytest.fixture
def benchmarks(storage: Storage, tmp_path: Path) -> Benchmarks:
    return Benchmarks(storage, {"owners": dataset(tmp_path / "owners")})


def dataset(folder: Path, *rows: str) -> Path:
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        soundfile.write(folder / f"{name}.wav", np.zeros(1600), 16000)
    lines = rows or ("a.wav\ten\tone", "b.wav\tde\tzwei")
    (folder / "refs.tsv").write_text("".join(f"{row}\n" for row in lines), encoding="utf-8")
    return folder


def uploads(storage: Storage, folder: Path) -> list[Path]:
    """The files of a folder, each in the place that Gradio gives an upload."""
    made = []
    for path in sorted(folder.iterdir()):
        place = storage.uploads / path.name.replace(".", "-")
        place.mkdir()
        made.append(path.rename(place / path.name))
    return made


def folders(storage: Storage) -> list[str]:
    return sorted(folder.name for folder in storage.benchmarks.iterdir())


# --- the data


def test_files_become_a_draft_that_says_what_is_left_out(
    benchmarks: Benchmarks, storage: Storage, tmp_path: Path
) -> None:
    rows = ("a.wav\ten\tone", "gone.wav\ten\ttwo", "broken")
    files = uploads(storage, dataset(tmp_path / "given", *rows))
    (tmp_path / "notes.pdf").touch()
    draft = benchmarks.draft([*files, tmp_path / "notes.pdf"])
    assert (draft.state, draft.name, draft.found.languages, draft.found.unused) == ("draft", "a.wav + 3", {"en": 1}, 1)
    left = {reason: [(e["name"], e["line"]) for e in x["entries"]] for reason, x in draft.found.left_out.items()}
    assert left == {"no_audio": [("gone.wav", 2)], "broken": [("broken", 3)], "no_reference": [("b.wav", None)]}
    kept = storage.benchmarks / draft.id / "dataset" / "a.wav"
    assert kept.samefile(files[0])
    assert kept.parent.parent.stat().st_mode & 0o777 == 0o700


def test_a_zip_of_a_folder_and_a_lone_manifest_are_found(
    benchmarks: Benchmarks, storage: Storage, tmp_path: Path
) -> None:
    folder = dataset(tmp_path / "set")
    (folder / "refs.tsv").rename(folder / "mine.tsv")
    with zipfile.ZipFile(storage.uploads / "set.zip", "w") as made:
        for path in folder.iterdir():
            made.write(path, f"deep/set/{path.name}")
    draft = benchmarks.draft([storage.uploads / "set.zip"])
    assert (draft.name, draft.found.clips, draft.found.layout) == ("mine.tsv", 2, "mine.tsv")
    assert benchmarks.data(draft).name == "mine.tsv"


def test_what_is_no_dataset_leaves_nothing(benchmarks: Benchmarks, storage: Storage, tmp_path: Path) -> None:
    lone = storage.uploads / "lone.wav"
    soundfile.write(lone, np.zeros(160), 16000)
    zipped = storage.uploads / "x.zip"
    zipped.write_bytes(b"no zip")
    (storage.uploads / "two").mkdir()
    twin = lone.rename(storage.uploads / "two" / "lone.wav")
    soundfile.write(lone, np.zeros(160), 16000)
    first, second = (storage.uploads / f"{n}.tsv" for n in (1, 2))
    first.touch(), second.touch()
    for paths, why in (
        ([lone], "1 × a recording without a reference"), ([zipped], "no zip"), ([zipped, lone], "one zip alone"),
        ([lone, twin], "Two files are called"), ([first, second, lone], "2 manifests"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=why):
            benchmarks.draft(paths)
    assert not folders(storage)
    full = Benchmarks(Storage(tmp_path / "home", 1), {})
    with pytest.raises(UserError, match="no room"):
        full.draft([lone])
    assert not folders(storage)


def test_only_what_the_owner_offers_is_read(benchmarks: Benchmarks, storage: Storage, tmp_path: Path) -> None:
    draft = benchmarks.draft_offered("owners")
    assert draft.found.clips == 2
    assert benchmarks.data(draft) == tmp_path / "owners"
    for name in ("", "/etc", "../owners", str(tmp_path / "owners")):
        with pytest.raises(UserError, match="is not offered"):
            benchmarks.draft_offered(name)
    job = benchmarks.begin(draft.id, ASKED)
    later = Benchmarks(storage, {})
    with pytest.raises(UserError, match="any more"):
        later.data(later.find(job))


def test_examples_are_those_that_all_models_understand(
    benchmarks: Benchmarks, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    draft = benchmarks.draft_examples()
    assert draft.found.clips == len(json.loads((EXAMPLE / "expected.json").read_text(encoding="utf-8")))
    real = benchmarks.find(benchmarks.begin(draft.id, Asked(("whisper-base",), ("fp32",))))
    assert "english-home.flac" in real.only
    assert "mandarin-home.wav" not in real.only
    demo = benchmarks.find(benchmarks.begin(draft.id, ASKED))
    assert "mandarin-home.wav" in demo.only
    assert "mandarin-park.flac" not in demo.only
    monkeypatch.setattr(module, "understood_by", lambda card: {f"{card.id}.wav": {}})
    with pytest.raises(UserError, match="No example"):
        benchmarks.begin(draft.id, Asked(("whisper-base", "demo-whisper"), ("fp32",)))


# --- the states


def test_a_benchmark_begins_from_a_draft_and_is_kept_as_a_file(
    benchmarks: Benchmarks, storage: Storage, tmp_path: Path
) -> None:
    draft = benchmarks.draft(uploads(storage, dataset(tmp_path / "given")))
    asked = Asked(("demo-paraformer",), ("fp32",), ("de",), 3, 2, (1, 4))
    one = benchmarks.begin(draft.id, asked)
    assert benchmarks.begin(draft.id, asked, before=one) == one  # a double click
    two = benchmarks.begin(draft.id, ASKED, before=one)
    assert two != one
    benchmarks.remove(draft.id)
    again = Benchmarks(storage, {})
    assert again.find(one) == benchmarks.find(one)
    assert again.find(one).asked == asked
    assert (again.data(again.find(one)) / "a.wav").is_file()
    assert [again.ahead(again.find(id_)) for id_ in (one, two)] == [0, 1]
    assert again.take().id == one
    with pytest.raises(UserError, match="The recordings are gone"):
        benchmarks.begin(draft.id, asked)


@pytest.mark.parametrize(
    "asked",
    [
        Asked((), ("fp32",)), Asked(("demo-paraformer",), ()), Asked(("nothing",), ("fp32",)),
        Asked(("demo-paraformer",), ("fp64",)), Asked(("demo-paraformer",), ("fp32",), ("fr",)),
        Asked(("demo-paraformer",), ("fp32",), rounds=0), Asked(("demo-paraformer",), ("fp32",), rounds=21),
        Asked(("demo-paraformer",), ("fp32",), users=(1000,)),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(benchmarks: Benchmarks, storage: Storage, asked: Asked) -> None:
    draft = benchmarks.draft_offered("owners")
    with pytest.raises(UserError):
        benchmarks.begin(draft.id, asked)
    assert folders(storage) == [draft.id]


def test_one_client_may_have_three_that_have_not_ended(benchmarks: Benchmarks) -> None:
    draft = benchmarks.draft_offered("owners", "me")
    made = [benchmarks.begin(draft.id, ASKED) for _ in range(MOST_WAITING)]
    with pytest.raises(UserError, match="have not ended"):
        benchmarks.begin(draft.id, ASKED)
    benchmarks.begin(benchmarks.draft_offered("owners", "you").id, ASKED)
    benchmarks.cancel(made[0])
    benchmarks.begin(draft.id, ASKED)


def test_states_follow_each_other(benchmarks: Benchmarks, storage: Storage) -> None:
    id_ = benchmarks.begin(benchmarks.draft_offered("owners").id, ASKED)
    state = lambda: benchmarks.find(id_).state  # noqa: E731
    benchmarks.end(id_, "done")
    assert state() == "queued"  # what does not run cannot end
    benchmarks.remove(id_)
    assert state() == "queued"
    assert benchmarks.take().state == state() == "running"
    assert benchmarks.take() is None
    benchmarks.give_way(id_)
    assert (state(), benchmarks.find(id_).breaks) == ("queued", 1)
    benchmarks.take()
    benchmarks.cancel(id_)
    assert state() == "cancelled"
    benchmarks.end(id_, "done")  # its process ended at the same moment
    assert state() == "cancelled"
    benchmarks.go_on(id_)
    assert state() == "queued"
    benchmarks.take()
    benchmarks.end(id_, "failed", UserError("why", "原因"))
    assert benchmarks.find(id_).error == ("why", "原因")
    benchmarks.busy = id_
    benchmarks.remove(id_)  # its process has not gone yet
    assert state() == "failed"
    benchmarks.busy = ""
    benchmarks.remove(id_)
    assert benchmarks.find(id_) is None
    assert id_ not in folders(storage)


def test_what_ran_when_the_server_died_goes_on_unless_it_kills_it(benchmarks: Benchmarks, storage: Storage) -> None:
    id_ = benchmarks.begin(benchmarks.draft_offered("owners").id, ASKED)
    offered = benchmarks.offered
    for _ in range(2):
        benchmarks.take()
        benchmarks = Benchmarks(storage, offered)
        assert [b.state for b in benchmarks.all()] == ["queued"]  # the draft is gone
    benchmarks.take()
    benchmarks.progressed(id_)  # then the deaths before do not count
    benchmarks = Benchmarks(storage, offered)
    for _ in range(2):
        benchmarks.take()
        benchmarks = Benchmarks(storage, offered)
    assert benchmarks.find(id_).state == "failed"
    assert "stopped 3 times" in benchmarks.find(id_).error[0]


def test_damaged_records_and_strange_folders_stop_nothing(benchmarks: Benchmarks, storage: Storage) -> None:
    id_ = benchmarks.begin(benchmarks.draft_offered("owners").id, ASKED)
    broken = storage.benchmarks / ("x" * 24)
    broken.mkdir()
    (broken / "benchmark.json").write_text('{"id": 1}', encoding="utf-8")
    (storage.benchmarks / "stranger").mkdir()
    again = Benchmarks(storage, benchmarks.offered)
    assert [b.id for b in again.all()] == [id_]


def test_old_ones_and_drafts_go(benchmarks: Benchmarks, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = benchmarks.draft_offered("owners")
    waiting, running = (benchmarks.begin(draft.id, ASKED) for _ in range(2))
    (storage.benchmarks / "stray").mkdir()
    (storage.benchmarks / "unread").mkdir()
    (storage.benchmarks / "unread" / "benchmark.json").touch()
    benchmarks.take()
    benchmarks.cancel(waiting)
    benchmarks.take()
    benchmarks.forget_old()
    assert len(folders(storage)) == 5
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 3700)
    benchmarks.forget_old()
    assert folders(storage) == sorted((waiting, running, "unread"))
    monkeypatch.setattr(module.time, "time", lambda: now + 7 * 86400 + 60)
    benchmarks.forget_old()
    assert folders(storage) == [running]


def test_an_id_is_no_path(benchmarks: Benchmarks, storage: Storage) -> None:
    (storage.benchmarks.parent / "results.json").write_text('{"format": 1}', encoding="utf-8")
    (storage.benchmarks / "..x").mkdir()
    for id_ in ("..", "../benchmarks", "", ".", "..x"):
        benchmarks.remove(id_)
        assert benchmarks.results(id_) is None
    assert storage.benchmarks.is_dir()
    assert (storage.benchmarks / "..x").is_dir()


def test_they_count_in_the_limit_of_the_disk(storage: Storage, tmp_path: Path) -> None:
    benchmarks = Benchmarks(storage, {})
    files = uploads(storage, dataset(tmp_path / "given"))
    draft = benchmarks.draft(files)
    size = sum(path.stat().st_size for path in files)
    own = (storage.benchmarks / draft.id / "benchmark.json").stat().st_size
    Storage(tmp_path / "home", size + own + 100).require_room(50)  # a link takes nothing
    with pytest.raises(UserError, match="no room"):
        Storage(tmp_path / "home", size + own - 1).require_room(0)

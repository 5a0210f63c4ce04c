"""The files of a variant, with no model: what is written is read, what it depends on is in its name, old ones go."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from asr_app import catalog
from asr_app.precision import Precision, variants

RECIPE = catalog.recipes(catalog.find("demo-paraformer"))[Precision.INT8, "cpu"]
WEIGHTS = {"model/a.pt": "1", "model/b.yaml": "2"}


class Tied(nn.Module):
    """A head that is the embedding too, a norm with statistics, and a buffer of no elements."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(5, 3), nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("nothing", torch.zeros(0))
        self.register_buffer("nothing_either", torch.zeros(0))


def write(path: Path, content: str = "x") -> Path:
    with variants.written(path, RECIPE) as folder:
        (folder / "weights").write_text(content)
    return path


def test_what_is_written_is_read_and_a_tensor_with_two_names_stays_one(tmp_path):
    torch.manual_seed(0)
    parts = {"model": Tied(), "lone": nn.Linear(2, 2)}
    parts["model"].norm.running_mean += torch.randn(3)
    variants.save(parts, tmp_path)
    assert variants.parts(tmp_path) == {"model", "lone"}
    with torch.device("meta"):
        read = {"model": Tied(), "lone": nn.Linear(2, 2)}
    variants.fill(read, tmp_path, "cpu")
    for name, part in parts.items():
        stored = read[name].state_dict()
        assert set(stored) == set(part.state_dict())
        assert all(torch.equal(stored[own], tensor) for own, tensor in part.state_dict().items())
    assert read["model"].head.weight is read["model"].table.weight
    assert not any(p.requires_grad for part in read.values() for p in part.parameters())


def test_weights_that_cannot_be_written_are_an_error_of_the_disk(tmp_path):
    with pytest.raises(OSError, match="directory"):
        variants.save({"part": torch.nn.Linear(2, 2)}, tmp_path / "gone")


def test_all_that_a_variant_depends_on_is_in_its_name(monkeypatch):
    def key(family="f", weights=WEIGHTS, precision=Precision.INT8, recipe=RECIPE, device="cpu"):
        return variants.key(family, weights, precision, recipe, device)

    assert key() == key(weights=dict(reversed(WEIGHTS.items())))
    assert key(device="cuda:0") == key(device="cuda:1")
    names = [
        key(), key(family="g"), key(weights=WEIGHTS | {"model/a.pt": "3"}), key(precision=Precision.BF16),
        key(recipe=dataclasses.replace(RECIPE, smallest=1)), key(device="cuda:0"),
    ]  # fmt: skip
    vnni = variants.cpu_has_vnni()
    monkeypatch.setattr(variants, "cpu_has_vnni", lambda: not vnni)
    names.append(key())
    monkeypatch.setattr(variants, "versions", lambda: ("another",))
    names.append(key())
    assert len(set(names)) == len(names)


def test_other_weights_are_another_variant(tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"1")
    one = variants.weights({"model": tmp_path}, tmp_path / "home")
    weights.write_bytes(b"2")
    os.utime(weights, ns=(0, 0))
    two = variants.weights({"model": tmp_path}, tmp_path / "home")
    keys = {variants.key("paraformer", w, Precision.INT8, RECIPE, "cpu") for w in (one, two)}
    assert len(keys) == 2
    assert variants.key("paraformer", one, Precision.BF16, RECIPE, "cpu") not in keys


def test_weights_and_configuration_are_what_counts_in_a_folder_and_a_file_by_itself(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("model.pt", "config.yaml", "README.md", "config.json", "tokens.json"):
        (folder / name).write_text(name)
    lone = tmp_path / "lone.bin"
    lone.write_text("lone")
    found = variants.weights({"model": folder, "vad": lone}, tmp_path / "home")
    assert list(found) == ["model/config.json", "model/config.yaml", "model/model.pt", "vad/lone.bin"]


def test_a_fingerprint_notices_a_file_that_comes_changes_or_goes(tmp_path):
    lone, folder = tmp_path / "lone.pt", tmp_path / "folder"
    folder.mkdir()
    lone.write_text("1")
    os.utime(lone, ns=(1, 1))
    folders, seen = {"model": lone, "vad": folder}, []
    (folder / "inner").mkdir()
    seen.append(variants.fingerprint(folders))
    assert variants.fingerprint(folders) == seen[0]
    os.utime(lone, ns=(1, 2))
    seen.append(variants.fingerprint(folders))
    lone.write_text("12")
    os.utime(lone, ns=(1, 2))
    seen.append(variants.fingerprint(folders))
    (folder / "new").write_text("")
    seen.append(variants.fingerprint(folders))
    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "weights").write_text("y"), lambda path: (path / "weights").unlink(),
        lambda path: (path / "variant.json").write_text("[]"), lambda path: (path / "variant.json").write_text("{}"),
        lambda path: (path / "variant.json").unlink(),
    ],
    ids=["changed", "gone", "a list", "empty", "no manifest"],
)  # fmt: skip
def test_a_damaged_variant_is_removed_and_named(tmp_path, caplog, damage):
    path = write(tmp_path / "v")
    assert variants.whole(path)
    damage(path)
    assert not variants.intact(path)
    assert not variants.whole(path)
    assert not path.exists()
    assert "variant v is damaged" in caplog.text
    assert not variants.whole(path)
    assert len(caplog.records) == 1  # what is not there is not damaged


def test_a_variant_says_what_stays_high_whether_it_runs_here_and_when_it_is_another(tmp_path, monkeypatch):
    kept = dataclasses.replace(RECIPE, keep_high=("encoder.a", "b*"))
    for vnni in (True, False):
        monkeypatch.setattr(variants, "cpu_has_vnni", lambda vnni=vnni: vnni)
        with variants.written(tmp_path / f"{vnni}", kept) as folder:
            (folder / "weights").write_text("x")
        assert variants.runs_here(tmp_path / f"{vnni}")
    assert not variants.runs_here(tmp_path / "True")  # needs what this processor has no longer
    monkeypatch.setattr(variants, "cpu_has_vnni", lambda: True)
    assert variants.runs_here(tmp_path / "False")
    assert variants.recipe_of(tmp_path / "True", RECIPE) == kept
    assert variants.checksum(tmp_path / "True") == variants.checksum(tmp_path / "True")
    assert variants.checksum(tmp_path / "True") != variants.checksum(tmp_path / "False")


def test_a_model_folder_brings_a_variant_only_with_its_manifest(tmp_path):
    (tmp_path / "int8").mkdir()
    assert variants.carried(tmp_path, Precision.INT8) is None
    write(tmp_path / "bf16")
    assert variants.carried(tmp_path, Precision.BF16) == tmp_path / "bf16"


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path):
    def fail() -> None:
        with variants.written(tmp_path / "new" / "home" / "v", RECIPE) as folder:
            (folder / "weights").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list((tmp_path / "new" / "home").iterdir()) == []


def test_of_two_who_write_the_same_the_first_one_stays(tmp_path):
    with variants.written(tmp_path / "v", RECIPE) as slow:
        (slow / "weights").write_text("second")
        write(tmp_path / "v", "first")
    assert [path.name for path in tmp_path.iterdir()] == ["v"]
    assert (tmp_path / "v" / "weights").read_text() == "first"
    assert variants.intact(tmp_path / "v")


def test_only_what_the_ended_process_was_writing_is_removed(tmp_path):
    home = tmp_path / "variants"
    for name in (".making-12-a", ".making-1-b", "whole"):
        (home / name).mkdir(parents=True)
    variants.remove_unfinished(tmp_path, 1)
    assert sorted(path.name for path in home.iterdir()) == [".making-12-a", "whole"]


def test_what_nobody_has_used_for_a_month_makes_room(tmp_path):
    def written(name):
        with variants.written(tmp_path / name, RECIPE) as folder:
            (folder / "weights").write_text(name)
        return tmp_path / name

    def used_days_ago(place, days):
        os.utime(place, (time.time() - days * 86400,) * 2)
        return place

    used_days_ago(written("forgotten"), 31)
    used_days_ago(written("rare"), 29)
    assert variants.whole(used_days_ago(written("in-use"), 31))  # and now it is used
    killed, busy = tmp_path / ".making-killed", tmp_path / ".making-busy"
    killed.mkdir()
    busy.mkdir()
    used_days_ago(killed, 2)
    used_days_ago(busy, 0.5)
    written("new")
    assert {path.name for path in tmp_path.iterdir()} == {"rare", "in-use", "new", ".making-busy"}


def test_memory_of_a_variant_counts_a_graph_twice_where_it_has_two_sessions(tmp_path):
    for name, size in (
        ("weights.safetensors", 100),
        ("small.onnx.weights", 6_000_000),
        ("large.onnx.weights", 130_000_000),
    ):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    assert variants.resident_bytes(tmp_path, 1) == 136_000_100
    assert variants.resident_bytes(tmp_path, 2) == 142_000_100

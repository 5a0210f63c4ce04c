"""Memory by true bytes: what a model takes, what the process can still get, and what is refused before it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from conftest import EXAMPLE, ROOT
from fakes import FakeEngine

from asr_app import catalog, devices, engines, loading, memory, retry
from asr_app.checks import Check
from asr_app.datatypes import Chunk, Options, StageTimes
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.loading import Loaded
from asr_app.memory import Needs
from asr_app.precision import Precision, PrecisionReport
from asr_app.precision.report import PartReport

LARGE_V3 = {
    "n_mels": 128, "n_audio_ctx": 1500, "n_audio_state": 1280, "n_audio_head": 20, "n_audio_layer": 32,
    "n_vocab": 51866, "n_text_ctx": 448, "n_text_state": 1280, "n_text_head": 20, "n_text_layer": 32,
}  # fmt: skip
GB = 10**9
DEMOS = [card.id for card in catalog.CARDS.values() if card.note == "demo"]


@pytest.fixture
def large(tmp_path) -> Path:
    """A checkpoint of Whisper large-v3's dimensions, without its weights."""
    torch.save({"dims": LARGE_V3, "model_state_dict": {}}, tmp_path / "large.pt")
    return tmp_path / "large.pt"


def test_whisper_large_v3_takes_twice_its_download_at_fp32(large):
    needed = catalog.FAMILIES["whisper"].needs({"model": large})
    assert round(needed.resident / 10**6) == 6174
    assert catalog.find("whisper-large-v3").size_mb == 3087


@pytest.mark.models
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
@pytest.mark.parametrize("model", DEMOS)
def test_what_is_needed_is_what_is_loaded(model, precision, cache):
    card = catalog.find(model)
    loaded = loading.load(card, precision, "cpu", 2, "modelscope", cache=cache)
    needed = loading.needs(loading.locate(card, "modelscope"), card, precision, "cpu", 2, cache)
    assert needed.resident == pytest.approx(loaded.precision.weight_bytes, rel=0.05)
    assert needed.peak > needed.resident


def test_a_variant_that_is_not_made_yet_needs_what_it_is_made_of(tmp_path):
    card = catalog.find("demo-sensevoice")
    folders = loading.locate(card, "modelscope")
    full = loading.needs(folders, card, Precision.FP32, "cpu", 2)
    made = loading.needs(folders, card, Precision.INT8, "cpu", 2, tmp_path)
    assert made.resident == full.resident
    assert made.peak > full.peak


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_of_a_cgroup_around_the_process_counts(version, tmp_path, monkeypatch):
    root = tmp_path / "memory" if version == 1 else tmp_path
    names = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.max", "memory.current", "inactive_file")
    )
    for group, limit, used in (("", "max", 0), ("a", str(3 * GB), 2 * GB), ("a/b", str(10 * GB), GB)):
        folder = root / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in ((names[0], limit), (names[1], used), ("memory.stat", f"x 1\n{names[2]} {GB // 2}")):
            (folder / name).write_text(f"{value}\n")
    (tmp_path / "own").write_text("5:cpu:/\n4:memory:/a/b\n" if version == 1 else "0::/a/b\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=50 * GB))
    assert memory.free_bytes() == 3 * GB // 2  # of the outer one; files in its cache are as good as free
    (tmp_path / "own").write_text("1:name=systemd:/\n")
    assert memory.free_bytes() == 50 * GB


def test_more_is_not_free_than_the_machine_has():
    assert memory.free_bytes() <= psutil.virtual_memory().total


class Room:
    """Engines over models of stated sizes, on a machine with so many bytes."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, machine: int, budget: int = 100 * GB, device: str = "cpu"
    ) -> None:
        self.sizes: dict[tuple[str, Precision], int] = {}
        self.more: dict[str, int] = {}  # bytes that a model takes beyond what was reckoned
        self.engines = Engines(device, 1, "modelscope", budget=budget)
        self.beside: list[str] = []  # what was resident when the last one was loaded
        self.failure = ""  # of the self-check

        def load(_folders, card, precision, *_):
            size = self.sizes[card.id, precision] + self.more.get(card.id, 0)
            self.beside = self.resident()
            counted = PrecisionReport(precision, (PartReport("x", {"FP32": size}, {}),))
            return Loaded(card, FakeEngine(), counted, "cpu", 1.5, 0.5, Check("x", self.failure), 1)

        def needed(_folders, card, precision, *_):
            return Needs(self.sizes[card.id, precision], self.sizes[card.id, precision])

        monkeypatch.setattr(engines, "locate", lambda *_: {})
        monkeypatch.setattr(engines, "load_from", load)
        monkeypatch.setattr(engines, "needs", needed)
        monkeypatch.setattr(engines, "free_bytes", lambda *_: machine - self.engines._weights())

    def use(self, model: str, size: float, precision: Precision = Precision.FP32):
        card = catalog.find(model)
        self.sizes[card.id, precision] = round(size * GB)
        self.sizes.setdefault((card.id, Precision.INT8), round(size * GB / 4))
        return self.engines.use(card, precision)

    def resident(self) -> list[str]:
        return sorted(x.card.id for x in self.engines.resident())


def test_what_does_not_fit_is_refused_in_both_languages_and_nothing_goes_for_it(monkeypatch):
    room = Room(monkeypatch, 4 * GB)
    with room.use("demo-paraformer", 0.1):
        pass
    with pytest.raises(UserError) as told, room.use("whisper-large-v3", 6.174):
        pass
    assert told.value.en == (
        "whisper-large-v3 at FP32 needs 6.2 GB of memory, 3.9 GB are free. Use lite mode, or choose a smaller model."
    )
    assert told.value.zh == "whisper-large-v3（FP32）需要 6.2 GB 内存，可用 3.9 GB。请使用轻量模式，或选择更小的模型。"
    assert room.resident() == ["demo-paraformer"]
    with room.use("demo-sensevoice", 0.05):
        pass
    assert room.resident() == ["demo-paraformer", "demo-sensevoice"]


def test_lite_mode_is_advised_only_where_it_fits(monkeypatch):
    room = Room(monkeypatch, GB)
    with pytest.raises(UserError, match=r"2\.0 GB of memory, 1\.0 GB are free\. Use lite") as told:
        room.use("demo-paraformer", 2).__enter__()
    room.sizes["demo-paraformer", Precision.INT8] = 3 * GB  # as where it must be made
    with pytest.raises(UserError, match=r"are free\. Choose a smaller model") as told:
        room.use("demo-paraformer", 2).__enter__()
    assert "轻量" not in told.value.zh
    with pytest.raises(UserError, match=r"needs 901 MB of memory"), room.use("demo-sensevoice", 0.3):
        room.use("demo-paraformer", 0.9007, Precision.INT8).__enter__()
    with pytest.raises(UserError, match=r"needs 3\.0 GB.* are free\. Choose a smaller model"):
        room.use("demo-paraformer", 3, Precision.INT8).__enter__()


def test_idle_engines_go_first_and_only_as_many_as_needed(monkeypatch):
    room = Room(monkeypatch, 4 * GB)
    for model in ("demo-paraformer", "demo-sensevoice", "demo-fun-asr"):
        with room.use(model, 1):
            pass
    with room.use("whisper-base", 1.5):
        assert room.resident() == ["demo-fun-asr", "demo-sensevoice", "whisper-base"]
        with room.use("demo-paraformer", 1):  # the one in use stays
            assert room.resident() == ["demo-fun-asr", "demo-paraformer", "whisper-base"]


def test_an_engine_that_is_used_is_no_room(monkeypatch):
    room = Room(monkeypatch, 4 * GB)
    with room.use("demo-paraformer", 2), pytest.raises(UserError, match=r"2\.0 GB are free"):
        room.use("whisper-base", 3).__enter__()


def test_the_budget_counts_true_bytes(monkeypatch):
    """By its download's 3,087 MB it would have fitted beside the other one."""
    room = Room(monkeypatch, 100 * GB, budget=8 * GB)
    with room.use("demo-paraformer", 3):
        pass
    with room.use("whisper-large-v3", 6.174):
        assert room.beside == []
        assert room.resident() == ["whisper-large-v3"]


def test_a_chunk_is_not_tried_again_where_full_precision_does_not_fit(monkeypatch, caplog):
    room = Room(monkeypatch, GB)
    with room.use("demo-paraformer", 0.25, Precision.INT8) as low:
        room.sizes["demo-paraformer", Precision.FP32] = 2 * GB
        chunk = Chunk(0.0, np.zeros(16000, np.float32), ((0.0, 1.0),))
        times = StageTimes()
        at = lambda precision: room.engines.use(low.card, precision)  # noqa: E731
        assert retry.at_fp32(chunk, low, Options(), times, at) == (None, times)
        assert room.engines.resident() == [low]
    assert "2.0 GB of memory" in caplog.text


def test_room_for_both_sides_is_counted_by_true_bytes(monkeypatch):
    room = Room(monkeypatch, 10 * GB, budget=8 * GB)
    with room.use("whisper-large-v3", 3, Precision.INT8) as low:
        room.sizes["whisper-large-v3", Precision.FP32] = 6 * GB
        assert not room.engines.has_room(low.card, Precision.FP32)
        room.sizes["whisper-large-v3", Precision.FP32] = 4 * GB
        assert room.engines.has_room(low.card, Precision.FP32)


def test_equal_models_are_not_resident_together_where_the_budget_has_room_for_one(monkeypatch):
    room = Room(monkeypatch, 100 * GB, budget=5 * GB)
    with room.use("demo-paraformer", 3):
        pass
    with room.use("demo-sensevoice", 3):
        assert room.beside == []


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_what_came_back_for_a_model_is_told_with_it(monkeypatch, device):
    """One goes before the loading, and one more after it, since the model is larger than was reckoned."""
    room = Room(monkeypatch, 100 * GB, budget=5 * GB, device=device)
    on_device = device != "cpu"
    monkeypatch.setattr(engines, "resident_bytes", lambda: GB + (0 if on_device else room.engines._weights()))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: room.engines._weights() if on_device else 0)
    for model, size in (("demo-paraformer", 1), ("demo-sensevoice", 3)):
        with room.use(model, size) as loaded:
            assert loaded.given_back == 0
    room.more["whisper-base"] = GB
    with room.use("whisper-base", 2) as loaded:
        assert room.beside == ["demo-sensevoice"]
        assert room.resident() == ["whisper-base"]
        assert loaded.given_back == 4 * GB


def test_a_lowered_precision_that_fails_its_self_check_is_refused_and_never_lite_again(monkeypatch):
    room, card = Room(monkeypatch, 100 * GB), catalog.find("demo-paraformer")
    room.failure = "no text"
    with pytest.raises(UserError, match="demo-paraformer at INT8 failed its self-check: no text") as told:
        room.use("demo-paraformer", 1, Precision.INT8).__enter__()
    assert "自检未通过：no text" in told.value.zh
    assert room.resident() == []
    assert room.engines.choose(card, True, None) is Precision.BF16
    with room.use("demo-paraformer", 1) as loaded:  # there is nothing better than FP32 to give
        assert loaded.check.reason == "no text"


def test_without_a_budget_half_of_the_free_memory_is_used_or_most_of_the_cards(monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda *_: 10 * GB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=10 * GB))
    assert Engines("cpu", 1, "modelscope").budget == 5 * GB
    assert Engines("cuda:0", 1, "modelscope").budget == 7 * GB


def test_the_memory_free_at_the_moment_counts_for_both_sides(monkeypatch):
    room = Room(monkeypatch, 6 * GB)
    with room.use("whisper-large-v3", 3, Precision.INT8) as low:
        for size, has_room in ((3, True), (4, False)):
            room.sizes["whisper-large-v3", Precision.FP32] = size * GB
            assert room.engines.has_room(low.card, Precision.FP32) is has_room


LIMITED = """
import json, resource, sys
from pathlib import Path
import psutil
sys.path.insert(0, sys.argv[1])
from asr_app import audio, catalog
from asr_app.datatypes import Options
from asr_app.engines import Engines
from asr_app.errors import UserError
from asr_app.precision import Precision

engines = Engines("cpu", 1, "modelscope", cache=Path(sys.argv[2]))
clip = audio.decode(Path(sys.argv[4])).samples[: 10 * 16000]
def text(model):
    with engines.use(catalog.find(model), Precision.FP32) as loaded:
        return " ".join(s.text for s in loaded.engine.transcribe([clip], Options())[0])
before = text("demo-paraformer")
from asr_app.families import whisper
from asr_app.families._whisper_engine import WhisperEngine
most = psutil.Process().memory_info().vms + int(sys.argv[5])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
told = {}
try:
    text(sys.argv[3])
except UserError as error:
    told = {"en": error.en, "zh": error.zh}
try:  # past the check
    card = catalog.find(sys.argv[3])
    whisper.load(card, {"model": Path(sys.argv[3])}, "cpu", 1)
    real = "loads"
except (MemoryError, RuntimeError, OSError, UserError) as error:
    real = f"{type(error).__name__}: {error}"
print(json.dumps({
    "told": told, "real": real, "same": before == text("demo-paraformer"), "smaller": text("demo-sensevoice"),
    "resident": sorted(x.card.id for x in engines.resident()),
}))
"""


def limited(model: Path, more: int, tmp_path: Path) -> dict:
    """Loads in a process that may take `more` bytes of address space than it has."""
    out = subprocess.run(
        [sys.executable, "-c", LIMITED, str(ROOT), str(tmp_path / "cache"), str(model), str(EXAMPLE / "english-home.flac"),
         str(more)],
        capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.models
def test_under_a_limit_of_address_space_a_large_model_is_refused_and_the_others_go_on(large, tmp_path):
    found = limited(large, 700_000_000, tmp_path)
    assert "needs 6.3 GB of memory" in found["told"]["en"]
    assert "需要 6.3 GB 内存" in found["told"]["zh"]
    assert found["same"]
    assert found["smaller"]
    assert found["resident"] == ["demo-paraformer", "demo-sensevoice"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.real
def test_what_is_refused_under_a_limit_would_not_have_loaded(whisper_base, tmp_path):
    found = limited(whisper_base, 300_000_000, tmp_path)
    assert "needs 390 MB of memory" in found["told"]["en"]
    assert "can't allocate memory" in found["real"] or "Cannot allocate memory" in found["real"], found["real"]
    assert found["same"]
    assert found["smaller"]
    assert limited(whisper_base, 1_000_000_000, tmp_path)["told"] == {}

"""Variants on disk: loaded without the weights they were made of, made anew where damaged, done without where none fits."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import EXAMPLE, ROOT

from asr_app import catalog, hub
from asr_app.families._funasr import SANM_DECODER, SANM_ENCODER
from asr_app.families._funasr_model import load_model
from asr_app.loading import load
from asr_app.precision import Precision, graph, graph_export, variants

pytestmark = pytest.mark.models
CARD = "demo-paraformer"


def loaded(cache, precision=Precision.INT8, card=CARD):
    return load(catalog.find(card), precision, "cpu", 1, hub.HUBS[0], cache=cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with one variant, and the text and report it was made with."""
    folder = tmp_path_factory.mktemp("cache")
    made = loaded(folder)
    return folder, made.check.text, made.precision


def place(cache):
    (found,) = (cache / "variants").iterdir()
    return found


@torch.no_grad()
@pytest.mark.parametrize("length", [5, 57, 170])
def test_a_graph_computes_what_its_layers_did(tmp_path, length):
    model = load_model(hub.BUNDLED / CARD, ("BiCifParaformer",), "cpu", 1).module
    torch.manual_seed(length)
    heard = torch.randn(1, length, model.encoder.encoders0[0].in_size)
    tokens = torch.randn(1, 7, model.decoder.decoders[0].size)
    lengths = torch.tensor([length]), torch.tensor([7])
    encoded = model.encoder(heard, lengths[0])[0]
    decoded = model.decoder(encoded, lengths[0], tokens, lengths[1])[0]
    for part, stack in ((model.encoder, SANM_ENCODER), (model.decoder, SANM_DECODER)):
        graph_export.export(part, stack, tmp_path / stack.name)
        path = tmp_path / stack.name / graph_export.FULL
        graph.put(part, stack, graph.GraphLayers(path, graph.session(path), stack, graph.count(path)))
    assert torch.allclose(model.encoder(heard, lengths[0])[0], encoded, atol=1e-3, rtol=1e-3)
    assert torch.allclose(model.decoder(encoded, lengths[0], tokens, lengths[1])[0], decoded, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_rows_of_a_padded_batch_come_out_as_alone(tmp_path):
    encoder = load_model(hub.BUNDLED / CARD, ("BiCifParaformer",), "cpu", 1).module.encoder
    x = torch.randn(2, 40, encoder.encoders0[0].in_size)
    x[1, 25:] = 0
    lengths = torch.tensor([40, 25])
    want = encoder(x.clone(), lengths)[0]
    graph_export.export(encoder, SANM_ENCODER, tmp_path / "full")
    path = tmp_path / "full" / graph_export.FULL
    graph.put(encoder, SANM_ENCODER, graph.GraphLayers(path, graph.session(path), SANM_ENCODER, graph.count(path)))
    got = encoder(x.clone(), lengths)[0]
    for row, length in enumerate(lengths):
        assert torch.allclose(got[row, :length], want[row, :length], atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_a_row_alone_comes_out_the_same_on_several_threads_and_both_sessions_are_counted(tmp_path):
    encoder = load_model(hub.BUNDLED / CARD, ("BiCifParaformer",), "cpu", 1).module.encoder
    graph_export.export(encoder, SANM_ENCODER, tmp_path / "full")
    path = tmp_path / "full" / graph_export.FULL
    counts = graph.count(path)
    x = torch.randn(1, 40, encoder.encoders0[0].in_size)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        narrow = graph.GraphLayers(path, graph.session(path), SANM_ENCODER, counts)
        torch.set_num_threads(2)
        wide = graph.GraphLayers(path, graph.session(path), SANM_ENCODER, counts)
        assert torch.allclose(wide(x, None)[0], narrow(x, None)[0], atol=1e-4, rtol=1e-4)
    finally:
        torch.set_num_threads(before)
    assert narrow.stored == counts.stored
    assert wide.stored == {name: 2 * size for name, size in counts.stored.items()}


def test_a_chunk_recognised_beside_others_computes_on_one_thread(tmp_path, monkeypatch):
    """Two chunks on two threads each made SenseVoice Small a fifth slower on two cores."""
    ran: list[str] = []

    class Session:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
            ran.append(self.name)
            return [given["x"]]

    monkeypatch.setattr(graph, "is_held_twice", lambda *_: True)
    monkeypatch.setattr(graph, "session", lambda *_: Session("wide"))
    both = graph.GraphLayers(tmp_path, Session("narrow"), SANM_ENCODER, graph.Counts({}, {}))
    for threads in (2, 1):
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            pool.submit(both, torch.zeros(1, 3, 4), None).result()
    assert ran == ["wide", "narrow"]


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8], ids=str)
@pytest.mark.parametrize("card", ["demo-paraformer", "demo-sensevoice", "demo-fun-asr", "demo-whisper"])
def test_the_second_start_reads_no_weights_and_gives_the_same(card, precision, tmp_path, monkeypatch):
    first = loaded(tmp_path, precision, card)
    read = torch.load

    def no_weights(path, *arguments, map_location=None, **options):
        assert str(map_location) == "meta", f"{path} was read"
        return read(path, *arguments, map_location=map_location, **options)

    monkeypatch.setattr(torch, "load", no_weights)
    second = loaded(tmp_path, precision, card)
    assert second.check == first.check
    assert second.precision == first.precision
    assert not any(p.is_meta for part in second.engine.parts.values() for p in part.state_dict().values())


@pytest.mark.parametrize("what", ["encoder.encoders.onnx", "weights.safetensors", "variant.json"])
def test_a_damaged_variant_is_made_anew(cache, what, caplog):
    folder, text, precision = cache
    file = place(folder) / what
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    again = loaded(folder)
    assert "damaged" in caplog.text
    assert (again.check.text, again.precision) == (text, precision)
    assert variants.whole(place(folder))


def test_half_a_variant_is_made_anew(cache, caplog):
    folder, text, _ = cache
    (place(folder) / "weights.safetensors").unlink()
    assert loaded(folder).check.text == text
    assert "damaged" in caplog.text


def test_where_no_variant_can_be_written_the_model_runs_without(tmp_path, caplog):
    (tmp_path / "variants").write_text("not a folder")
    without = loaded(tmp_path)
    assert "no variant of demo-paraformer could be written" in caplog.text
    assert without.precision.weight_bytes < 7e6


def test_a_full_disk_costs_nothing_but_time(tmp_path, expected):
    name = "mandarin-home.wav"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from asr_app.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "transcribe", str(EXAMPLE / name), "--model", CARD, "--precision", "int8"],
        cwd=ROOT, env=os.environ | {"ASR_CACHE": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "could be written" in done.stderr
    assert done.stdout.replace("\n", "") == expected[name]["text"]
    assert not list((tmp_path / "variants").iterdir())

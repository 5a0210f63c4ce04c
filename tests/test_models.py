"""Every card on this disk at every precision, on the clips of example/; and an hour of audio."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import EXAMPLE, ROOT

from asr_app import catalog, hub, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options, Transcript
from asr_app.demo.corpus import evaluation_set
from asr_app.engines import Engines, usable_cores
from asr_app.precision import Precision
from asr_app.scoring import normalise, score

pytestmark = pytest.mark.models
HERE = [card for card in catalog.CARDS.values() if any(s.bundled for s in card.sources.values())]
PAIRS = [pytest.param(card, p, id=f"{card.id}-{p.value}") for card in HERE for p in card.precisions]


@pytest.fixture(scope="module")
def engines() -> Engines:
    return Engines("cpu", usable_cores(), hub.HUBS[0])


def transcribe(engines: Engines, card, precision, path: Path) -> Transcript:
    with engines.use(card, precision) as loaded:
        return pipeline.transcribe(path, loaded, Options(), Limits())


@pytest.mark.parametrize(("card", "precision"), PAIRS)
def test_the_clips_come_out_as_expected(engines, card, precision, expected):
    for name, want in expected.items():
        found = transcribe(engines, card, precision, EXAMPLE / name)
        assert normalise(found.text) == normalise(want["text"]), name
        times = [t for s in found.segments for w in s.words for t in (w.start_s, w.end_s)]
        assert times == sorted(times)
        assert times[-1] <= found.audio_s
        assert found.text[-1] in "。？.?"


@pytest.mark.parametrize(("card", "precision"), PAIRS)
def test_the_effective_precision_is_what_the_tensors_hold_after_two_requests(engines, card, precision):
    for _ in range(2):
        transcribe(engines, card, precision, EXAMPLE / "english-home.flac")
    with engines.use(card, precision) as loaded:
        encoder = next(p for p in loaded.precision.parts if p.name == "encoder")
        assert max(encoder.stored, key=lambda k: encoder.stored[k]) == precision.label
        from asr_app.precision import report

        assert report(loaded.engine.parts, precision) == loaded.precision  # nothing was cast back on the way


def test_lower_precisions_hold_fewer_bytes(engines):
    card = catalog.find(catalog.DEFAULT)
    sizes = {}
    for precision in card.precisions:
        with engines.use(card, precision) as loaded:
            sizes[precision] = loaded.precision.weight_bytes
    assert sizes[Precision.INT8] < sizes[Precision.FP16] == sizes[Precision.BF16] < sizes[Precision.FP32]
    assert sizes[Precision.FP32] <= 15e6


def test_marks_stand_where_the_sentences_end(engines, expected):
    for name, want in expected.items():
        found = transcribe(engines, catalog.find(catalog.DEFAULT), Precision.FP32, EXAMPLE / name).text
        ends = [c for c in want["text"] if c in "。？.?"]
        assert [c for c in found if c in "。？.?"] == ends, (name, found)


def test_both_engines_stay_and_the_least_used_goes_when_memory_is_short(expected):
    card = catalog.find(catalog.DEFAULT)
    engines = Engines("cpu", 1, hub.HUBS[0], budget=30_000_000)
    for precision in (Precision.FP32, Precision.INT8):
        with engines.use(card, precision):
            pass
    assert len(engines.resident()) == 2
    with engines.use(card, Precision.BF16):
        pass
    assert [x.precision.requested for x in engines.resident()] == [Precision.BF16, Precision.INT8]


HOUR = """
import sys, json, psutil, resource, pathlib
sys.path.insert(0, sys.argv[1])
from asr_app import catalog, pipeline
from asr_app.audio import Limits
from asr_app.datatypes import Options
from asr_app.engines import Engines, usable_cores, resident_bytes
from asr_app.precision import Precision
with Engines("cpu", usable_cores(), "modelscope").use(catalog.find("demo-paraformer"), Precision(sys.argv[3])) as loaded:
    pipeline.transcribe(pathlib.Path(sys.argv[4]), loaded, Options(), Limits())
    idle = resident_bytes()
    found = pipeline.transcribe(pathlib.Path(sys.argv[2]), loaded, Options(), Limits())
print(json.dumps({"text": found.text, "starts": [w.start_s for s in found.segments for w in s.words],
                  "grown": found.memory["peak_rss"] - idle, "rtf": found.rtf, "audio_s": found.audio_s}))
"""


@pytest.fixture(scope="module")
def hour(engines, expected, tmp_path_factory) -> dict:
    """An hour of clips in random order, transcribed in a process of its own; and the same clips one by one.

    The clips of example/ are chosen and all come out right, which no hour of them would: most clips are new sentences.
    """
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("hour")
    clips = [(want["text"], soundfile.read(EXAMPLE / name)[0]) for name, want in expected.items()]
    clips += [(s.spoken, x) for s, x in evaluation_set(200, held_out_voices=False, seed=11)]
    order, parts, seconds = [], [], 0.0
    while seconds < 3600:
        i = int(rng.integers(len(clips)))
        # Pauses from none to two seconds: some joints fall inside a chunk, some between two.
        parts += [clips[i][1], np.zeros(int(rng.uniform(0, 2) * 16000))]
        seconds += (len(parts[-1]) + len(parts[-2])) / 16000
        order.append(i)
    path = folder / "hour.flac"
    soundfile.write(path, np.concatenate(parts), 16000)
    alone = []
    for text, samples in clips:
        soundfile.write(folder / "clip.flac", samples, 16000)
        found = transcribe(engines, catalog.find(catalog.DEFAULT), Precision.INT8, folder / "clip.flac")
        alone.append((text, found.text))
    out = subprocess.run(
        [sys.executable, "-c", HOUR, str(ROOT), str(path), "int8", str(EXAMPLE / "english-home.flac")],
        capture_output=True, text=True, timeout=500, cwd=ROOT,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    found = json.loads(out.stdout.splitlines()[-1])
    found["together"] = score([(" ".join(alone[i][0] for i in order), found["text"])])
    found["singly"] = score([alone[i] for i in order])
    print({k: v for k, v in found.items() if k not in ("text", "starts")})
    return found


def test_an_hour_keeps_its_order_and_its_memory_and_misses_nothing(hour):
    assert hour["starts"] == sorted(hour["starts"])
    assert hour["grown"] < 600e6
    # A lost or doubled chunk in a hundred would show here as a hundredth of deletions or insertions more.
    together, singly = hour["together"], hour["singly"]
    assert abs(together.deletions - singly.deletions) <= 0.005 * singly.units
    assert abs(together.insertions - singly.insertions) <= 0.005 * singly.units


def test_an_hour_is_as_right_as_its_clips_one_by_one(hour):
    assert abs(hour["together"].rate - hour["singly"].rate) <= 0.005

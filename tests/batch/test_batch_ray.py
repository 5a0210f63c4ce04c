"""Workers on a local Ray cluster: the same texts, and nothing lost or doubled when workers are killed."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import EXAMPLE, ROOT

from asr_app import cli
from asr_app.batch.sources import Source
from asr_app.datatypes import Segment, StageTimes, Transcript
from asr_app.errors import UserError
from asr_app.precision import Precision, PrecisionReport

pytestmark = pytest.mark.slow  # Ray is 70 MB and no requirement: `pip install ray==2.60.0`, then `-m slow`


class Dying:
    """Reads the file as its text. Its process dies at a file that says so: once, or each time."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def prepare(self) -> None:
        pass

    def outcomes(self, sources):
        for source in sources:
            said = source.path.read_text()
            with self._log.open("a") as file:
                file.write(f"{source.name} {os.getpid()}\n")
            time.sleep(0.2)
            died = self._log.with_name(f"died-{source.name}")
            if said == "always kills" or (said == "kills once" and not died.exists()):
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if said == "damaged":
                yield source, UserError("It is damaged.", "已损坏。")
                continue
            report = PrecisionReport(Precision.FP32, ())
            yield source, Transcript((Segment(0.0, 1.0, said),), "fake", report, "cpu", 1.0, StageTimes())


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two CPUs, whose workers find the fakes of this file."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from asr_app import ray_cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")  # never a cluster that runs here already
        patch.setenv("PYTHONPATH", str(ROOT / "tests" / "batch") + os.pathsep + str(ROOT / "tests"))
        with ray_cluster.joined() as resources:
            yield resources


def test_without_ray_the_install_line_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    code = cli.main(["batch", str(EXAMPLE), "--output", str(tmp_path), "--model", "demo-paraformer", "--engine", "ray"])
    assert code == 2
    assert "pip install" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ConnectionError, Exception])
def test_a_cluster_that_does_not_answer_is_told(error, monkeypatch):
    from asr_app import ray_cluster

    def init(**_: object) -> None:
        raise error("no answer")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(UserError, match="cannot be joined"), ray_cluster.joined():
        pass


def test_the_shares_of_the_workers():
    from asr_app.ray_cluster import shares

    assert shares({"cpus": 64, "gpus": 0, "least_cpus": 16}, "cpu", None, None) == (16, 4, 0)
    assert shares({"cpus": 64, "gpus": 0, "least_cpus": 2}, "cpu", None, None) == (32, 2, 0)
    assert shares({"cpus": 64, "gpus": 8, "least_cpus": 16}, "cuda:0", None, None) == (8, 1, 1)
    assert shares({"cpus": 2, "gpus": 0, "least_cpus": 2}, "cpu", 2, 1) == (2, 1, 0)


def test_a_lost_workers_recording_is_done_again_and_one_that_always_kills_is_given_up(cluster, tmp_path):
    from asr_app.batch.ray_workers import OnRay

    log = tmp_path / "log"
    sources = []
    for number in range(12):
        path = tmp_path / f"{number}.wav"
        path.write_text({3: "kills once", 5: "always kills", 7: "damaged"}.get(number, f"said {number}"))
        sources.append(Source(path, path.name))
    workers = OnRay(functools.partial(Dying, log), workers=2, cpus=1)
    workers.prepare()
    outcomes = list(workers.outcomes(iter(sources)))
    assert sorted(s.name for s, _ in outcomes) == sorted(s.name for s in sources)  # each once
    by_name = {source.name: outcome for source, outcome in outcomes}
    failed = {name: outcome.en for name, outcome in by_name.items() if isinstance(outcome, UserError)}
    assert set(failed) == {"5.wav", "7.wav"}
    assert "3 workers ended" in failed["5.wav"]
    assert failed["7.wav"] == "It is damaged."
    assert by_name["3.wav"].text == "kills once"
    attempts = [line.split() for line in log.read_text().splitlines()]
    count = {name: sum(n == name for n, _ in attempts) for name in by_name}
    assert (count.pop("3.wav"), count.pop("5.wav")) == (2, 3)
    assert set(count.values()) == {1}
    assert len({pid for _, pid in attempts}) == 2 + 4  # each lost worker was replaced
    assert len(list(workers.outcomes(iter(sources[:2])))) == 2  # a later pass uses the same workers


@pytest.mark.models
def test_the_texts_are_those_of_the_local_engine(cluster, tmp_path, capsys):
    import ray

    ray.shutdown()  # the command joins a cluster of its own
    texts = {}
    for engine in ("local", "ray"):
        out = tmp_path / engine
        flags = ["--output", str(out), "--model", "demo-paraformer", "--engine", engine, "--threads", "1"]
        assert cli.main(["batch", str(EXAMPLE), *flags]) == 0, capsys.readouterr().err
        texts[engine] = {p.name: p.read_text() for p in out.rglob("*.txt")}
    assert len(texts["local"]) == 6
    assert texts["ray"] == texts["local"]

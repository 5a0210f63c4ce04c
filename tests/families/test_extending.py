"""docs/extending.md: the family that it shows works from that one file, at every precision."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import torch
from conftest import EXAMPLE, ROOT

# Python starts the command with one more folder of families.
_RUN = """
import sys
from asr_app import families
families.__path__.append(sys.argv.pop(1))
from asr_app import cli
raise SystemExit(max(cli.main([*sys.argv[1:], "--precision", p]) for p in ("fp32", "bf16", "fp16", "int8")))
"""


def shown() -> str:
    """The code block of the page, up to the first line that is not indented."""
    lines = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").splitlines()
    block = lines[lines.index('    """Loudness: says whether a chunk is loud. The smallest family."""') :]
    end = next(i for i, line in enumerate(block) if line and not line.startswith("    "))
    return textwrap.dedent("\n".join(block[:end]))


def test_the_family_of_the_docs_runs(tmp_path):
    places = {name: tmp_path / name for name in ("families", "model")}
    for place in places.values():
        place.mkdir()
    (places["families"] / "loudness.py").write_text(shown(), encoding="utf-8")
    torch.save({"0.weight": torch.eye(256), "0.bias": torch.zeros(256)}, places["model"] / "loudness.pt")
    done = subprocess.run(
        [sys.executable, "-c", _RUN, places["families"], "transcribe", EXAMPLE / "english-home.flac",
         "--model", places["model"]],
        cwd=ROOT, env=os.environ | {"ASR_CACHE": str(tmp_path / "cache")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"loud"}
    assert done.stdout.count("\n") == 4

"""The house has floors: imports point one way, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

FLOORS = [
    [
        "errors",
        "people",
        "quality",
        "api_errors",
        "sources",
        "text",
        "strikes",
        "memory",
        "notes",
        "folders",
        "stopping",
        "gate",
        "terminal",
        "login",
        "web",
        "storage",
        "turns",
        "bodies",
        "clients",
        "prefix",
        "ray_cluster",
    ],
    ["precision", "door", "devices"],
    ["datatypes"],
    [
        "audio",
        "chinese",
        "examples",
        "timing",
        "vad",
        "docx",
        "formats",
        "hotwords",
        "subtitles",
        "languages",
        "numerals",
        "outputs",
        "archive",
        "scoring",
        "hub",
        "download",
        "repositories",
        "wheels",
    ],
    ["families"],
    ["catalog", "checks", "fsmn_vad", "speakers"],
    ["making", "loading"],
    ["engines", "retry"],
    ["idle", "pipeline", "startup"],
    ["config", "recordings", "selfbench", "serving"],
    ["datasets"],
    ["database", "rows"],
    ["journal"],
    ["observer", "speeds", "work"],
    ["jobs", "live"],
    ["batch", "compare", "corrections", "evaluate", "quantize", "recorder", "served"],
    ["report"],
    ["bench"],
    ["ui", "api"],
    ["neighbours", "cluster"],
    ["server"],
    ["cli"],
    ["__main__"],
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted((ROOT / "asr_app").rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT / "asr_app").with_suffix("").parts[0]


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py" or p.parent.name != "asr_app"],
                         ids=lambda p: str(p.relative_to(ROOT)))  # fmt: skip
def test_no_import_points_up(path):
    own = FLOOR[room(path)]
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in ("training", "benchmarks"), f"{path.name}: {name} is no part of the app"
        if parts[0] == "asr_app" and len(parts) > 1:
            assert FLOOR[parts[1]] <= own, f"{path.name} imports upward: {name}"


def test_gradio_only_in_the_page_and_the_server():
    for path in FILES:
        if any(n.split(".")[0] == "gradio" for n in imports(path)):
            assert room(path) in ("ui", "server"), path


def test_the_command_line_starts_without_a_model_library():
    code = "import asr_app.cli, sys; print([m for m in ('torch', 'funasr', 'whisper', 'gradio', 'onnxruntime') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

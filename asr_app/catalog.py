"""Every model the app knows: the families' cards, and local folders as cards of their own. Loads no model library."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from asr_app import families, hub
from asr_app.datatypes import ModelCard
from asr_app.errors import UserError
from asr_app.precision.recipes import Recipes

# A family is a module of asr_app/families/ with cards; base and those that begin with `_` serve the families.
_MODULES = [
    importlib.import_module(f"{families.__name__}.{m.name}")
    for m in pkgutil.iter_modules(families.__path__)
    if not m.name.startswith("_")
]
FAMILIES: dict[str, ModuleType] = {module.NAME: module for module in _MODULES if hasattr(module, "CARDS")}
CARDS: dict[str, ModelCard] = {}
for _family in FAMILIES.values():
    for _card in _family.CARDS:
        if _card.id in CARDS:
            raise RuntimeError(f"two cards are called {_card.id}")
        CARDS[_card.id] = _card

DEFAULT = "whisper-base"  # of the app's start and of the commands
FALLBACK = "demo-paraformer"  # comes with the repository; used if the model of the start is not available
GROUPS = ("on_disk", "to_download", "demo")


def grouped(cards: Iterable[ModelCard], hub_name: str) -> dict[str, list[ModelCard]]:
    """The cards by group of `GROUPS`, each group in the order of `cards`. Downloads nothing."""
    groups: dict[str, list[ModelCard]] = {group: [] for group in GROUPS}
    for card in cards:
        group = "demo" if card.note == "demo" else "on_disk" if hub.on_disk(card, hub_name) else "to_download"
        groups[group].append(card)
    return groups


def recipes(card: ModelCard) -> Recipes:
    """Recipes of the card's family, by precision and device."""
    of_family: Recipes = FAMILIES[card.family].RECIPES
    return of_family


def _as_carried(card: ModelCard, folder: Path) -> ModelCard:
    """The card, limited to the precisions of the variants that its folder holds instead of weights, if any."""
    from asr_app.precision import variants

    precisions = tuple(p for p in card.precisions if folder.is_dir() and variants.carried(folder, p))
    if not precisions:
        return card
    size = sum(path.stat().st_size for path in (folder / precisions[0].value).iterdir())
    return dataclasses.replace(card, precisions=precisions, size_mb=round(size / 1e6))


def find(name: str) -> ModelCard:
    """The card called `name`, or the card of the local folder or file at that path.

    Raises UserError with the choices, or with the fault of the files there.
    """
    if name in CARDS:
        return CARDS[name]
    folder = Path(name).expanduser()
    if folder.exists():
        for family in FAMILIES.values():
            if family.recognises(folder):
                return _as_carried(family.card_of(folder.resolve()), folder)
        raise UserError(
            f"{folder.name}: no model of a known family is there (a FunASR folder with config.yaml; a Whisper .pt file; "
            "a folder of a Whisper from Hugging Face or CTranslate2, with its config.json). Choose another one.",
            f"{folder.name}：没有已知类型的模型（需要带 config.yaml 的 FunASR 目录、Whisper 的 .pt 文件，"
            "或带 config.json 的 Hugging Face / CTranslate2 格式 Whisper 目录）。请选择其他模型。",
        )
    choices = ", ".join(CARDS)
    raise UserError(
        f"Unknown model {name!r}. Choose one of: {choices}; or give a directory.",
        f"未知模型 {name!r}。可选：{choices}；或提供一个目录。",
    )

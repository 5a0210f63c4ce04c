"""Safe reading of a FunASR folder's config.yaml. Only keys of a fixed list are accepted.

The file comes from strangers. FunASR itself merges all of it into the arguments of its loader, which then runs code,
opens files and loads further models that the file names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asr_app.errors import UserError

_FILE = "config.yaml"
_MAX_BYTES = 64 * 1024  # published files have 1 to 4 KB; PyYAML takes 0.7 s for 64 KB
# Keys of training and of FunASR's command line. Nothing here reads them.
_UNUSED = frozenset({
    "Scheduler", "Scheduler_conf", "Warmup_steps", "ctc_conf", "dataset", "dataset_conf", "debug", "enable_tf32", "optim",
    "optim_conf", "scheduler", "scheduler_conf", "specaug", "specaug_conf", "train_conf",
})  # fmt: skip
# Arguments that name files. The loader finds each file by a fixed name in the folder and never reads these values.
PATHS = frozenset({"bpemodel", "cmvn_file", "init_param_path", "seg_dict", "seg_dict_file", "token_list"})


@dataclass(frozen=True)
class Layout:
    """The keys that config.yaml may have for one model class.

    `parts` has the classes that each part may be of. `<part>_conf` holds the arguments of that class.
    """

    conf: frozenset[str]  # keys of `model_conf`
    parts: Mapping[str, frozenset[str]]
    unused: frozenset[str] = frozenset()  # further top-level keys, of modules that are not built


class _Loader(yaml.SafeLoader):
    """YAML without aliases. A few nested aliases expand to gigabytes when they are merged or copied."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _AliasError
        return super().compose_node(parent, index)


class _AliasError(Exception):
    pass


def read_config(folder: Path) -> dict[str, Any] | None:
    """The content of config.yaml, or None if the file is missing or is no YAML mapping.

    Raises UserError for a file that is too large or has aliases.
    """
    try:
        with (folder / _FILE).open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError:
        return None
    if len(text) > _MAX_BYTES:
        raise _refused(folder, f"is larger than {_MAX_BYTES // 1024} KB", f"超过 {_MAX_BYTES // 1024} KB")
    try:
        config = yaml.load(text.decode("utf-8"), _Loader)  # noqa: S506  (a SafeLoader)
    except _AliasError:
        raise _refused(folder, "has YAML aliases", "含有 YAML 别名") from None
    except (ValueError, TypeError, yaml.YAMLError, RecursionError):
        return None
    return config if isinstance(config, dict) and all(isinstance(key, str) for key in config) else None


def model_class(folder: Path) -> str | None:
    """The `model:` of config.yaml, or None without a readable one. Raises UserError as `read_config` does."""
    name = (read_config(folder) or {}).get("model")
    return name if isinstance(name, str) else None


def check_top_level(folder: Path, config: Mapping[str, Any], layout: Layout) -> None:
    """Raises UserError for a key that `layout` lacks, or a part of a class that it lacks. Null counts as absent."""
    known = {"model", "model_conf", *layout.unused, *_UNUSED}
    for part in layout.parts:
        known |= {part, f"{part}_conf"}
    _check_keys(folder, "", config, known)
    for part, classes in layout.parts.items():
        name = config.get(part)
        if not isinstance(name, str) or name not in classes:
            choices = ", ".join(sorted(classes))
            raise UserError(
                f"{folder.name}: {_FILE} has {name!r} as its {part}. This app knows: {choices}. Choose another model.",
                f"{folder.name}：{_FILE} 的 {part} 为 {name!r}。本应用支持：{choices}。请选择其他模型。",
            )


def arguments(folder: Path, config: Mapping[str, Any], key: str, known: Iterable[str]) -> dict[str, Any]:
    """The arguments under `key`, without nulls and without `PATHS`.

    Raises UserError for an argument that is not `known`.
    """
    section = config.get(key) or {}
    if not isinstance(section, dict):
        raise _refused(folder, f"has no mapping as {key}", f"的 {key} 不是映射")
    _check_keys(folder, f"{key}.", section, {*known, *PATHS})
    return {name: value for name, value in section.items() if value is not None and name not in PATHS}


def _check_keys(folder: Path, prefix: str, section: Mapping[str, Any], known: set[str]) -> None:
    for name, value in section.items():
        if value is not None and name not in known:
            raise UserError(
                f"{folder.name}: {_FILE} has the key {prefix}{name}, which is not allowed. Remove it from the file, or "
                "choose another model.",
                f"{folder.name}：{_FILE} 含有不允许的键 {prefix}{name}。请从文件中删除它，或选择其他模型。",
            )


def _refused(folder: Path, en: str, zh: str) -> UserError:
    return UserError(
        f"{folder.name}: {_FILE} {en}, which is not allowed. Choose another model.",
        f"{folder.name}：{_FILE} {zh}，不允许。请选择其他模型。",
    )

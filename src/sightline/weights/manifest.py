"""The manifest of an installed model: the sources of its files and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sightline.types import Provenance

MANIFEST_NAME = "manifest.json"
# Beside it, where the drift of the weights was measured: see ``weights.drift``.
DRIFT_NAME = "drift.json"

# Names become file names, tar members and parts of commands: nothing that a shell or file system reads.
MODEL_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=FILE_NAME)]
Line = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f]*$")]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One installed file.

    Attributes:
        source: where it came from, in words (``str`` of its source, or the origin of an adopted file).
        fetched: it is a published file, so everybody must get these very bytes. False for what was computed
            on somebody's machine.
        inputs: for a built file, sha256 by name of the published files it was computed from.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]
    source: Line
    fetched: bool = False
    inputs: Mapping[FileName, Sha256] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of an installed model. ``created_at`` is ISO 8601 in UTC."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(pattern=MODEL_NAME)]
    provenance: Provenance
    origin: Line
    licence: Line
    homepage: Line
    preprocessing: Line
    files: Mapping[FileName, FileRecord]
    created_at: Line

    @property
    def fingerprint(self) -> str:
        """16 hex digits over names and digests of the files and the preprocessing tag.

        Equal fingerprints mean comparable answers, on whatever machine they were given.
        """
        digest = hashlib.sha256()
        for name in sorted(self.files):
            digest.update(f"{name}\0{self.files[name].sha256}\0".encode())
        digest.update(self.preprocessing.encode())
        return digest.hexdigest()[:16]

    def to_json(self) -> bytes:
        return _ADAPTER.dump_json(self, indent=2) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Raises ValueError unless ``data`` is a manifest with every field well formed and no other."""
        try:
            return _ADAPTER.validate_json(data)
        except ValidationError as error:
            raise ValueError(f"not a manifest: {error.error_count()} fields are wrong") from error


_ADAPTER = TypeAdapter(Manifest)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether the file can be read and has that digest."""
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False


def recorded_sha256(path: Path) -> str | None:
    """Return the digest of an installed file in the manifest beside it, None where there is none."""
    try:
        manifest = Manifest.from_json(path.with_name(MANIFEST_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    record = manifest.files.get(path.name)
    return None if record is None else record.sha256


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

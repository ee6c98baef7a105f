"""What a library knows: its models, its photos, and answers about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sightline.libraries.vectors import Floats
from sightline.types import Provenance


class ModelState(StrEnum):
    """Whether searches use the vectors of a model, or they are still computed."""

    FILLING = "filling"
    SERVING = "serving"


@dataclass(frozen=True, slots=True)
class VectorModel:
    """A model whose vectors a library has."""

    id: int
    name: str
    space: str
    fingerprint: str
    dimensions: int
    provenance: str
    state: ModelState

    @property
    def warning(self) -> str | None:
        """Facts about the vectors that a search needs."""
        if self.provenance != Provenance.RANDOM:
            return None
        return f"{self.name} has random weights: its vectors mean nothing"


@dataclass(frozen=True, slots=True)
class Known:
    """Facts about a file that need no opening."""

    id: int
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer of an operation about an item. ``fields`` can be asked for in conditions."""

    operation: str
    result: Any
    model: str | None = None
    fields: Mapping[str, str | float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """A photo to add. ``vectors`` are by id of the vector model, float32 [dimensions], of any length."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    perceptual_hash: int
    format: str
    width: int
    height: int
    taken_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    place: str | None = None
    country: str | None = None
    camera: str | None = None
    vectors: Mapping[int, Floats] = field(default_factory=dict)
    answers: Sequence[StoredAnswer] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A photo of a library."""

    id: int
    path: str
    size: int
    mtime_ns: int
    sha256: str
    perceptual_hash: int
    format: str
    width: int
    height: int
    taken_at: str | None
    latitude: float | None
    longitude: float | None
    place: str | None
    country: str | None
    camera: str | None
    indexed_at: str

    def facts(self) -> dict[str, Any]:
        """Return what people and programs are shown, by name."""
        return {
            name: getattr(self, name)
            for name in (
                *("id", "path", "size", "sha256", "format", "width", "height", "taken_at", "latitude"),
                *("longitude", "place", "country", "camera", "indexed_at"),
            )
        }

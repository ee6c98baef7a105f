"""Values every layer shares. Frozen, without behaviour beyond arithmetic on themselves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Target(StrEnum):
    """The part of a picture that an operation works on."""

    WHOLE_IMAGE = "whole_image"
    PROMINENT_PERSON = "prominent_person"
    PROMINENT_FACE = "prominent_face"


class FaceContext(StrEnum):
    """Where a prominent face is looked for."""

    PROMINENT_PERSON = "prominent_person"
    WHOLE_IMAGE = "whole_image"


class Priority(StrEnum):
    """Interactive work goes first; bulk work takes what is left, and is never starved."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Provenance(StrEnum):
    """Where a model's numbers come from. ``RANDOM`` answers mean nothing and are marked everywhere.

    ``TRAINED`` is a model the user made here; ``REMOTE`` is one that another service runs.
    """

    PULLED = "pulled"
    EXPORTED = "exported"
    IMPORTED = "imported"
    BUILT_IN = "built_in"
    RANDOM = "random"
    TRAINED = "trained"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright picture: x to the right, y down, half-open like Python slices.

    Detectors may put corners outside the picture; whoever crops decides what that means.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def width(self) -> float:
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        return self.y_max - self.y_min

    def shifted(self, dx: float, dy: float) -> Box:
        return Box(self.x_min + dx, self.y_min + dy, self.x_max + dx, self.y_max + dy)

    def truncated(self) -> PixelBox:
        """Corners cut toward zero, as ``int()`` does: the rule of the service whose contract we keep."""
        return PixelBox(int(self.x_min), int(self.y_min), int(self.x_max), int(self.y_max))


@dataclass(frozen=True, slots=True)
class PixelBox:
    """A rectangle with whole-pixel corners, ``(x_min, y_min)`` inside and ``(x_max, y_max)`` outside."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @property
    def width(self) -> int:
        return self.x_max - self.x_min

    @property
    def height(self) -> int:
        return self.y_max - self.y_min

    def as_list(self) -> list[int]:
        return [self.x_min, self.y_min, self.x_max, self.y_max]


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found in a picture. ``score`` is the detector's own, 0 to 1.

    ``landmarks`` are (x, y) pixel positions in the detector's documented order, if it gives any.
    """

    box: Box
    score: float
    label: str
    landmarks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a picture an answer is about. ``box is None`` means all of it.

    ``target`` is what was found, which is not always what was asked for: a request for a person in a
    picture without one falls back to the whole image.
    """

    target: Target
    box: PixelBox | None = None


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Facts about a picture that need no decoding.

    ``width`` and ``height`` are upright (EXIF orientation applied), in pixels; ``sha256`` is of the bytes
    received, in lowercase hex.
    """

    format: str
    width: int
    height: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A point on Earth in degrees (WGS 84): latitude -90 to 90, longitude -180 to 180, east positive.

    Data only: whoever reads one from outside checks the ranges.
    """

    latitude: float
    longitude: float

    @property
    def held_bytes(self) -> int:
        return 16  # two doubles


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model that answered. The fingerprint covers weights and preprocessing: equal means comparable."""

    name: str
    fingerprint: str
    provenance: Provenance

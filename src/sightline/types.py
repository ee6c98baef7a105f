"""Values every layer shares. Frozen, without behaviour beyond arithmetic on themselves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Target(StrEnum):
    """Which part of a picture an operation works on."""

    WHOLE_IMAGE = "whole_image"
    PROMINENT_PERSON = "prominent_person"
    PROMINENT_FACE = "prominent_face"


class FaceContext(StrEnum):
    """Where a prominent face is looked for."""

    PROMINENT_PERSON = "prominent_person"
    WHOLE_IMAGE = "whole_image"


class Capability(StrEnum):
    """What a model can be asked for. An operation names capabilities, never models."""

    IMAGE_EMBEDDING = "image_embedding"
    TEXT_EMBEDDING = "text_embedding"
    PERSON_BOXES = "person_boxes"
    FACE_BOXES = "face_boxes"
    OBJECT_BOXES = "object_boxes"
    CAPTION = "caption"
    GEOLOCATION = "geolocation"
    ANIMAL_BOXES = "animal_boxes"
    SPECIES = "species"
    SPECIES_ENSEMBLE = "species_ensemble"
    PLACES = "places"
    MEMBERSHIP = "membership"
    ANSWER = "answer"
    LABEL_SETS = "label_sets"
    TEXT_LINES = "text_lines"
    NSFW_SCORE = "nsfw_score"


# The label of a person among what a model with PERSON_BOXES finds; it may find other things too.
PERSON = "person"


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
class SpeciesScores:
    """What a classifier of species says of one animal: the likeliest labels first, at most five.

    ``labels`` are those of the release, "uuid;class;order;family;genus;species;common name" with parts that
    a label does not fix left empty; ``scores`` are probabilities over all labels of the release.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SpeciesVerdict:
    """What one thing in a picture is, all evidence weighed. ``label`` is a release's, see ``sightline.taxa``.

    ``source`` says what decided, and how, e.g. "detector" or "classifier+geofence+rollup_to_family".
    """

    label: str
    score: float
    source: str


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
    """What is known of a picture before its pixels are decoded.

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
class Place:
    """The town nearest to a coordinate, and how far away its centre is along the surface of the Earth.

    ``region`` is the first-level division, such as a state, and "" where there is none; ``country_code`` is
    ISO 3166-1 alpha-2 (and XK for Kosovo). Nearest is not inside: near a border it can be the other side's.
    """

    name: str
    region: str
    country_code: str
    distance_km: float

    @property
    def label(self) -> str:
        """ "City, Region, CC", without the region where there is none."""
        return ", ".join(part for part in (self.name, self.region, self.country_code) if part)


@dataclass(frozen=True, slots=True)
class LocationCandidate:
    """One place a picture may have been taken at, and the probability a geolocation model gives it."""

    coordinate: Coordinate
    probability: float


@dataclass(frozen=True, slots=True)
class LocationCluster:
    """A region with ``mass`` of all probability; within ``radius_km`` of ``centre`` lie 90 % of it."""

    centre: Coordinate
    mass: float
    radius_km: float


@dataclass(frozen=True, slots=True)
class Geolocation:
    """What a geolocation model says of one picture.

    ``candidates`` (most probable first) and ``clusters`` (heaviest first) are the leading ones, not all. The
    radii are around the first candidate and hold 50 % and 90 % of the probability of all places.
    """

    candidates: tuple[LocationCandidate, ...]
    clusters: tuple[LocationCluster, ...]
    radius_50_km: float
    radius_90_km: float


@dataclass(frozen=True, slots=True)
class LabelRule:
    """A yes or no drawn from the probabilities of labels, between 0 and 1.

    Yes when any label of ``any_above`` has more than its number (or none is named), and every label of
    ``all_below`` has less than its.
    """

    name: str
    any_above: tuple[tuple[str, float], ...] = ()
    all_below: tuple[tuple[str, float], ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(label for label, _ in self.any_above + self.all_below)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels to choose from, each with the texts that describe it, in order, and rules over them."""

    name: str
    prompts: tuple[tuple[str, tuple[str, ...]], ...]
    rules: tuple[LabelRule, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label for label, _ in self.prompts)


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text in a picture.

    ``score`` is the mean probability of its characters, 0 to 1. ``quad`` has four corners (x, y) in pixels
    of the view: top left, top right, bottom right, bottom left of the text as it is read from left to right.
    """

    text: str
    score: float
    quad: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a picture: its lines in reading order, and how many more there were that were not read."""

    lines: tuple[TextLine, ...]
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a vision-language model answered.

    Attributes:
        text: as the model wrote it.
        structured: the answer as JSON data, where a schema asked for it and it fits; else None.
        model: what answered, in the words of the service that runs it.
        input_tokens, output_tokens: what the answer cost, a second attempt included; None if not said.
        truncated: the model ran into its limit of tokens before the end.
    """

    text: str
    model: str
    structured: Any = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model answered. The fingerprint covers weights and preprocessing: equal means comparable."""

    name: str
    fingerprint: str
    provenance: Provenance

"""Records of a version and of a collection, as stored."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter

from sightline.collections.files import sealed, unsealed
from sightline.types import FaceContext, Target

# Ids and versions become file names.
COLLECTION_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
# The UTC second a version was made in, and a number for the second one of that second.
VERSION_NAME = r"^[0-9]{8}T[0-9]{6}Z(-[1-9][0-9]{0,3})?$"
FORMAT = 1
DEFAULT_THRESHOLD = 0.5
MOST_DIMENSIONS = 1_000_000

CollectionName = Annotated[str, Field(pattern=COLLECTION_NAME)]
VersionName = Annotated[str, Field(pattern=VERSION_NAME)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Line = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x1f]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Format = Annotated[int, Field(ge=FORMAT, le=FORMAT)]

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space, and the fingerprint of the model that made the vectors; None if nobody knows."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=100)]
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a picture becomes the vector a collection is judged by.

    Attributes:
        spaces: embeddings, raw, one after the other in this order.
        dimensions: numbers in all of them together.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    spaces: Annotated[tuple[Space, ...], Field(min_length=1, max_length=8)]
    dimensions: Annotated[int, Field(ge=1, le=MOST_DIMENSIONS)]
    target: Target = Target.WHOLE_IMAGE
    face_context: FaceContext = FaceContext.PROMINENT_PERSON

    def fits(self, other: Recipe) -> bool:
        """Whether vectors made by ``other`` can be judged by what was trained on this: an unknown fingerprint
        may be any."""
        mine, theirs = self.spaces, other.spaces
        return (
            (self.dimensions, self.target, self.face_context)
            == (other.dimensions, other.target, other.face_context)
            and len(mine) == len(theirs)
            and all(_may_be_one(one, two) for one, two in zip(mine, theirs, strict=True))
        )

    def __str__(self) -> str:
        names = " + ".join(space.name for space in self.spaces)
        part = self.target.value.replace("_", " ")
        if self.target is Target.PROMINENT_FACE:
            part += f" in the {self.face_context.value.replace('_', ' ')}"
        return f"{names} of the {part}, {self.dimensions} numbers"


def _may_be_one(one: Space, two: Space) -> bool:
    known = {one.fingerprint, two.fingerprint} - {None}
    return one.name == two.name and len(known) <= 1


@dataclass(frozen=True, slots=True)
class Scores:
    """How a version did on examples it was not trained on.

    Attributes:
        precision, recall: of "in the collection", deciding at a probability of 0.5.
        macro_precision: mean of the precisions of both answers; what versions are ranked by.
        average_precision: over all thresholds.
        examples, positives: how many there were, and how many of them in the collection.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    precision: Share
    recall: Share
    macro_precision: Share
    average_precision: Share
    examples: Count
    positives: Count


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of a version besides its numbers.

    Attributes:
        origin: "trained", or what it was imported from.
        trained_at: ISO 8601; None where an imported classifier does not say.
        examples, positives: what it was trained on; None for imported ones.
        held_out: scores when it was made, on what it was not trained on.
        threshold: probability above which the F1 score was best on the held-out examples; 0.5 without them.
        weights_sha256: digest of the file with the numbers.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    collection: CollectionName
    version: VersionName
    recipe: Recipe
    weights_sha256: Sha256
    origin: Line
    trained_at: Line | None
    examples: Count | None = None
    positives: Count | None = None
    held_out: Scores | None = None
    threshold: Share = DEFAULT_THRESHOLD
    format: Format = FORMAT


@dataclass(frozen=True, slots=True)
class Ranked:
    """A version and its scores on the newest held-out examples."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    version: VersionName
    held_out: Scores


@dataclass(frozen=True, slots=True)
class Index:
    """The serving version of a collection.

    Attributes:
        history: versions that served before, the latest last.
        ranking: of the last training, best first; versions that could not be compared are not in it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    collection: CollectionName
    serving: VersionName
    history: tuple[VersionName, ...] = ()
    ranking: tuple[Ranked, ...] = ()
    format: Format = FORMAT


WrittenT = TypeVar("WrittenT", Record, Index)


class Written(Generic[WrittenT]):
    """One kind of record as bytes and back."""

    def __init__(self, kind: type[WrittenT]) -> None:
        self._adapter: TypeAdapter[WrittenT] = TypeAdapter(kind)

    def to_bytes(self, value: WrittenT) -> bytes:
        """Raises ValueError for a value that could not be read again."""
        body: dict[str, Any] = self._adapter.dump_python(value, mode="json")
        self._adapter.validate_json(json.dumps(body))
        return sealed(body)

    def from_bytes(self, data: bytes) -> WrittenT:
        """Raises ValueError unless these are the bytes that were written, whitespace aside."""
        return self._adapter.validate_json(json.dumps(unsealed(data)))


RECORDS = Written(Record)
INDICES = Written(Index)


def is_version(name: str) -> bool:
    return re.fullmatch(VERSION_NAME, name) is not None


def age(version: str) -> tuple[str, int]:
    """Sorts versions from the oldest to the newest."""
    second, _, number = version.partition("-")
    return second, int(number or 0)

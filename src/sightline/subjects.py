"""What models are asked about: views, texts, and views with words on how to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sightline.imaging import Picture, View
from sightline.types import SpeciesScores


class Held(Protocol):
    """A subject that holds memory. Hashable: equal subjects of one request are looked at once."""

    def __hash__(self) -> int: ...

    @property
    def held_bytes(self) -> int:
        """Memory in bytes that stays occupied while the subject waits for its model."""
        ...


# A text holds what it is long.
Subject = str | Held


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """A view to be put in words, by models with ``Capability.CAPTION``.

    Attributes:
        max_length: most tokens of the caption, the invisible ones at its start and end included.
        num_beams: how many captions are followed at once; 1 takes the likeliest word each time.
    """

    view: View
    max_length: int = 50
    num_beams: int = 4

    @property
    def held_bytes(self) -> int:
        return self.view.held_bytes


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing in a picture: what a detector took it for, and what a classifier of species did.

    Attributes:
        label: the detector's: animal, human or vehicle.
        score: the detector's confidence, 0 to 1.
        scores: the classifier's, five of them as a rule, highest first.
    """

    label: str
    score: float
    scores: SpeciesScores


@dataclass(frozen=True, slots=True)
class SightingsRequest:
    """Sightings of one picture to be decided on, by models with ``Capability.SPECIES_ENSEMBLE``.

    Attributes:
        country: where the picture is from, ISO 3166-1 alpha-3, if that is known.
        admin1_region: the first-level division of that country, two letters; so far states of the USA.
    """

    sightings: tuple[Sighting, ...]
    country: str | None = None
    admin1_region: str | None = None

    @property
    def held_bytes(self) -> int:
        # Labels belong to the classifier; what is of a sighting's own are some references and numbers.
        return 512 * len(self.sightings)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about views, to models with ``Capability.ANSWER``, which answer with a ``types.Reply``.

    Attributes:
        schema_json: the JSON Schema that the answer has to fit, as JSON; None for free text.
    """

    text: str
    views: tuple[View, ...] = ()
    schema_json: str | None = None

    @property
    def held_bytes(self) -> int:
        return len(self.text) + len(self.schema_json or "") + sum(view.held_bytes for view in self.views)


def pictures_of(subject: object) -> tuple[Picture, ...]:
    """Return the pictures that a model may decode to look at ``subject``."""
    if isinstance(subject, View):
        return (subject.picture,)
    if isinstance(subject, CaptionRequest):
        return (subject.view.picture,)
    if isinstance(subject, Question):
        return tuple(view.picture for view in subject.views)
    return ()


def held_bytes(subject: Subject) -> int:
    """Memory in bytes that ``subject`` stands for."""
    return len(subject) if isinstance(subject, str) else subject.held_bytes

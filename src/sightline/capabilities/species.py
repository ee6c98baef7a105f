"""Species of animals."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.capabilities import Capability
from sightline.imaging import View


@dataclass(frozen=True, slots=True)
class SpeciesScores:
    """The likeliest species of one animal, at most five, in descending order.

    ``labels`` are those of the release, "uuid;class;order;family;genus;species;common name" with parts that
    a label does not fix left empty; ``scores`` are probabilities over all labels of the release.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SpeciesVerdict:
    """The species of one thing in a picture, all evidence weighed.

    ``label`` is one of a release, see ``sightline.taxa``. ``source`` says what decided, and how,
    e.g. "detector" or "classifier+geofence+rollup_to_family".
    """

    label: str
    score: float
    source: str


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
    """Sightings of one picture, to be identified together.

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


SPECIES: Capability[View, SpeciesScores] = Capability("species", "Which species an animal may be.")
SPECIES_ENSEMBLE: Capability[SightingsRequest, list[SpeciesVerdict]] = Capability(
    "species_ensemble", "What each sighting is, all evidence weighed."
)

CAPABILITIES = (SPECIES, SPECIES_ENSEMBLE)

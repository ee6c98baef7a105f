"""SpeciesNet's ensemble: what a detector and a classifier of species found, made into one verdict.

Rules over two files of a release, without a network: ``taxonomy.txt`` has a label per line, ``geofence.json``
says in which countries a taxon lives. Verdicts equal those of ``speciesnet`` 5.0.6 (Apache-2.0) for the same
detections and scores. Before 5.0.6 the same rules were asked once per picture, about the detection the
detector was surest of, or about an "animal" of score 0 where it had found nothing.

T. Gadot et al.: To crop or not to crop: Comparing whole-image and cropped classification on a large dataset
of camera trap images, 2024, describe the classifier; the rules are described in the README of the project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sightline.capabilities.species import SPECIES_ENSEMBLE, SightingsRequest, SpeciesVerdict
from sightline.errors import InvalidParameters
from sightline.models import GraphLoader, ModelCard, ModelDefinition, Runs
from sightline.models.speciesnet import made_up_taxonomy
from sightline.models.speciesnet.releases import RELEASES, Release
from sightline.models.speciesnet_ensemble.geofence import Geofence
from sightline.models.speciesnet_ensemble.rules import Whereabouts, decide
from sightline.models.speciesnet_ensemble.taxonomy import Taxonomy
from sightline.weights.sources import Artifact

TAXONOMY_FILE = "taxonomy.txt"
GEOFENCE_FILE = "geofence.json"


class Ensemble:
    """Implements ``models.Model`` for sightings: a ``SpeciesVerdict`` for each, in their order."""

    def __init__(self, taxonomy: Taxonomy, geofence: Geofence) -> None:
        self._taxonomy = taxonomy
        self._geofence = geofence

    def prepare(self, subject: SightingsRequest) -> SightingsRequest:
        """Raises InvalidParameters for a country without three letters, or a division without two."""
        if subject.country and len(subject.country) != 3:
            raise InvalidParameters("country is an ISO 3166-1 code of three letters, such as KEN")
        if subject.admin1_region and len(subject.admin1_region) != 2:
            raise InvalidParameters("admin1_region is a code of two letters, such as CA")
        return subject

    def infer(self, items: Sequence[SightingsRequest]) -> list[list[SpeciesVerdict]]:
        return [self._verdicts(item) for item in items]

    def _verdicts(self, asked: SightingsRequest) -> list[SpeciesVerdict]:
        here = Whereabouts(self._geofence, asked.country, asked.admin1_region)
        return [decide(sighting, self._taxonomy, here) for sighting in asked.sightings]


def load(files: Mapping[str, Path], graphs: GraphLoader) -> Ensemble:
    """Read the two files; no graph is needed."""
    return Ensemble(Taxonomy.read(files[TAXONOMY_FILE]), Geofence.read(files[GEOFENCE_FILE]))


def _card(release: Release) -> ModelCard:
    return ModelCard(
        name=f"speciesnet-{release.version}-ensemble",
        capabilities=frozenset({SPECIES_ENSEMBLE}),
        description=(
            f"SpeciesNet {release.version}: taxonomy, geofence, and rules that weigh detector and classifier"
        ),
        licence="Apache-2.0",
        homepage="https://github.com/google/cameratrapai",
        preprocessing="ensemble-rules-5.0.6",
        parameters=0,
        multiply_adds=0,
        artifacts=(
            Artifact(TAXONOMY_FILE, release.taxonomy, made_up=made_up_taxonomy.write_taxonomy),
            Artifact(GEOFENCE_FILE, release.geofence, made_up=made_up_taxonomy.write_geofence),
        ),
        space=release.version,
        max_batch=16,
        runs=Runs.IN_LOOP,
    )


MODELS = tuple(ModelDefinition(_card(release), load) for release in RELEASES)

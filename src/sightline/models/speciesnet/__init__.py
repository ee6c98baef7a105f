"""SpeciesNet's classifier: which of about 2,500 species, genera, families or things a crop shows.

Answers equal those of Google's ``speciesnet`` for its always-crop models. The three releases share one
network; labels, taxonomy and rules about countries moved between them. The rules are a model of their own,
found by the same ``space``.

T. Gadot et al.: To crop or not to crop: Comparing whole-image and cropped classification on a large dataset
of camera trap images, IET Computer Vision, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sightline.capabilities.species import SPECIES
from sightline.models import GraphLoader, ModelCard, ModelDefinition
from sightline.models.speciesnet import made_up_taxonomy
from sightline.models.speciesnet.classifier import SpeciesClassifier, read_labels
from sightline.models.speciesnet.releases import RELEASES, Release
from sightline.networks.speciesnet import classifier_artifact
from sightline.weights.sources import Artifact

CLASSIFIER = "classifier.onnx"
LABELS = "labels.txt"
CHECKPOINT = "checkpoint.pt"


def card(release: Release) -> ModelCard:
    """The card of one release, such as "v4.0.3a"."""
    return ModelCard(
        name=f"speciesnet-{release.version}",
        capabilities=frozenset({SPECIES}),
        description=(
            f"SpeciesNet {release.version} (EfficientNetV2-M): which animal a crop shows, 2,498 labels"
        ),
        licence="Apache-2.0",
        homepage="https://github.com/google/cameratrapai",
        preprocessing="stretch-480-linear",
        parameters=56_058_294,
        multiply_adds=24_600_000_000,
        artifacts=(
            Artifact(
                CHECKPOINT,
                release.classifier,
                sha256="d099632044e92a0446869e06e5eb282e24706d5266b4acf5b42f5f23e2b50ade",
                intermediate=True,
            ),
            classifier_artifact(CLASSIFIER, CHECKPOINT),
            Artifact(LABELS, release.labels, made_up=made_up_taxonomy.write_labels),
        ),
        space=release.version,
        # One crop keeps all cores busy. Eight at once leave the caches: 76 instead of 72 ms for each.
        max_batch=4,
    )


def load(files: Mapping[str, Path], graphs: GraphLoader) -> SpeciesClassifier:
    return SpeciesClassifier(graphs(files[CLASSIFIER]), read_labels(files[LABELS]))


MODELS = tuple(ModelDefinition(card(release), load) for release in RELEASES)
